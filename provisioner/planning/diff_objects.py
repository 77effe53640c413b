"""What differs between the desired and the live objects and attachments. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from provisioner.model.attachment import NOT_BPF, Attachment, IfMissing
from provisioner.model.desired import AttachedMap, DesiredObject, DesiredProgram, DesiredState
from provisioner.model.errors import HostError, Problems
from provisioner.model.map_shape import shape_differences
from provisioner.model.object_settings import changed
from provisioner.model.observed import ObservedLink, ObservedState
from provisioner.model.uapi import GENERATIONAL_TYPES
from provisioner.planning import hook_order, link_names
from provisioner.planning.changes import Action, LinkChange, ObjectChange, VariableChange
from provisioner.planning.diff_variables import diff_variables, in_words
from provisioner.planning.recreation import replaced_because
from provisioner.planning.resize import is_resize

_MISSING_POINT: Final = "create it first, or write `if_missing: defer` to attach in a later apply"
_MISSING: Final = {
    "file": "install it, or write its full path in the section or in `target:`",
    "cpu": "name CPUs that are online, or write `if_missing: defer` to attach in a later apply",
}
"""What to do about a missing attach point of a kind."""

_Owner = TypeVar("_Owner", DesiredProgram, AttachedMap)


def attachments_deferred(desired: DesiredState) -> DesiredState:
    """The same state, in which no missing attach point is an error: to show what is live."""

    def deferred(owner: _Owner) -> _Owner:
        places = (replace(attachment, if_missing=IfMissing.IGNORE) for attachment in owner.attachments)
        return replace(owner, attachments=tuple(places))

    objects = {
        name: replace(
            object_,
            programs=tuple(map(deferred, object_.programs)),
            attached_maps=tuple(map(deferred, object_.attached_maps)),
        )
        for name, object_ in desired.objects.items()
    }
    return replace(desired, objects=objects)


def diff_object(desired: DesiredObject, state: DesiredState, observed: ObservedState) -> ObjectChange:
    """Whether the object must be loaded, and which live maps its programs can go on using."""
    changed_maps = {name: why for name in desired.maps if (why := _shape_change(name, desired, state, observed))}
    lost = {
        name: why
        for name, why in changed_maps.items()
        if not _is_kept(name, state, observed) and not _is_renewed(name, desired, observed)
    }
    live = [name for name in desired.maps if name in observed.object_maps and name not in changed_maps]
    missing = tuple(name for name in desired.maps if name not in live)
    variables = diff_variables(desired, observed)
    others = {name for one in state.objects.values() if one.name != desired.name for name in one.maps}
    action, reason = _verdict(desired, observed, missing, variables, others)
    carried = tuple(name for name in live if not _is_made_at_load(name, desired))
    fresh = tuple(name for name in desired.maps if name not in carried)
    return ObjectChange(desired.name, action, reason, desired, carried, fresh, tuple(sorted(lost.items())), variables)


def shared_out(loads: Iterable[ObjectChange]) -> list[ObjectChange]:
    """The changes in order, in which a map that several objects would create is created by the first to be loaded."""
    made: set[str] = set()
    changes = []
    for change in loads:
        borrowed = tuple(name for name in change.fresh if name in made)
        fresh = tuple(name for name in change.fresh if name not in made)
        lost = tuple(pair for pair in change.lost if pair[0] not in made)
        changes.append(replace(change, fresh=fresh, borrowed=borrowed, lost=lost))
        if change.action is not Action.UNCHANGED:
            made |= set(fresh)
    return changes


def diff_links(
    observed: ObservedState, objects: Mapping[str, ObjectChange], points_known: bool
) -> tuple[LinkChange, ...]:
    """Attachments in the order of objects and programs; those that the spec does not name come last.

    Raises HostError where an attach point is missing and the spec says `if_missing: fail`, unless `points_known` is
    False: then the host was not asked.
    """
    problems = Problems()
    changes: list[LinkChange] = []
    wishes = [
        hook_order.Wish(name, owner, pin, attachment)
        for name, change in objects.items()
        for owner in change.desired.owners
        for pin, attachment in link_names.named(owner, observed).items()
    ]
    for wish in hook_order.neighbours_first(wishes):
        changes.append(_diff_link(wish, objects[wish.object], observed, points_known, problems, changes))
    problems.raise_if_any(HostError)
    wanted = {change.pin for change in changes}
    changes += [
        LinkChange("", None, None, pin, Action.DELETE, "the spec does not name it", link.target, link)
        for pin, link in sorted(observed.links.items())
        if pin not in wanted
    ]
    return tuple(changes)


def _is_made_at_load(name: str, desired: DesiredObject) -> bool:
    """Whether a map belongs to the programs of one load: they never share it with those of another."""
    return name in desired.made_at_load or desired.maps[name].map_type in GENERATIONAL_TYPES


def _is_renewed(name: str, desired: DesiredObject, observed: ObservedState) -> bool:
    """Whether each load makes the map again, of whatever size: what the old one holds goes with the old programs."""
    types = {desired.maps[name].map_type, observed.object_maps[name].shape.map_type}
    return types <= GENERATIONAL_TYPES


def _shape_change(name: str, desired: DesiredObject, state: DesiredState, observed: ObservedState) -> str:
    """What keeps a live map from being carried over; empty where nothing does, or where there is none."""
    live = observed.object_maps.get(name)
    if live is None:
        return ""
    if name in desired.made_at_load:
        return ""
    if name in state.maps:
        return replaced_because(state.maps[name], live, observed.meta)
    return shape_differences(desired.maps[name], live.shape)


def _is_kept(name: str, state: DesiredState, observed: ObservedState) -> bool:
    """Whether the object's new map takes over what the live one holds, or the spec says that it is discarded."""
    desired_map = state.maps.get(name)
    return desired_map is not None and (
        desired_map.migration is not None or is_resize(desired_map, observed.object_maps[name], observed.meta)
    )


