"""From changes to a plan: steps in order, hazards and refusals. Pure.

Order is decided here alone, and is total: objects are loaded first, then maps are filled and published in the order of
`after` (and of their names), then programs are attached, then what goes is deleted, in the reverse order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner import attach
from provisioner.codec.recorded import recorded
from provisioner.model.attachment import Attachment
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.grace_periods import Batches, waits
from provisioner.model.observed import ObservedState
from provisioner.model.pins import access_of, places
from provisioner.model.record import Meta
from provisioner.model.uapi import OUTER_TYPES, MapType
from provisioner.planning import approved, carried, evictions, moves, resize
from provisioner.planning.approved import Approved
from provisioner.planning.changes import Action, Change, LinkChange, MapChange, ObjectChange
from provisioner.planning.diff_objects import shared_out
from provisioner.planning.fingerprint import Part, digest, fingerprints
from provisioner.planning.hazards import Hazard, Overrides, Refusal, deferred, hazards
from provisioner.planning.jumps import dropped_slots
from provisioner.planning.room import no_room, slots_need_deletes
from provisioner.planning.rules import refusals
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
    MoveSlots,
    PinInnerMaps,
    PublishSlots,
    RecordMeta,
    SetAccess,
    Step,
    Sweep,
    Unpin,
    UnpinInnerMaps,
    WriteEntries,
    WriteVariables,
)

if TYPE_CHECKING:
    from provisioner.planning.targets import Targets


class Plan(msgspec.Struct, frozen=True, dict=True):
    """Everything there is to know before anything is done. `digest` binds a saved plan to both states.

    `targets` are the addresses that it is limited to, none for all of the spec; `whole` those of
    the maps and objects that it then changes as a whole. `recreate` are the addresses that are recreated on request.
    `approved` are refusals that the spec approves.
    """

    desired: DesiredState
    observed: ObservedState
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    hazards: tuple[Hazard, ...]
    blocked: tuple[Refusal, ...]
    digest: str
    targets: tuple[str, ...] = ()
    whole: frozenset[str] = frozenset()
    recreate: tuple[str, ...] = ()
    approved: tuple[Approved, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    @property
    def fingerprints(self) -> Mapping[str, Part]:
        """What `digest` is made of, by address: it shows where two plans differ."""
        return fingerprints(self.changes)

    @cached_property
    def maps(self) -> Mapping[str, MapChange]:
        return {change.name: change for change in self.changes if isinstance(change, MapChange)}

    @cached_property
    def objects(self) -> Mapping[str, ObjectChange]:
        return {change.name: change for change in self.changes if isinstance(change, ObjectChange)}

    @cached_property
    def links(self) -> tuple[LinkChange, ...]:
        return tuple(change for change in self.changes if isinstance(change, LinkChange))


def make_plan(
    desired: DesiredState,
    observed: ObservedState,
    maps: Iterable[MapChange],
    objects: Iterable[ObjectChange],
    links: Iterable[LinkChange],
    overrides: Overrides = Overrides(),
    targets: Targets | None = None,
    whole: frozenset[str] = frozenset(),
) -> Plan:
    """Order the changes into steps, and judge them.

    With `targets`, changes are those of what is targeted alone; `whole` names those that are not cut to some slots.
    """
    cpus = desired.host.possible_cpus
    by_name = {change.name: change for change in maps}
    order = publishing_order(list(desired.maps.values()))
    ordered = [by_name[name] for name in order if name in by_name]
    loads = shared_out(sorted(objects, key=lambda change: change.name))
    attachments = tuple(links)
    part = desired if targets is None else _part(desired, ordered, loads)
    limited = targets is not None
    blocked, lifted = approved.judge(
        (
            *refusals(desired, observed, ordered, loads, overrides),
            *no_room(ordered),
            *moves.refusals(observed, overrides),
            *evictions.refusals(ordered, cpus),
        ),
        desired.approvals,
        observed.meta,
    )
    steps = _steps(part, observed, ordered, loads, attachments, overrides, limited, lifted)
    changes: tuple[Change, ...] = (*loads, *ordered, *attachments)
    known = (
        *hazards(observed, ordered, loads, overrides),
        *carried.hazards(ordered),
        *evictions.hazards(ordered, cpus),
        *dropped_slots(observed, loads, desired),
        *deferred(attachments),
        *approved.hazards(lifted),
    )
    meta, wishes = wanted_meta(part, observed, limited=limited, lifted=lifted), _pin_wishes(desired, observed, steps)
    if targets is None:
        bound = digest(desired.project, desired.pin_root, meta, changes, wishes)
        return Plan(desired, observed, changes, steps, known, blocked, bound, approved=lifted)
    from provisioner.planning.targets import vacant  # only a limited plan needs it

    known = (*known, *vacant(targets, ordered))
    bound = digest(desired.project, desired.pin_root, meta, changes, (*wishes, repr(targets.addresses)))
    limits = targets.addresses, whole
    return Plan(desired, observed, changes, steps, known, blocked, bound, *limits, approved=lifted)


def _part(desired: DesiredState, maps: Iterable[MapChange], objects: Iterable[ObjectChange]) -> DesiredState:
    """What is desired of that which a limited plan is about."""
    return replace(
        desired,
        maps={change.name: change.desired for change in maps},
        objects={change.name: change.desired for change in objects},
    )


def publishing_order(maps: Sequence[DesiredMap]) -> list[str]:
    """Names such that each map comes after those in its `after`; otherwise outer maps first, and by name.

    The spec has no cycles.
    """
    ranked = sorted(maps, key=lambda map_: (map_.outer is None, map_.name))
    placed: dict[str, None] = {}
    known = {one.name: one for one in ranked}

    def place(map_: DesiredMap) -> None:
        for name in sorted(map_.after):
            if name not in placed and name in known:
                place(known[name])
        placed[map_.name] = None

    for map_ in ranked:
        if map_.name not in placed:
            place(map_)
    return list(placed)


def wanted_meta(
    desired: DesiredState,
    observed: ObservedState,
    prune: bool = False,
    limited: bool = False,
    lifted: Sequence[Approved] = (),
) -> Meta:
    """The record once all is done; the maps that programs use are only known then.

    `limited` says that `desired` is a part of the spec: what is recorded of the rest stays. `lifted` are the refusals
    that are approved.
    """
    meta = Meta(
        project=desired.project,
        objects={name: one.digest for name, one in sorted(desired.objects.items())},
        templates={name: map_.entry_shape for name, map_ in sorted(desired.maps.items()) if map_.outer is not None},
        attachments={
            program.link_pin: attach.to_record(program.attach, _number(program.attach, observed))
            for object_ in desired.objects.values()
            for program in object_.programs
            if program.attach is not None
        },
        used_maps=observed.meta.used_maps if observed.meta else {},
        protected=tuple(sorted(name for name, one in desired.maps.items() if one.prevent_destroy)),
        pins=tuple(sorted(own_pins(desired) | (set() if prune else set(observed.own_pins)))),
        maps=observed.meta.maps if observed.meta else {},
        settings={
            name: object_.recorded_settings
            for name, object_ in sorted(desired.objects.items())
            if object_.recorded_settings
        },
        types={
            name: recorded(map_.outer.key if map_.outer is not None else None, map_.key, map_.value)
            for name, map_ in sorted(desired.maps.items())
        },
        places=places(desired) | ({} if prune else _places_left(desired, observed)),
        directories=_directories(observed),
        revision=observed.meta.revision if observed.meta else "",
        approvals=approved.recorded(observed.meta, desired.approvals, lifted),
    )
    if not limited:
        return meta
    from provisioner.planning.targets import merged_meta

    return merged_meta(meta, observed.meta, desired)


def _places_left(desired: DesiredState, observed: ObservedState) -> dict[str, str]:
    """What is recorded of maps outside of the pin root that the spec no longer has there, and that are still pinned."""
    recorded = observed.meta.places if observed.meta is not None else {}
    return {
        name: path for name, path in recorded.items() if name not in places(desired) and path in observed.other_pins
    }


def _directories(observed: ObservedState) -> tuple[str, ...]:
    """The directories outside of the pin root that are the project's, once those that are missing are created."""
    recorded = observed.meta.directories if observed.meta is not None else ()
    return tuple(sorted({*recorded, *observed.missing}))


