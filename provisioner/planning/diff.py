"""The difference between a desired and an observed map: its slots in `diff_slots`, their entries in `diff_entries`.

Pure: the observed entries come in as an iterator of blocks, so that a comparison of millions of entries holds only one
block of them, and what is kept of it are the rows that differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.map_shape import shape_differences
from provisioner.model.observed import ObservedBlock, ObservedMap
from provisioner.model.record import Meta
from provisioner.model.spec import ExtraInnerMaps
from provisioner.planning.changes import Action, EntryChanges, MapChange, Reason, SlotChanges
from provisioner.planning.diff_entries import diff_block, join
from provisioner.planning.diff_slots import (
    NO_OBJECT_MAPS,
    ObjectMaps,
    decide,
    no_changes,
    pair_slots,
    pair_up,
    positions,
)
from provisioner.planning.recreation import is_compared, replaced_because

_DESTROYED: Final = "the project is destroyed"


def diff_map(
    desired: DesiredMap,
    observed: ObservedMap | None,
    blocks: Iterable[ObservedBlock],
    meta: Meta | None,
    shared: frozenset[int] = frozenset(),
    own: ObjectMaps = NO_OBJECT_MAPS,
) -> MapChange:
    """The change that makes `observed` into `desired`; `blocks` hold what `slots_to_read` asks for.

    `shared` are inner maps that other maps hold too, which no spec can ask for: they are never written in place. `own`
    are the maps of objects.
    """
    if observed is None:
        return MapChange(
            desired.name, Action.CREATE, "it does not exist", desired, None, *_created(desired, Reason.NEW)
        )
    why = replaced_because(desired, observed, meta)
    if not is_compared(desired, observed, meta):
        return created(desired, observed, why)
    return compared(desired, observed, blocks, shared, why, own)


def compared(
    desired: DesiredMap,
    observed: ObservedMap,
    blocks: Iterable[ObservedBlock],
    shared: frozenset[int],
    why: str,
    own: ObjectMaps = NO_OBJECT_MAPS,
) -> MapChange:
    """The difference of the contents. `why` says why a new map takes over the inner maps; empty where none does."""
    slots = pair_up(desired, observed)
    position = positions(slots.observed, len(observed.slots.inner_ids))
    compared = [diff_block(desired, block, slots, position) for block in blocks]
    entries = join(compared, desired)
    decide(desired, observed, slots, shared, own)
    if why:
        return MapChange(desired.name, Action.REPLACE, why, desired, observed, slots, entries, resized=True)
    changed = not slots.is_any(Action.UNCHANGED, Action.KEEP).all()
    action = Action.UPDATE if changed else Action.UNCHANGED
    return MapChange(desired.name, action, "its contents differ" if changed else "", desired, observed, slots, entries)


def created(desired: DesiredMap, observed: ObservedMap | None, why: str) -> MapChange:
    """The change that puts a new map with all its contents in the place of a live one."""
    return MapChange(desired.name, Action.REPLACE, why, desired, observed, *_created(desired, Reason.TEMPLATE))


def writes_slots(change: MapChange) -> bool:
    """Whether slots of an outer map are written, and not just the entries of its inner maps."""
    return bool(change.slots.is_any(Action.CREATE, Action.REPLACE, Action.DELETE).any())


def deleted(desired: DesiredMap, observed: ObservedMap) -> MapChange:
    """The change that removes a live map: all its slots, whose entries are not read.

    Of an adopted map, only the slots that the spec declares or would delete. One whose shape differs from the spec is
    kept, and to be refused. Slots with keys of another size than the spec's go without being listed.
    """
    if desired.adopted is not None and (differs := shape_differences(desired.shape, observed.shape)):
        return _without_slots(desired, observed, Action.KEEP, differs)
    if observed.slots.keys.shape[1] != desired.slots.keys.shape[1]:
        return _without_slots(desired, observed, Action.DELETE, _DESTROYED)
    count = len(observed.slots.inner_ids)
    numbers = np.arange(count, dtype=np.int64)
    slots = no_changes(observed.slots.keys, np.full(count, -1, np.int64), numbers)
    slots.action[:] = Action.DELETE
    slots.reason[:] = Reason.NOT_IN_SPEC
    if desired.adopted is not None and desired.outer is not None:
        outside = ~entry_table.within(slots.keys, desired.outer.key.number_order, desired.outer.owned)
        if desired.outer.extra_inner_maps is not ExtraInnerMaps.DELETE:
            outside[pair_slots(desired, observed).right_only] = True
        slots.action[outside] = Action.KEEP
        slots.reason[outside] = Reason.NOT_OWNED
    return MapChange(desired.name, Action.DELETE, _DESTROYED, desired, observed, slots, join([], desired))


def _without_slots(desired: DesiredMap, observed: ObservedMap, action: Action, reason: str) -> MapChange:
    """The change of a live map whose slots cannot be read by the spec's keys."""
    none = np.empty(0, np.int64)
    slots = no_changes(desired.slots.keys[:0], none, none)
    return MapChange(desired.name, action, reason, desired, observed, slots, join([], desired))


def _created(desired: DesiredMap, reason: Reason) -> tuple[SlotChanges, EntryChanges]:
    count = len(desired.slots.keys)
    slots = no_changes(desired.slots.keys, np.arange(count, dtype=np.int64), np.full(count, -1, np.int64))
    slots.action[:] = Action.CREATE
    slots.reason[:] = reason
    slots.inserts[:] = desired.entries.counts
    return slots, join([], desired)
