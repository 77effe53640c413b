"""Objects and attachments: loaded under temporary pins, switched in one step, then renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from provisioner.apply import filters, identity
from provisioner.apply.pins import pin_new, put_in_place
from provisioner.apply.transaction import Transaction
from provisioner.attach import of_record
from provisioner.codec.btf_emit import btf_of
from provisioner.kernel import attach_points, bpffs, links, maps, objects
from provisioner.kernel.fd import InnerId, LinkFd, MapFd, ProgramFd
from provisioner.model.attachment import AddFilter, Attachment, CreateLink
from provisioner.model.desired import DesiredObject
from provisioner.model.filter_record import FilterRecord
from provisioner.model.observed import ObservedLink
from provisioner.model.pins import link_pin
from provisioner.model.uapi import LinkType
from provisioner.model.variables import Written
from provisioner.planning import link_names
from provisioner.planning.changes import Action, LinkChange
from provisioner.planning.steps import Attach, CommitObject, Detach, LoadObject

Attachable = ProgramFd | MapFd
"""What is attached, open."""


def load(tx: Transaction, step: LoadObject) -> None:
    """Load an object and pin what is new of it; the maps that are carried over are those that live."""
    desired = tx.plan.desired.objects[step.object]
    with ExitStack() as opened:
        reuse = {name: opened.enter_context(_carried(tx, name)) for name in step.carried}
        reuse |= {name: opened.enter_context(_adopted(tx, name, path)) for name, path in desired.reused.items()}
        reuse |= {name: opened.enter_context(maps.open_pin(tx.new_path(name))) for name in step.borrowed}
        loaded = opened.enter_context(
            objects.load(
                Path(desired.file),
                digest=desired.digest,
                inner_templates={name: shape for name, shape in desired.templates.items() if name in step.fresh},
                template_btf=_template_btf(tx, desired, step),
                reuse=reuse,
                settings=desired.settings,
                variables=_variables(desired),
                programs={program.name: program.settings for program in desired.programs},
                only_programs=[*(program.name for program in desired.programs), *desired.helpers],
                name=desired.name,
            )
        )
        for name in step.fresh:
            pin_new(tx, loaded.maps[desired.made_at_load.get(name, name)], name)
        for program in desired.programs:
            pin_new(tx, loaded.programs[program.name], program.pin)
    tx.fresh |= set(step.fresh)


def _carried(tx: Transaction, name: str) -> MapFd:
    return identity.open_same(tx.path(name), MapFd, tx.plan.observed.object_maps[name].id, name)


def _adopted(tx: Transaction, name: str, path: str) -> MapFd:
    return identity.open_same(Path(path), MapFd, tx.plan.observed.maps[name].id, name)


def _variables(desired: DesiredObject) -> Written:
    """The bytes of all variables that the spec sets, by the name of their section's map."""
    return {
        each.map: tuple((variable.offset, variable.data) for variable in each.variables) for each in desired.variables
    }


def _template_btf(tx: Transaction, desired_map: DesiredObject, step: LoadObject) -> dict[str, objects.EmittedBtf]:
    """BTF for dummy inner maps with special fields in their values: the kernel finds the fields by it."""
    desired = tx.plan.desired
    fresh = (desired.maps[name] for name in step.fresh if name in desired_map.templates)
    return {each.name: btf_of(each.key, each.value, desired.host.byteorder) for each in fresh if each.value.specials}


def commit(tx: Transaction, step: CommitObject) -> None:
    """Put the new generation's pins in the place of the old ones."""
    desired = tx.plan.desired.objects[step.object]
    live = {*tx.plan.observed.object_maps, *tx.plan.observed.programs}
    for name in (*desired.maps, *(program.pin for program in desired.programs)):
        if tx.new_path(name).exists():
            put_in_place(tx, name, over=name in live)
            tx.fresh.discard(name)