def _is_recorded(meta: Meta, before: Meta | None, desired: DesiredState) -> bool:
    """Whether the record needs no change. One of version 0.2 has no types: they are added with the next change."""
    if before is None:
        return not (own_pins(desired) or meta.protected)
    return before == (meta if before.types else replace(meta, types={}))


def _number(attachment: Attachment, observed: ObservedState) -> int | None:
    return observed.points.get(attachment.point) if attachment.point is not None else None


def own_pins(desired: DesiredState) -> set[str]:
    """The names that the project pins in its root, links and the record apart."""
    names = {name for name, one in desired.maps.items() if one.adopted is None}
    for object_ in desired.objects.values():
        names |= {*object_.maps, *(program.pin for program in object_.programs)}
    return names


def _steps(
    desired: DesiredState,
    observed: ObservedState,
    maps: list[MapChange],
    objects: list[ObjectChange],
    links: tuple[LinkChange, ...],
    overrides: Overrides,
    limited: bool,
    lifted: Sequence[Approved],
) -> tuple[Step, ...]:
    loaded = {change.name for change in objects if change.action is not Action.UNCHANGED}
    work: list[Step] = [
        LoadObject(change.name, change.carried, change.fresh, change.borrowed)
        for change in objects
        if change.name in loaded
    ]
    strayed = () if limited else _strayed(desired, observed)
    if strayed:
        work.insert(0, SetAccess(strayed))
    work = [*moves.steps(observed), *work]
    deletes = {change.name: change.slots.where(Action.DELETE) for change in maps}
    crowded = {change.name for change in maps if slots_need_deletes(change) and len(deletes[change.name])}
    for change in maps:
        if change.name in crowded:
            work.append(DeleteSlots(change.name, deletes[change.name]))
        pinned = observed.inner_pins.get(change.name, frozenset()) if desired.pin_inner_maps else None
        work += _fill_steps(change, not loaded.isdisjoint(change.desired.objects), pinned)
    work += [WriteVariables(change.name) for change in objects if change.variables and change.name not in loaded]
    work += [_link_step(change) for change in links if change.action in (Action.CREATE, Action.UPDATE, Action.REPLACE)]
    work += [CommitObject(change.name) for change in objects if change.name in loaded]
    work += [CarryChanges(change.name) for change in maps if _carries_changes(change)]
    for change in reversed(maps):
        if len(deletes[change.name]) and change.name not in crowded and not change.keeps_contents:
            work.append(DeleteSlots(change.name, deletes[change.name]))
    work += [Detach(change.pin) for change in links if change.action is Action.DELETE]
    if overrides.prune:
        work += [Unpin(pin) for pin in observed.other_pins]
    if not limited and not desired.pin_inner_maps and any(observed.inner_pins.values()):
        work.append(UnpinInnerMaps())
    meta = wanted_meta(desired, observed, overrides.prune, limited, lifted)
    swept: tuple[Step, ...] = (Sweep(),) if observed.leftovers else ()
    # A record of version 0.2 has no types: this alone is not a change.
    as_before = replace(meta, types={}) if observed.meta is not None and not observed.meta.types else meta
    if not work and (
        observed.meta == as_before or (observed.meta is None and not (own_pins(desired) or meta.protected))
    ):
        return swept
    pins = tuple(sorted(own_pins(desired)))
    claimed = ClaimPinRoot(tuple(sorted(loaded)), pins, places(desired), observed.missing)
    is_ours = observed.meta is not None and places(desired).keys() <= set(observed.meta.pins)
    claim: tuple[Step, ...] = () if is_ours and not loaded and not observed.missing else (claimed,)
    done = meta if limited else replace(meta, revision=desired.revision)
    return (*swept, *claim, *work, RecordMeta(done))


