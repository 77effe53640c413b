"""The difference of entries: blocks of observed entries are compared in columns, and the rows that differ are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provisioner.model import entry_table
from provisioner.model.desired import EXACT, DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.observed import ObservedBlock
from provisioner.model.types import Bytes
from provisioner.planning.changes import EntryAction, EntryChanges, SlotChanges


def diff_block(desired: DesiredMap, block: ObservedBlock, slots: SlotChanges, position: Index) -> EntryChanges:
    """Compare one block; counts and capacities go into `slots`, rows that differ are returned."""
    live = block.entries
    at = position[block.first : block.last]
    slots.capacity_before[at] = block.max_entries
    if block.same is not None:
        slots.unchanged[at] = block.same
        if block.others is not None:
            slots.others[at] = block.others
        return join([], desired)
    wanted = slots.desired[at]
    counts = entry_table.take(desired.entries.counts, wanted, 0)
    rows = entry_table.slices(entry_table.take(desired.entries.starts, wanted, 0), counts)
    local = np.arange(len(at), dtype=np.int64)
    left_slot, right_slot = np.repeat(local, counts), np.repeat(local, live.counts)
    live_rows = entry_table.slices(live.starts, live.counts)
    keys, values = live.keys.take(live_rows, axis=0), desired.owned_part(live.values.take(live_rows, axis=0))
    matched = entry_table.match(left_slot, desired.entries.keys.take(rows, axis=0), right_slot, keys)
    both = entry_table.differ(
        desired.owned_part(desired.entries.values.take(rows[matched.both_left], axis=0)),
        values.take(matched.both_right, axis=0),
    )
    inserted = matched.left_only
    if desired.entry_shape.is_array:
        # An array's element exists unwritten, as zero: to declare it so changes nothing.
        new = desired.owned_part(desired.entries.values.take(rows[inserted], axis=0))
        inserted = inserted[entry_table.is_nonzero(new)]
    extra = matched.right_only
    deletable = _deletable(desired, wanted[right_slot[extra]])
    deletable &= entry_table.within(keys[extra], desired.key.number_order, desired.owned)
    if desired.entry_shape.is_array and desired.value.owns_part:  # what is ours of it can be zero already
        deletable &= entry_table.is_nonzero(values[extra]) | (wanted[right_slot[extra]] < 0)
    gone, stays = extra[deletable], extra[~deletable]
    changed_left, changed_right = matched.both_left[both], matched.both_right[both]

    def count(of: Index) -> Index:
        return np.bincount(of, minlength=len(at)).astype(np.int64)

    slots.inserts[at] = count(left_slot[inserted])
    slots.updates[at] = count(left_slot[changed_left])
    slots.deletes[at] = count(right_slot[gone])
    slots.unchanged[at] = count(left_slot[matched.both_left]) - slots.updates[at]
    slots.others[at] = _room_of(desired, right_slot[stays], keys[stays], len(at))
    kept = wanted[right_slot[gone]] >= 0
    gone = gone[kept]
    return EntryChanges(
        slot=at[np.concatenate((left_slot[inserted], left_slot[changed_left], right_slot[gone]))],
        action=np.repeat(
            np.array([EntryAction.INSERT, EntryAction.UPDATE, EntryAction.DELETE], np.uint8),
            [len(inserted), len(changed_left), len(gone)],
        ),
        row=np.concatenate((rows[inserted], rows[changed_left], np.full(len(gone), -1, np.int64))),
        keys=np.concatenate(
            (
                desired.entries.keys.take(rows[inserted], axis=0),
                keys.take(changed_right, axis=0),
                keys.take(gone, axis=0),
            )
        ),
        before=np.concatenate(
            (
                np.zeros((len(inserted), values.shape[1]), np.uint8),
                values.take(changed_right, axis=0),
                values.take(gone, axis=0),
            )
        ),
    )


def _room_of(desired: DesiredMap, slot: Index, keys: Bytes, slots: int) -> Index:
    """The room that entries take in each of `slots` slots: their number, in an array the highest index and one."""
    room = np.zeros(slots, np.int64)
    if desired.entry_shape.is_array:
        byteorder = desired.key.number_order or "little"
        np.maximum.at(room, slot, entry_table.as_indexes(np.ascontiguousarray(keys), byteorder) + 1)
    else:
        np.add.at(room, slot, 1)
    return room


def _deletable(desired: DesiredMap, wanted: Index) -> NDArray[np.bool_]:
    """Whether live entries that the spec does not list go: those of slots that go, or whose contents are exact."""
    exact = entry_table.take(desired.slots.contents, wanted, EXACT) == EXACT
    gone: NDArray[np.bool_] = np.logical_or(wanted < 0, exact)
    return gone


def join(parts: list[EntryChanges], desired: DesiredMap) -> EntryChanges:
    """All blocks' changes in the order of slots; within a slot by key, as people read bytes."""
    if not parts:
        nothing = np.zeros(0, np.int64)
        keys, values = np.zeros((0, desired.key.size), np.uint8), np.zeros((0, desired.value.size), np.uint8)
        return EntryChanges(nothing, np.zeros(0, np.uint8), nothing, keys, values)
    slot = np.concatenate([part.slot for part in parts])
    keys = np.concatenate([part.keys for part in parts])
    order = entry_table.order_of(keys, desired.key.number_order)
    order = order[entry_table.argsort(slot[order])]
    return EntryChanges(
        slot[order],
        np.concatenate([part.action for part in parts])[order],
        np.concatenate([part.row for part in parts])[order],
        keys.take(order, axis=0),
        np.concatenate([part.before for part in parts]).take(order, axis=0),
    )
