"""Which capabilities the steps of a plan need, so that an apply that lacks one never begins. Pure.

docs/privileges.md has the same as a table; both are tested by dropping capabilities for real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, assert_never

import msgspec

from provisioner.model.attachment import AddFilter, Attachment, OpenUsdt
from provisioner.model.desired import Owner
from provisioner.model.errors import HostError, Problem
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.plan import Plan
from provisioner.planning.steps import (
    Attach,
    CarryChanges,
    CarrySlots,
    ClaimPinRoot,
    CommitObject,
    CreateMap,
    DeleteSlots,
    Detach,
    LoadObject,
    MovePins,
    MoveRoot,
    MoveSlots,
    PinInnerMaps,
    PublishSlots,
    RecordMeta,
    RemoveDirectories,
    RemovePinRoot,
    SetAccess,
    Step,
    Sweep,
    Unpin,
    UnpinInnerMaps,
    WriteEntries,
    WriteVariables,
)

Capability = Literal["CAP_BPF", "CAP_CHOWN", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN"]


class Need(msgspec.Struct, frozen=True):
    """A capability, the address that needs it, and what for. `creates` is the type of a map that it is to create.

    With `is_exact`, CAP_SYS_ADMIN does not include it: rtnetlink asks for CAP_NET_ADMIN alone.
    """

    capability: Capability
    address: str
    what: str
    creates: MapType | None = None
    is_exact: bool = False


NETWORK_TYPES: Final = frozenset(
    {MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.SOCKMAP, MapType.SOCKHASH, MapType.XSKMAP}
)
"""Types that the kernel creates for CAP_NET_ADMIN (map_create, kernel/bpf/syscall.c).

From 6.9 on (ed1ad5a7415d) CAP_SYS_ADMIN does as well, as it always did for programs.
"""


def needs(plan: Plan) -> Iterator[Need]:
    """What each step needs, in the order of the steps."""
    if plan.observed.gid is not None and any(
        isinstance(step, ClaimPinRoot | RecordMeta | SetAccess) for step in plan.steps
    ):
        yield Need("CAP_CHOWN", "", "give pins to another group")
    for step in plan.steps:
        yield from _of_step(plan, step)


def refuse_unprivileged(plan: Plan, held: frozenset[str], may_create: Callable[[MapType], bool]) -> None:
    """Raise HostError with all that this process lacks for a plan: one problem for each capability and address.

    `may_create` asks the kernel whether CAP_SYS_ADMIN is enough for a map of a type.
    """
    missing = dict.fromkeys(need for need in needs(plan) if not _is_met(need, held, may_create))
    if missing:
        raise HostError(
            *(
                Problem(
                    f"{need.capability} is needed to {need.what}",
                    address=need.address,
                    hint="nothing was changed; run as root",
                    id="missing-capability",
                )
                for need in missing
            )
        )


def _is_met(need: Need, held: frozenset[str], may_create: Callable[[MapType], bool]) -> bool:
    if need.capability in held:
        return True
    if "CAP_SYS_ADMIN" not in held or need.capability == "CAP_CHOWN" or need.is_exact:
        return False
    return need.creates is None or may_create(need.creates)


def _of_step(plan: Plan, step: Step) -> Iterator[Need]:
    match step:
        case Sweep() | MoveRoot() | MovePins() | SetAccess() | Unpin() | UnpinInnerMaps():
            return
        case RemoveDirectories() | RemovePinRoot():
            return
        case ClaimPinRoot() | RecordMeta():
            yield Need("CAP_BPF", "", "create the map of the project's own record")
        case MoveSlots():
            yield Need("CAP_BPF", step.map, "open the map and its inner maps")
            pinned = plan.observed.inner_pins.get(step.map, frozenset())
            if not pinned.issuperset(slot.id for slot in step.slots):
                yield Need("CAP_SYS_ADMIN", step.map, "open inner maps by their ids")
        case CommitObject() | WriteVariables():
            yield Need("CAP_BPF", step.object, "open what is pinned")
        case (
            CreateMap()
            | CarrySlots()
            | CarryChanges()
            | PublishSlots()
            | PinInnerMaps()
            | WriteEntries()
            | DeleteSlots()
        ):
            yield from _of_map(plan, step)
        case LoadObject():
            yield Need("CAP_BPF", step.object, "load programs")
            desired = plan.desired.objects[step.object]
            for kind in _kinds(desired.owners):
                yield Need(kind.capability, step.object, f"load {kind.word} programs")
            for name in step.fresh:
                yield from _network(name, desired.maps[name], desired.templates.get(name))
        case Attach():
            own = next(link.attach for link in plan.links if link.pin == step.pin)
            request = None if own is None else own.request()
            for kind in _kinds(plan.desired.objects[step.object].owners):
                is_filter = isinstance(request, AddFilter) and kind.kind == "tc"
                yield Need(kind.capability, step.pin, f"attach {kind.word} programs", is_exact=is_filter)
            if isinstance(request, OpenUsdt):
                yield Need("CAP_SYS_ADMIN", step.pin, "open the map of the probe's arguments by its id")
            if step.action is not Action.CREATE:
                yield Need("CAP_SYS_ADMIN", step.pin, "open the attached program by its id, to take the step back")
        case Detach():
            if plan.observed.links[step.pin].filter is not None:
                yield Need("CAP_NET_ADMIN", step.pin, "detach tc programs", is_exact=True)
            yield Need("CAP_SYS_ADMIN", step.pin, "open the attached program by its id, to take the step back")
        case _:
            assert_never(step)


def _kinds(owners: Iterable[Owner]) -> Iterator[Attachment]:
    """One attachment of each kind."""
    yield from {each.kind: each for owner in owners for each in owner.attachments}.values()


def _of_map(
    plan: Plan,
    step: CreateMap | CarrySlots | CarryChanges | PublishSlots | PinInnerMaps | WriteEntries | DeleteSlots,
) -> Iterator[Need]:
    change = plan.maps[step.map]
    desired = change.desired
    if not isinstance(step, WriteEntries):  # a pinned map is opened by the permissions of its pin
        yield Need("CAP_BPF", step.map, "create maps")
    if isinstance(step, CreateMap | CarrySlots | PublishSlots):
        yield from _network(desired.name, desired.shape, desired.entry_shape)
    if desired.outer is not None and _opens_by_id(plan, change):
        what = "open its inner maps by their ids, to verify them and to take the step back"
        yield Need("CAP_SYS_ADMIN", step.map, what)


def _opens_by_id(plan: Plan, change: MapChange) -> bool:
    """Whether there are inner maps to be opened that have no pin, or that will have none."""
    if not plan.desired.pin_inner_maps:
        return bool(len(change.slots.keys))
    if change.observed is None:
        return False
    # Slots that stay are not touched, but go into the map that takes the place of the live one.
    numbers = change.slots.observed[(change.slots.action != Action.KEEP) | change.keeps_contents]
    ids = change.observed.slots.inner_ids[numbers[numbers >= 0]]
    return not plan.observed.inner_pins.get(change.name, frozenset()).issuperset(ids.tolist())


def _network(address: str, *shapes: MapShape | None) -> Iterator[Need]:
    for map_type in dict.fromkeys(shape.map_type for shape in shapes if shape is not None):
        if map_type in NETWORK_TYPES:
            yield Need("CAP_NET_ADMIN", address, f"create a {map_type.word}", map_type)