def _fill_steps(change: MapChange, loaded: bool, pinned: frozenset[int] | None) -> list[Step]:
    """Steps that bring one map's contents up to what is desired, deletes of whole slots apart.

    `pinned` are the ids of inner maps that have pins; None where they should have none.
    """
    created = change.action in (Action.CREATE, Action.REPLACE) and not change.resized
    if created and change.desired.object is None:
        return [CreateMap(change.name, change.action is Action.REPLACE)]
    staged = np.flatnonzero(change.slots.is_any(Action.CREATE, Action.REPLACE))
    steps: list[Step] = []
    fresh = (created or change.resized) and loaded
    if change.resized:
        steps.append(CarrySlots(change.name, resize.carried(change), not loaded))
    if change.desired.outer is None:
        if created and (len(change.desired.entries.keys) or change.keeps_contents):
            steps.append(WriteEntries(change.name, staged, fresh))
    elif len(staged):
        steps.append(PublishSlots(change.name, staged, fresh))
    unpinned = _unpinned(change, pinned) if pinned is not None else ()
    if len(unpinned):
        steps.append(PinInnerMaps(change.name, np.array(unpinned, np.int64)))
    edited = change.slots.where(Action.UPDATE)
    if len(edited):
        steps.append(WriteEntries(change.name, edited, False))
    return steps


