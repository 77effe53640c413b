"""Changes as steps in their order. Pure.

Order is decided here alone, and is total: objects are loaded first, then maps are filled and published in the order of
`after` (and of their names), then programs are attached, then what goes is deleted, in the reverse order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from msgspec.structs import replace

from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.observed import ObservedState
from provisioner.model.pins import access_of, places
from provisioner.model.spec import OnReplace
from provisioner.planning import moves, resize
from provisioner.planning.approved import Approved
from provisioner.planning.changes import Action, LinkChange, MapChange, ObjectChange
from provisioner.planning.hazards import Overrides, replaced_with_others
from provisioner.planning.room import slots_need_deletes
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
from provisioner.planning.wanted_record import is_recorded, own_pins, wanted_meta


def steps_in_order(
    desired: DesiredState,
    observed: ObservedState,
    maps: Sequence[MapChange],
    objects: Sequence[ObjectChange],
    links: tuple[LinkChange, ...],
    overrides: Overrides,
    limited: bool,
    lifted: Sequence[Approved],
) -> tuple[Step, ...]:
    """The steps of all changes; `maps` are in their order of publishing."""
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
    work += [CarryChanges(change.name) for change in maps if _carries_changes(change, loaded)]
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
    begin = (*moves.root_steps(observed), *swept)
    if not work and is_recorded(meta, observed.meta, desired):
        return begin
    pins = tuple(sorted(own_pins(desired)))
    claimed = ClaimPinRoot(tuple(sorted(loaded)), pins, places(desired), observed.missing)
    is_ours = observed.meta is not None and places(desired).keys() <= set(observed.meta.pins)
    claim: tuple[Step, ...] = () if is_ours and not loaded and not observed.missing else (claimed,)
    done = meta if limited else replace(meta, revision=desired.revision)
    return (*begin, *claim, *work, RecordMeta(done))


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


def _carries_changes(change: MapChange, loaded: Collection[str]) -> bool:
    """Whether entries are copied that programs can change until they use the new maps, those of `loaded` objects."""
    done = change.migrated
    if change.resized and not set(loaded).isdisjoint(change.desired.objects):
        return change.desired.on_replace is OnReplace.COPY and bool(replaced_with_others(change))
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
    assert change.owner is not None
    place = change.attach.describe() if change.attach is not None and len(change.owner.attachments) > 1 else ""
    return Attach(change.object, change.owner.name, change.pin, change.action, place)
