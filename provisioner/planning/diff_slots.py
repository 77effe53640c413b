"""The difference of slots: which are on both sides, which are read, and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model import entry_table
from provisioner.model.desired import IGNORE, DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedMap, ObservedState
from provisioner.model.spec import ExtraInnerMaps, Update
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.observed.sources import Depth
from provisioner.planning.changes import Action, Reason, SlotChanges


class ObjectMaps(msgspec.Struct, frozen=True):
    """The live maps of objects: `kept` by name, those that are not created again; `ids` of all."""

    kept: Mapping[str, int] = {}
    ids: frozenset[int] = frozenset()


NO_OBJECT_MAPS: Final = ObjectMaps()


def pair_slots(desired: DesiredMap, observed: ObservedMap) -> entry_table.Match:
    """Slots of both sides by outer key."""
    return entry_table.match_keys(desired.slots.keys, observed.slots.keys)


def no_changes(keys: Bytes, desired: Index, observed: Index) -> SlotChanges:
    count = len(keys)
    action, reason = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    inserts, updates, deletes, unchanged, others = (np.zeros(count, np.int64) for _ in range(5))
    capacity = np.zeros(count, np.uint32)
    return SlotChanges(keys, action, reason, desired, observed, inserts, updates, deletes, unchanged, others, capacity)


def pair_up(desired: DesiredMap, observed: ObservedMap) -> SlotChanges:
    """Every slot of either side once, in reading order, with its numbers in both."""
    pairs = pair_slots(desired, observed)
    wanted = len(desired.slots.keys)
    keys = np.concatenate((desired.slots.keys, observed.slots.keys[pairs.right_only]))
    left = np.concatenate((np.arange(wanted, dtype=np.int64), np.full(len(pairs.right_only), -1, np.int64)))
    right = np.full(len(keys), -1, np.int64)
    right[pairs.both_left] = pairs.both_right
    right[wanted:] = pairs.right_only
    order = entry_table.order_of(keys, desired.outer.key.number_order if desired.outer is not None else None)
    return no_changes(keys[order], left[order], right[order])


def positions(numbers: Index, count: int) -> Index:
    """The inverse of a column of numbers with gaps (-1): position[number] = row."""
    position = np.full(count, -1, np.int64)
    rows = np.flatnonzero(numbers >= 0)
    position[numbers[rows]] = rows
    return position


def slots_to_read(desired: DesiredMap, observed: ObservedMap) -> NDArray[np.uint8]:
    """The `Depth` of each observed slot: of one whose contents are the data plane's own, only its shape matters."""
    pairs = pair_slots(desired, observed)
    depth = np.full(len(observed.slots.inner_ids), Depth.ENTRIES, np.uint8)
    depth[pairs.both_right[desired.slots.contents[pairs.both_left] == IGNORE]] = Depth.SHAPE
    if desired.outer is None or desired.outer.extra_inner_maps is not ExtraInnerMaps.DELETE:
        depth[pairs.right_only] = Depth.NOTHING
    elif desired.outer.owned:
        outside = ~entry_table.within(observed.slots.keys, desired.outer.key.number_order, desired.outer.owned)
        depth[pairs.right_only[outside[pairs.right_only]]] = Depth.NOTHING
    elif not desired.entry_shape.is_listable:
        depth[pairs.right_only] = Depth.SHAPE
    if desired.outer is not None and desired.outer.only is not None:
        others = ~entry_table.among(observed.slots.keys, desired.outer.only)
        depth[pairs.right_only[others[pairs.right_only]]] = Depth.NOTHING
    return depth


def held_twice(observed: ObservedState) -> frozenset[int]:
    """The ids of inner maps that are in slots of more than one outer map, or are themselves one of the spec's maps."""
    each = [entry_table.unique(np.append(one.slots.inner_ids, one.id)) for one in observed.maps.values()]
    if len(each) < 2:
        return observed.held_elsewhere
    ids = np.sort(np.concatenate(each))
    return observed.held_elsewhere.union(ids[1:][ids[1:] == ids[:-1]].tolist())


