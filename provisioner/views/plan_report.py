"""A plan as a report: its counts, and the nodes of what changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from provisioner.model.desired import DesiredProgram, Owner
from provisioner.model.kernel_versions import batches_of
from provisioner.model.pins import INNER_PINS, META_PIN, ROOT, access_of
from provisioner.model.types import Value
from provisioner.model.words import plural
from provisioner.planning import counts
from provisioner.planning.changes import Action, LinkChange, ObjectChange
from provisioner.planning.counts import links_by_owner, map_action, own_links, owner_action
from provisioner.planning.diff_variables import in_words
from provisioner.planning.footprint import estimate
from provisioner.planning.grace_periods import grace_periods
from provisioner.planning.plan import Plan
from provisioner.planning.steps import PinInnerMaps, SetAccess, Step, Unpin, UnpinInnerMaps
from provisioner.report.model import CUT, Against, Kind, Limits, Node, ReportPlan, StepLine, Verb
from provisioner.report.overlaid import with_source
from provisioner.views.attachments import attached_with_mode, several, wanted, wanted_places
from provisioner.views.map_nodes import VERBS, map_node

WAVE_SLOTS = 4096
"""Inner maps that are published together, if the host allows so many open files."""


def report(
    plan: Plan,
    limits: Limits = CUT,
    *,
    destroy: bool = False,
    against: Against | None = None,
    wave_slots: int = WAVE_SLOTS,
    kernel: str = "",
) -> ReportPlan:
    """`plan` as reports show it; `wave_slots` are published together, on release `kernel`, for the estimate of waits.

    `destroy` says that it is `teardown.plan_destroy`'s, which knows of no objects and programs to load.
    """
    batches = batches_of(kernel)
    objects = [node for change in plan.objects.values() if (node := _object(change, plan)) is not None]
    maps = [node for change in plan.maps.values() if (node := map_node(change, limits, map_action(change))) is not None]
    programs = list(_destroyed_programs(plan)) if destroy else list(_programs(plan))
    changed = [node for node in programs if node.verb is not Verb.SHOW]
    pins = list(_pins(plan, [*maps, *changed]))
    return ReportPlan(
        project=plan.desired.project,
        pin_root=plan.desired.pin_root,
        digest=plan.digest,
        changed=plan.changed,
        destroy=destroy,
        summary=counts.summary(plan, destroy=destroy),
        nodes=(*_moves(plan), *objects, *maps, *changed, *pins),
        steps=tuple(_step(step) for step in plan.steps),
        hazards=plan.hazards,
        blocked=plan.blocked,
        grace_periods=grace_periods(plan, wave_slots, batches),
        memory=estimate(plan),
        against=against,
        targets=plan.targets,
        sources={} if destroy else plan.desired.overlays.project,
        revision="" if destroy else plan.desired.revision,
        approved=plan.approved,
    )


def _moves(plan: Plan) -> Iterator[Node]:
    """Names that the spec changed, as `tenants -> customers`."""
    why = "the spec has `moved`"
    if (root := plan.observed.moves.root) is not None:
        label = f"{root.old} -> {root.new}"
        before, after = {"address": root.old}, {"address": root.new}
        yield Node(Kind.MOVE, Verb.UPDATE, root.new, label, "rename the pin root", why, before, after)
    for each in plan.observed.moves.pending:
        old, new = each.move.old, each.move.new
        label = f"{old} -> {new}"
        yield Node(Kind.MOVE, Verb.UPDATE, new, label, "rename", why, {"address": old}, {"address": new})
    for slot in plan.observed.moves.slots:
        old, new = slot.move.move.old, slot.move.move.new
        label, text = f"{old} -> {new}", "the same inner map"
        yield Node(Kind.MOVE, Verb.UPDATE, new, label, text, why, {"address": old}, {"address": new})


# --- objects, programs, pins -------------------------------------------------------------------------------------


def _object(change: ObjectChange, plan: Plan) -> Node | None:
    if change.action not in VERBS and not change.variables:
        return None
    desired = change.desired
    text = f"{desired.file.rpartition('/')[2]}, {plural(len(desired.maps), 'map')}"
    reason = change.reason or f"{in_words(change.variables)}, in place"
    if change.action is not Action.CREATE:
        text += f": {reason}{_besides(change, reason)}"
    digest = plan.observed.meta.objects.get(change.name) if plan.observed.meta else None
    source, fields = plan.desired.overlays.place(desired.where), plan.desired.overlays.fields(desired.where)
    return Node(
        Kind.OBJECT,
        VERBS.get(change.action, Verb.UPDATE),
        change.name,
        change.name,
        with_source(text, source, fields),
        reason,
        before=None if change.action is Action.CREATE else {"digest": digest or None},
        after={
            "file": desired.file,
            "digest": desired.digest,
            "carried_maps": list(change.carried),
            "new_maps": list(change.fresh),
        }
        | _variables(change),
        source=source,
        sources=fields,
    )


def _variables(change: ObjectChange) -> dict[str, Value]:
    """The variables that differ; empty if none does."""
    values = {each.name: {"before": each.value_before, "after": each.value} for each in change.variables}
    return {"variables": values} if values else {}


def _besides(change: ObjectChange, reason: str) -> str:
    """Variables that differ as well, where that is not the reason."""
    words = in_words(change.variables)
    return f"; {words}" if words and words not in reason else ""


def _programs(plan: Plan) -> Iterator[Node]:
    """Every program and attached map of the spec, and the attachments that it does not ask for."""
    links = links_by_owner(plan)
    for change in plan.objects.values():
        for owner in change.desired.owners:
            yield _owner(change, owner, own_links(owner, links), plan)
    for name, left in links.items():
        gone = [link for link in left if link.action is Action.DELETE]
        if gone:
            reason, before = gone[0].reason, attached_with_mode(plan.observed, name)
            below = several(gone, name, plan.observed)
            yield Node(_kind(gone), Verb.DELETE, name, name, f"detach: {reason}", reason, before, children=below)


def _owner(change: ObjectChange, owner: Owner, links: list[LinkChange], plan: Plan) -> Node:
    observed, number = plan.observed, plan.observed.id_of(owner.pin)
    verb = VERBS.get(owner_action(change, owner, links, plan), Verb.SHOW)
    below = several(links, f"{change.name}.{owner.name}", observed)
    reason = change.reason if not number or change.action in VERBS else ""
    if not reason and verb is Verb.UPDATE:
        reason = next((link.reason for link in links if link.action in VERBS), "")
    text = f"{change.name}, {_places(owner)}"
    if len(links) == 1 and links[0].action is not Action.CREATE and links[0].reason:
        text += f": {links[0].reason}"
    after = wanted(owner)
    before = {"id": number, **attached_with_mode(observed, owner.pin)} if number else None
    source, fields = plan.desired.overlays.place(owner.where), plan.desired.overlays.fields(owner.where)
    return Node(
        Kind.PROGRAM if isinstance(owner, DesiredProgram) else Kind.ATTACHMENT,
        verb,
        f"{change.name}.{owner.name}",
        owner.name,
        with_source(text, source, fields),
        reason,
        before,
        after,
        children=below,
        source=source,
        sources=fields,
    )


def _places(owner: Owner) -> str:
    """Where a program or map is to be attached; the places of several are nodes of their own."""
    places = owner.attachments
    return plural(len(places), "attachment") if len(places) > 1 else wanted_places(owner)[0]


def _kind(links: list[LinkChange]) -> Kind:
    """What attachments that go are of: a map, or else a program."""
    is_of_map = any(link.observed is not None and link.observed.is_of_map for link in links)
    return Kind.ATTACHMENT if is_of_map else Kind.PROGRAM


def _destroyed_programs(plan: Plan) -> Iterator[Node]:
    links = links_by_owner(plan)
    for pin in sorted({*links, *plan.observed.programs}):
        live, own = plan.observed.programs.get(pin), links.get(pin, [])
        before = attached_with_mode(plan.observed, pin)
        if live is not None:
            before = {"id": live.id, **before}
        text, below = "detach and unpin" if own else "unpin", several(own, pin, plan.observed)
        yield Node(_kind(own), Verb.DELETE, pin, pin, text, "the project is destroyed", before, children=below)


def _pins(plan: Plan, nodes: Iterable[Node]) -> Iterator[Node]:
    """Pins that are removed, and are not a map or program of another node."""
    names = {META_PIN, *(node.address for node in nodes), *plan.observed.programs}
    for step in plan.steps:
        if isinstance(step, Unpin) and step.pin not in names:
            yield Node(Kind.PIN, Verb.DELETE, step.pin, step.pin, "unpin", "not in the spec")
    yield from _inner_pins(plan)


def _inner_pins(plan: Plan) -> Iterator[Node]:
    """Pins of inner maps that change while their maps stay, and changes of access: one line each."""
    stale = [pin for pin in plan.observed.leftovers if pin.startswith(f"{INNER_PINS}/") and pin.count("/") > 1]
    if stale:
        yield _unpinned(len(stale), "no slot has these inner maps")
    for step in plan.steps:
        match step:
            case PinInnerMaps():
                folder, reason = f"{INNER_PINS}/{step.map}", "the spec has `pin_inner_maps`"
                yield Node(Kind.PIN, Verb.CREATE, folder, folder, f"pin {plural(len(step.slots), 'inner map')}", reason)
            case UnpinInnerMaps():
                yield _unpinned(sum(map(len, plan.observed.inner_pins.values())), "not in the spec")
            case SetAccess():
                yield _access_node(plan, step)
            case _:
                pass


def _unpinned(count: int, reason: str) -> Node:
    text = f"unpin {plural(count, 'inner map')}: {reason}"
    return Node(Kind.PIN, Verb.DELETE, INNER_PINS, INNER_PINS, text, reason)


def _access_node(plan: Plan, step: SetAccess) -> Node:
    """The first pin with another access than in the spec, and the number of the others."""
    first = step.pins[0]
    before, after = plan.observed.access[first], access_of(plan.desired, plan.observed.gid, first)
    more = f", and {len(step.pins) - 1:,} more" if len(step.pins) > 1 else ""
    text = f"{before.change_to(after)}: {'the pin root' if first == ROOT else first}{more}"
    return Node(Kind.PIN, Verb.UPDATE, "access", "access", text, "the access of pins differs from the spec")


def _step(step: Step) -> StepLine:
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()
    return StepLine(kind, step.describe())