def _verdict(
    desired: DesiredObject,
    observed: ObservedState,
    fresh: tuple[str, ...],
    variables: tuple[VariableChange, ...],
    others: Collection[str],
) -> tuple[Action, str]:
    """Whether it must be loaded, and why; `others` are the maps of other objects, which can be live without it."""
    if not desired.programs and not desired.maps:
        return Action.UNCHANGED, ""
    digest = observed.meta.objects.get(desired.name) if observed.meta else None
    pins = [program.pin for program in desired.programs]
    if not any(pin in observed.programs for pin in pins) and not any(
        name in observed.object_maps for name in desired.maps if name not in others
    ):
        return Action.CREATE, "it is not loaded"
    if digest is None:
        return Action.UPDATE, "what was loaded before is not recorded"
    if digest == "":
        return Action.UPDATE, "an earlier apply did not finish loading it"
    if digest != desired.digest:
        return Action.UPDATE, "the object file changed"
    before = observed.meta.settings.get(desired.name, {}) if observed.meta else {}
    if settings := changed(before, desired.recorded_settings):
        return Action.UPDATE, settings
    if any(change.word is None for change in variables):
        return Action.UPDATE, in_words(variables)
    missing = [pin for pin in pins if pin not in observed.programs]
    if missing:
        return Action.UPDATE, f"pin {missing[0]} is missing"
    if fresh:
        return Action.UPDATE, f"map {fresh[0]} is missing or must be recreated"
    strange = _foreign_maps(desired, observed)
    if strange:
        return Action.UPDATE, f"{strange} uses another map than the one that is pinned now"
    return Action.UNCHANGED, ""


def _occupied(attachment: Attachment, number: int) -> str:
    """Another program has the hook; `number` is its id, or 0xFFFFFFFF for what is not a BPF program."""
    whose = "a filter that is not of BPF" if number == NOT_BPF else f"program {number} of another owner"
    return f"{attachment.describe()}: {whose} is attached there"