def decide(
    desired: DesiredMap, observed: ObservedMap, slots: SlotChanges, shared: frozenset[int], own: ObjectMaps
) -> None:
    """Fill in each slot's action and reason."""
    wanted, live = slots.desired, slots.observed

    def mark(which: NDArray[np.bool_], action: Action, reason: Reason) -> None:
        slots.action[which] = action
        slots.reason[which] = reason

    new = live < 0
    mark(new, Action.CREATE, Reason.NEW)
    slots.inserts[new] = desired.entries.counts[wanted[new]]
    extra = wanted < 0
    mark(extra, Action.KEEP, Reason.NOT_IN_SPEC)
    if desired.outer is not None:
        foreign = ~entry_table.within(slots.keys, desired.outer.key.number_order, desired.outer.owned)
        mark(extra & foreign, Action.KEEP, Reason.NOT_OWNED)
        if desired.outer.extra_inner_maps is ExtraInnerMaps.DELETE:
            mark(extra & ~foreign, Action.DELETE, Reason.NOT_IN_SPEC)
        if desired.outer.only is not None:
            mark(extra & ~entry_table.among(slots.keys, desired.outer.only), Action.KEEP, Reason.NOT_TARGETED)
    member = entry_table.take(desired.slots.member, wanted, -1)
    both = ~new & ~extra & (member < 0)
    changed = both & ((slots.inserts > 0) | (slots.updates > 0) | (slots.deletes > 0))
    if desired.outer is None:
        mark(changed, Action.UPDATE, Reason.ENTRIES)
        return
    strategy = effective_update(desired.update, desired.entry_shape)
    if strategy is Update.IN_PLACE:
        mark(changed, Action.UPDATE, Reason.ENTRIES)
    else:
        mark(changed, Action.REPLACE, Reason.TORN_READ if desired.update is Update.AUTO else Reason.ASKED)
    capacity = entry_table.take(desired.slots.max_entries, wanted, 0)
    mark(both & (slots.capacity_before != capacity) & (slots.capacity_before != 0), Action.REPLACE, Reason.CAPACITY)
    # An inner map that vanished while it was read is replaced: its contents are unknown. Local storage has no capacity.
    mark(both & (slots.capacity_before == 0) & (capacity != 0), Action.REPLACE, Reason.ENTRIES)
    ids = entry_table.take(observed.slots.inner_ids, live, 0)
    share = entry_table.take(desired.slots.shared, wanted, -1)
    mark(both & _wrongly_shared(ids, share), Action.REPLACE, Reason.UNDECLARED_SHARE)
    if shared:
        mark(both & np.isin(ids, list(shared)), Action.REPLACE, Reason.UNDECLARED_SHARE)
    mark(both & np.isin(ids, list(own.ids)), Action.REPLACE, Reason.PRESET)
    expected = np.array([own.kept.get(name, 0) for name in desired.outer.members] + [0], np.uint32)[member]
    mark(~new & (member >= 0) & (ids != expected), Action.REPLACE, Reason.OBJECT_MAP)
    spread_over_shares(slots, share)


def kept_slots(desired: DesiredMap, observed: ObservedMap) -> Index:
    """The observed slots that the spec does not list and that policy keeps."""
    slots = pair_up(desired, observed)
    decide(desired, observed, slots, frozenset(), NO_OBJECT_MAPS)
    numbers: Index = slots.observed[slots.action == Action.KEEP]
    return numbers


def effective_update(update: Update, shape: MapShape) -> Update:
    """What `auto` comes to: in place where the write of one entry is atomic for a reader, else replace.

    Hash and LPM elements are swapped whole. An array's value is copied in place, visible to readers:
    elements are aligned to 8 bytes, so one of 1, 2, 4 or 8 bytes is written at once, and a longer one is not, unless
    it holds a spin lock: then it is copied while the lock is held.
    """
    if update is not Update.AUTO:
        return update
    copied = shape.map_type in (MapType.ARRAY, MapType.PERCPU_ARRAY) and shape.value_size not in (1, 2, 4, 8)
    return Update.REPLACE if copied and not shape.is_locked else Update.IN_PLACE


def _wrongly_shared(ids: NDArray[np.uint32], share: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Slots whose inner map is live in another slot as well, or in none that it should be, against what is declared."""
    order = np.lexsort((share, ids))
    wrong = np.zeros(len(ids), np.bool_)
    same_id = ids[order[1:]] == ids[order[:-1]]
    same_share = (share[order[1:]] == share[order[:-1]]) & (share[order[1:]] >= 0)
    bad_ids = ids[order[1:]][same_id & ~same_share]
    if len(bad_ids):
        wrong |= np.isin(ids, bad_ids[bad_ids != 0])
    for number in entry_table.unique(share[share >= 0]):
        members = share == number
        if len(entry_table.unique(ids[members])) > 1:
            wrong |= members
    return wrong


def spread_over_shares(slots: SlotChanges, share: NDArray[np.int32]) -> None:
    """A shared inner map changes in all of its slots at once: if one is replaced or new, all get the new map."""
    for number in entry_table.unique(share[share >= 0]):
        members = share == number
        if np.isin(slots.action[members], (Action.REPLACE, Action.CREATE)).any():
            rest = members & (slots.observed >= 0)
            slots.action[rest] = Action.REPLACE
            slots.reason[rest & (slots.reason == Reason.NONE)] = Reason.SHARE