def attach(tx: Transaction, step: Attach) -> None:
    """Attach a program or a map, or switch the link that exists to it."""
    change = next(link for link in tx.plan.links if link.pin == step.pin)
    attachment = change.attach
    assert change.owner is not None and attachment is not None and change.target is not None
    name = f"{change.owner.name}: {attachment.describe()}"
    request = attachment.request()
    with tx.open_owner(change.owner) as owner:
        if isinstance(request, AddFilter):
            assert isinstance(owner, ProgramFd)
            _attach_filter(tx, change, owner, request, name)
            return
        if change.action is Action.UPDATE and attachment.is_updatable:
            _switch(tx, change, owner)
            return
        if change.action is Action.UPDATE:
            _follow(tx, change, owner, attachment, name)
            return
        if change.action is Action.REPLACE:
            _detach(tx, change.pin)
        with _made(tx, owner, attachment, change.target, name) as link:
            number = links.info(link).id  # asked for before there is a pin: what may fail comes before what is noted
            with tx.noting(f"attachment {name}", partial(_drop, tx, change.pin, number)):
                bpffs.pin(link, tx.path(change.pin), tx.access)


def _attach_filter(tx: Transaction, change: LinkChange, program: ProgramFd, request: AddFilter, name: str) -> None:
    if change.action is Action.UPDATE:
        filters.update(tx, change, program, name)
        return
    if change.action is Action.REPLACE:
        _detach(tx, change.pin)
    assert change.target is not None
    record = FilterRecord(change.target, request.place, (links.program_info(program).id,))
    filters.create(tx, change, program, record, name)


@contextmanager
def _made(
    tx: Transaction, owner: Attachable, attachment: Attachment, number: int, name: str, following: int | None = None
) -> Iterator[LinkFd]:
    """A new link, open inside the block; `number` is that of its attach point, 0 if it has none.

    `following` is the program that ran after the one of a link that is made again, 0 for none: it tells the place.
    """
    point, request = attachment.point, attachment.request()
    assert not isinstance(request, AddFilter)
    with (
        nullcontext(0) if point is None else attach_points.opened(point, number) as target,
        nullcontext(None) if following is not None else _position(tx, attachment) as at,
    ):
        if following:
            at = links.Position(True, following)
        if isinstance(owner, MapFd):
            assert isinstance(request, CreateLink)
            made = links.create_of_map(owner, request, name=name)
        elif at is not None and isinstance(request, CreateLink):
            made = links.create_at(owner, request, target, at, name=name)
        else:
            made = links.create(owner, request, target, name=name)
        with made as link:
            yield link


@contextmanager
def _position(tx: Transaction, attachment: Attachment) -> Iterator[links.Position | None]:
    """The place of an attachment among others; the one that it is beside is open inside the block."""
    neighbour = attachment.neighbour
    if neighbour is None or not neighbour.name:
        yield None if neighbour is None else links.Position(neighbour.is_before)
        return
    path = Path(neighbour.name)
    if not neighbour.is_foreign:
        pin = link_names.at_hook(tx.plan.desired, tx.plan.observed, neighbour.name, attachment)
        path = tx.path(pin or link_pin(neighbour.name))
    with bpffs.open_any(path) as beside:
        yield links.Position(neighbour.is_before, beside)


def _follow(tx: Transaction, change: LinkChange, owner: Attachable, attachment: Attachment, name: str) -> None:
    """Put a new link in the place of one that refuses BPF_LINK_UPDATE: for that moment both programs run."""
    assert change.observed is not None and change.target is not None
    path, keep = tx.path(change.pin), tx.old_path(change.pin)
    with (
        identity.open_same(path, LinkFd, change.observed.id, change.pin) as old,
        _made(tx, owner, attachment, change.target, name) as link,
    ):
        number = links.info(link).id
        bpffs.pin(old, keep)
        undo = partial(_bring_back, tx, change.pin, change.observed.id, number, keep)
        with tx.noting(f"attachment {name}", undo):
            bpffs.pin_replace(link, path, tx.access)