def _foreign_maps(desired: DesiredObject, observed: ObservedState) -> str:
    """A program that was loaded with maps other than those that are pinned now: another process replaced a pin."""
    pinned = {live.id for live in observed.object_maps.values()}
    pinned |= {observed.maps[name].id for name in desired.reused if name in observed.maps}
    used = observed.meta.used_maps if observed.meta else {}
    return next((program.pin for program in desired.programs if set(used.get(program.pin, ())) - pinned), "")


def _diff_link(
    wish: hook_order.Wish,
    change: ObjectChange,
    observed: ObservedState,
    points_known: bool,
    problems: Problems,
    before: Sequence[LinkChange],
) -> LinkChange:
    """What becomes of one attachment; `before` are the changes of those that come before it."""
    name, owner, pin, attach = wish.object, wish.owner, wish.pin, wish.attach
    live = observed.links.get(pin)
    point = attach.point
    target = 0 if point is None else observed.points.get(point)

    def verdict(action: Action, reason: str) -> LinkChange:
        return LinkChange(name, owner, attach, pin, action, reason, target, live)

    if not points_known:
        return verdict(Action.CREATE, "it is not attached")
    if point is not None and target is None:
        if attach.if_missing is IfMissing.FAIL:
            gone = "is not online" if point.kind == "cpu" else "does not exist"
            also = ", or is not a network namespace" if point.kind == "netns" else ""
            problems.add(
                f"{point} {gone}{also}",
                attach.where,
                _MISSING.get(point.kind, _MISSING_POINT),
                f"{name}.{owner.name}",
                id="attach-target-missing",
            )
        return verdict(Action.KEEP, f"{point} does not exist yet")
    refused, id_ = _refused(attach, observed)
    if refused:
        if attach.if_missing is not IfMissing.IGNORE:
            hint = "detach it first, or attach this program in another place" if id_ == "hook-occupied" else ""
            problems.add(refused, attach.where, hint, f"{name}.{owner.name}", id=id_)
        return verdict(Action.KEEP, refused)
    if live is None:
        return verdict(Action.CREATE, "it is not attached")
    return verdict(*_compared(wish, live, target, change, observed, before))


def _refused(attach: Attachment, observed: ObservedState) -> tuple[str, str]:
    """Why a program cannot be attached where the spec says, and the id of the problem; empty if it can."""
    number = observed.occupants.get(attach.describe())
    if number is not None:
        return _occupied(attach, number), "hook-occupied"
    return hook_order.missing(attach, observed), "attach-target-missing"


def _compared(
    wish: hook_order.Wish,
    live: ObservedLink,
    target: int | None,
    change: ObjectChange,
    observed: ObservedState,
    before: Sequence[LinkChange],
) -> tuple[Action, str]:
    """What becomes of a live link or filter, and why."""
    attach, pin = wish.attach, wish.pin
    point, kind = attach.point, "program" if isinstance(wish.owner, DesiredProgram) else "map"
    if live.is_detached:
        gone = f", or its {point.kind} was deleted and created again" if point is not None else ""
        return (Action.REPLACE, f"it was detached{gone}")
    recorded = observed.meta.attachments.get(pin) if observed.meta else None
    if point is not None and not point.is_shown:
        if recorded is not None and recorded.get("inode", str(target)) != str(target):
            return (Action.REPLACE, f"{point} was replaced")
    elif live.target != target:
        return (Action.REPLACE, f"the live link is {observed.place_of(live)}")
    differs = attach.differs(live, recorded)
    if differs:
        return (Action.REPLACE, differs)
    if misplaced := hook_order.misplaced(attach, pin, observed, before):
        return (Action.REPLACE, misplaced)
    change_of = Action.REPLACE if attach.is_alone else Action.UPDATE
    if change.action is not Action.UNCHANGED:
        return (change_of, f"its {kind} is new")
    if live.owner_id != observed.id_of(wish.owner.pin):
        return (change_of, f"it runs another {kind} than the pinned one")
    return (Action.UNCHANGED, "")