def _carries_changes(change: MapChange) -> bool:
    """Whether a migration copies entries that programs can change meanwhile."""
    done = change.migrated
    if done is None or not done.is_carried:
        return False
    rows = np.flatnonzero((change.slots.desired >= 0) & (change.slots.observed >= 0))
    return any(change.desired.holds_others(slot) for slot in change.slots.desired[rows].tolist())


def _unpinned(change: MapChange, pinned: frozenset[int]) -> list[int]:
    """Rows of slots that keep their inner map, which is to have a pin and has none; others' maps get none."""
    if change.observed is None or change.desired.outer is None:
        return []
    kept = np.flatnonzero(change.slots.is_any(Action.UNCHANGED, Action.UPDATE))
    ids = change.observed.slots.inner_ids[change.slots.observed[kept]].tolist()
    return [row for row, number in zip(kept.tolist(), ids, strict=True) if number not in pinned]


def _strayed(desired: DesiredState, observed: ObservedState) -> tuple[str, ...]:
    """Pins and directories whose permissions differ from those of the spec."""
    return tuple(
        path for path, live in observed.access.items() if not access_of(desired, observed.gid, path).allows(live)
    )


def _link_step(change: LinkChange) -> Step:
    assert change.program is not None
    return Attach(change.object, change.program.name, change.pin, change.action)


def _pin_wishes(desired: DesiredState, observed: ObservedState, steps: Iterable[Step]) -> Iterable[str]:
    """What steps do to pins, which is in no change."""
    for step in steps:
        match step:
            case PinInnerMaps():
                yield repr((step.map, step.slots.tolist()))
            case MovePins():
                yield repr([each.renames for each in step.moves])
            case MoveSlots():
                yield repr([(slot.move.old, slot.move.new, slot.id) for slot in step.slots])
            case SetAccess():
                access = [(pin, observed.access[pin]) for pin in step.pins]
                yield repr((desired.pin_mode, observed.gid, access))
            case _:
                pass


def grace_periods(plan: Plan, wave_slots: int, batches: Batches = Batches.CHEAP) -> int:
    """About how many RCU grace periods apply waits for, to write slots wave by wave and to keep what they held.

    `batches` says what batches of slots cost on the kernel that is planned for.
    """

    def in_waves(slots: int) -> int:
        whole, rest = divmod(slots, wave_slots)
        return whole * waits(wave_slots, batches) + waits(rest, batches)

    def kept(step: PublishSlots | DeleteSlots) -> int:
        return int((plan.maps[step.map].slots.observed[step.slots] >= 0).sum())

    def waited(step: Step) -> int:
        match step:
            case CarryChanges():
                return 1
            case CarrySlots():
                return in_waves(len(step.slots))
            case MoveSlots():
                return 2 * in_waves(len(step.slots))
            case PublishSlots():
                return in_waves(len(step.slots)) + in_waves(kept(step))
            case DeleteSlots():
                observed = plan.maps[step.map].observed
                # An array of maps has no batch that deletes (errno 524).
                is_array = observed is not None and observed.shape.map_type is MapType.ARRAY_OF_MAPS
                return waits(len(step.slots), Batches.NONE if is_array else batches) + in_waves(kept(step))
            case CreateMap():
                change = plan.maps[step.map]
                if plan.desired.maps[step.map].shape.map_type not in OUTER_TYPES:
                    return 0
                return in_waves(int((change.slots.desired >= 0).sum()))
            case _:
                return 0

    from provisioner.planning import lanes  # it orders the steps of a plan

    total = 0
    for units in lanes.groups(plan):
        each = [sum(map(waited, unit)) for unit in units]
        total += max(max(each), -(-sum(each) // lanes.lanes(plan, units, wave_slots)))
    return total