def detach(tx: Transaction, step: Detach) -> None:
    """Detach a link and remove its pin."""
    _detach(tx, step.pin)


def _switch(tx: Transaction, change: LinkChange, owner: Attachable) -> None:
    """Let a link run another program or map by one update: every packet meets the one or the other."""
    assert change.observed is not None
    keep = tx.old_path(change.pin)
    with identity.open_same(tx.path(change.pin), LinkFd, change.observed.id, change.pin) as link:
        with _open_attached(change.observed) as old:
            bpffs.pin(old, keep)
        undo = partial(_switch_back, tx, change.pin, change.observed.id, keep)
        with tx.noting(f"program of {change.pin}", undo):
            links.update(link, owner, name=change.pin)


def _switch_back(tx: Transaction, pin: str, number: int, old: Path) -> None:
    with identity.open_same(tx.path(pin), LinkFd, number, pin) as link, _open_kept(old) as owner:
        links.update(link, owner, name=pin)


def _open_attached(live: ObservedLink) -> Attachable:
    """The program or map of a live link, by its id."""
    return maps.open_id(InnerId(live.map_id)) if live.map_id else links.open_program_id(live.program_id)


def _open_kept(path: Path) -> Attachable:
    """The program or map that a pin keeps for a rollback."""
    fd = bpffs.open_any(path)
    if isinstance(fd, MapFd):
        return fd
    try:
        return bpffs.required(fd, ProgramFd, path)
    except BaseException:
        fd.close()
        raise


def _bring_back(tx: Transaction, pin: str, before: int, number: int, old: Path) -> None:
    """Pin the old link again, which was attached all the time; the new one is freed with its last holder."""
    if identity.at(tx.path(pin)) == (LinkFd, before):
        return
    with links.open_link_pin(old) as link, identity.open_same(tx.path(pin), LinkFd, number, pin):
        bpffs.pin_replace(link, tx.path(pin), tx.access)


def _detach(tx: Transaction, pin: str) -> None:
    live = tx.plan.observed.links[pin]
    if live.filter is not None:
        filters.detach(tx, pin, live)
        return
    meta = tx.plan.observed.meta
    made_as = of_record(meta.attachments.get(pin) if meta is not None else None, live)
    if made_as is not None and live.owner_id and not live.is_detached:
        keep = tx.old_path(f"program{pin}")
        with _open_attached(live) as owner:
            bpffs.pin(owner, keep)
        following = _following(live)
        again = partial(_attach_again, tx, pin, live, made_as, keep, following)
        tx.note(f"removal of attachment {pin}", again, is_removal=True)
    _drop(tx, pin, live.id)


def _following(live: ObservedLink) -> int | None:
    """The id of the program that runs after that of a tcx link; 0 if it is the last, None for other links."""
    if live.type != LinkType.TCX:
        return None
    order = links.order(live.target, live.attach_type)
    at = order.index(live.program_id) + 1 if live.program_id in order else len(order)
    return order[at] if at < len(order) else 0


def _attach_again(
    tx: Transaction, pin: str, live: ObservedLink, made_as: Attachment, old: Path, following: int | None
) -> None:
    """Attach as it was before; a link that never came off is left as it is."""
    path = tx.path(pin)
    if path.exists():
        with links.open_link_pin(path) as link:
            info = links.info(link)
            if (info.target, info.type) == (live.target, live.type) and (info.prog_id or info.map_id):
                return
    if following and following not in links.order(live.target, live.attach_type):
        following = 0
    with _open_kept(old) as owner, _made(tx, owner, made_as, live.target, pin, following) as link:
        bpffs.pin_replace(link, path, tx.access)


def _drop(tx: Transaction, pin: str, number: int) -> None:
    """Detach the link with this id and remove its pin. Raises RefusedError where another one is pinned there."""
    path = tx.path(pin)
    if path.exists():
        with identity.open_same(path, LinkFd, number, pin) as link:
            links.detach(link)
        bpffs.unpin(path)
