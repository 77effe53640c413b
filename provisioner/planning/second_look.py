"""What is read of live maps once their differences are known: too much to read of every map at every plan. Pure.

A frozen map takes no writes by system calls, so an inner map that is frozen is replaced where policy allows it. Where
contents are copied into less room, the plan has to know how much they are.
"""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from provisioner.model.desired import IGNORE
from provisioner.model.entry_table import Index, as_indexes, take
from provisioner.model.spec import OnReplace, Update
from provisioner.observed.sources import Depth, LiveMaps
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.diff import created, writes_slots

_FROZEN = "it is frozen"


def look(change: MapChange, live_maps: LiveMaps) -> MapChange:
    """The change, after its live map was read a second time."""
    if change.observed is None or (change.action is not Action.UPDATE and not change.resized):
        return change
    if change.resized:  # the new outer map can be written; the inner maps that it takes over stay as they are
        _frozen_inner_maps(change, live_maps)
        _ignored_contents(change, live_maps)
        return change
    if change.observed.frozen and (change.desired.outer is None or writes_slots(change)):
        return _of_frozen(change)
    if change.desired.outer is not None:
        _frozen_inner_maps(change, live_maps)
        if change.observed.frozen and writes_slots(change):
            return _of_frozen(change)
        _ignored_contents(change, live_maps)
    return change


def _of_frozen(change: MapChange) -> MapChange:
    """A frozen map of our own is recreated; one of an object or another owner, or a part of one, is refused."""
    desired = change.desired
    limited = desired.outer is not None and desired.outer.only is not None
    if desired.object is None and desired.adopted is None and not limited:
        return created(desired, change.observed, _FROZEN)
    return replace(change, reason=_FROZEN)


def _frozen_inner_maps(change: MapChange, live_maps: LiveMaps) -> None:
    """Mark the slots that would be written in place, and whose inner map is frozen."""
    observed, slots = change.observed, change.slots
    assert observed is not None
    rows = slots.where(Action.UPDATE)
    ids = observed.slots.inner_ids[slots.observed[rows]]
    held = live_maps.frozen(change.desired, ids.tolist())
    if not held:
        return
    frozen = rows[np.isin(ids, list(held))]
    slots.reason[frozen] = Reason.FROZEN
    if change.desired.update is not Update.IN_PLACE:
        slots.action[frozen] = Action.REPLACE


def _ignored_contents(change: MapChange, live_maps: LiveMaps) -> None:
    """Count what is copied of contents that the plan ignores, where the new map is smaller than the live one."""
    desired, observed, slots = change.desired, change.observed, change.slots
    if desired.on_replace is not OnReplace.COPY or observed is None or not desired.entry_shape.is_listable:
        return
    contents = take(desired.slots.contents, slots.desired, 0)
    smaller = take(desired.slots.max_entries, slots.desired, 0) < slots.capacity_before
    rows = np.flatnonzero((slots.action == Action.REPLACE) & (contents == IGNORE) & smaller)
    if not len(rows):
        return
    numbers = slots.observed[rows]
    depth = np.full(len(observed.slots.inner_ids), Depth.NOTHING, np.uint8)
    depth[numbers] = Depth.ENTRIES
    held = np.zeros(len(depth), np.int64)
    for block in live_maps.blocks(desired, observed, depth):
        for at in range(block.last - block.first):
            keys, _ = block.entries.slot(at)
            held[block.first + at] = _room_of(desired.entry_shape.is_array, keys, desired.key.number_order)
    slots.others[rows] = held[numbers]


def _room_of(is_array: bool, keys: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], order: str | None) -> int:
    if not is_array or not len(keys):
        return len(keys)
    indexes: Index = as_indexes(np.ascontiguousarray(keys), order or "little")
    return int(indexes.max()) + 1
