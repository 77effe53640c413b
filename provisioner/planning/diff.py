"""What differs between a desired and an observed map: slot by slot, entry by entry, in columns.

Pure: the observed entries come in as an iterator of blocks, so that a comparison of millions of entries holds only one
block of them, and what is kept of it are the rows that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model import entry_table, inner_template
from provisioner.model.desired import EXACT, IGNORE, DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.map_shape import MapShape, shape_differences
from provisioner.model.observed import ObservedBlock, ObservedMap
from provisioner.model.record import Meta
from provisioner.model.spec import ExtraInnerMaps, Update
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.observed.sources import Depth
from provisioner.planning.changes import Action, EntryAction, EntryChanges, MapChange, Reason, SlotChanges
from provisioner.planning.resize import is_resize

_DESTROYED: Final = "the project is destroyed"


class ObjectMaps(msgspec.Struct, frozen=True):
    """The live maps of objects: `kept` by name, those that are not created again; `ids` of all."""

    kept: Mapping[str, int] = {}
    ids: frozenset[int] = frozenset()


NO_OBJECT_MAPS: Final = ObjectMaps()


def replaced_because(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> str:
    """Why the live map must be recreated to become the desired one; empty if it need not."""
    own = shape_differences(desired.shape, observed.shape)
    if own or desired.outer is None:
        return own or relaid_because(desired, observed)
    inner = inner_differences(desired, observed, meta)
    return f"inner maps: {inner}" if inner else relaid_because(desired, observed)


def relaid_because(desired: DesiredMap, observed: ObservedMap) -> str:
    """Why entries are to be migrated although their size stays: how their layout changed; empty if it did not."""
    if desired.migration is None or observed.relaid is None or not observed.relaid.moves:
        return ""
    return ", ".join(observed.relaid.words)


def inner_differences(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> str:
    """Why the live outer map does not take the desired inner maps; empty if it does, as far as is known."""
    probed = observed.probed
    if probed is not None and probed.fits is not None:
        return probed.why
    live = observed.entry_shape or (meta.templates.get(desired.name) if meta else None)
    return inner_template.template_differences(desired.entry_shape, live) if live is not None else ""


def pair_slots(desired: DesiredMap, observed: ObservedMap) -> entry_table.Match:
    """Slots of both sides by outer key."""
    return entry_table.match_keys(desired.slots.keys, observed.slots.keys)


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


def held_twice(live: Iterable[ObservedMap]) -> frozenset[int]:
    """The ids of inner maps that are in slots of more than one outer map, or are themselves one of these maps."""
    each = [entry_table.unique(np.append(one.slots.inner_ids, one.id)) for one in live]
    if len(each) < 2:
        return frozenset()
    ids = np.sort(np.concatenate(each))
    return frozenset(ids[1:][ids[1:] == ids[:-1]].tolist())


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
    slots = _pair_up(desired, observed)
    position = _positions(slots.observed, len(observed.slots.inner_ids))
    compared = [_diff_block(desired, block, slots, position) for block in blocks]
    entries = _join(compared, desired)
    _decide(desired, observed, slots, shared, own)
    if why:
        return MapChange(desired.name, Action.REPLACE, why, desired, observed, slots, entries, resized=True)
    changed = not slots.is_any(Action.UNCHANGED, Action.KEEP).all()
    action = Action.UPDATE if changed else Action.UNCHANGED
    return MapChange(desired.name, action, "its contents differ" if changed else "", desired, observed, slots, entries)


def is_compared(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> bool:
    """Whether the contents of the live map matter: it stays, or a map of another size takes them over."""
    if not replaced_because(desired, observed, meta):
        return True
    if relaid_because(desired, observed):
        return False
    return is_resize(desired, observed, meta) and not inner_differences(desired, observed, meta)


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
    slots = _no_changes(observed.slots.keys, np.full(count, -1, np.int64), numbers)
    slots.action[:] = Action.DELETE
    slots.reason[:] = Reason.NOT_IN_SPEC
    if desired.adopted is not None and desired.outer is not None:
        outside = ~entry_table.within(slots.keys, desired.outer.key.number_order, desired.outer.owned)
        if desired.outer.extra_inner_maps is not ExtraInnerMaps.DELETE:
            outside[pair_slots(desired, observed).right_only] = True
        slots.action[outside] = Action.KEEP
        slots.reason[outside] = Reason.NOT_OWNED
    return MapChange(desired.name, Action.DELETE, _DESTROYED, desired, observed, slots, _join([], desired))


def _without_slots(desired: DesiredMap, observed: ObservedMap, action: Action, reason: str) -> MapChange:
    """The change of a live map whose slots cannot be read by the spec's keys."""
    none = np.empty(0, np.int64)
    slots = _no_changes(desired.slots.keys[:0], none, none)
    return MapChange(desired.name, action, reason, desired, observed, slots, _join([], desired))


def _created(desired: DesiredMap, reason: Reason) -> tuple[SlotChanges, EntryChanges]:
    count = len(desired.slots.keys)
    slots = _no_changes(desired.slots.keys, np.arange(count, dtype=np.int64), np.full(count, -1, np.int64))
    slots.action[:] = Action.CREATE
    slots.reason[:] = reason
    slots.inserts[:] = desired.entries.counts
    return slots, _join([], desired)


def _no_changes(keys: Bytes, desired: Index, observed: Index) -> SlotChanges:
    count = len(keys)
    action, reason = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    inserts, updates, deletes, unchanged, others = (np.zeros(count, np.int64) for _ in range(5))
    capacity = np.zeros(count, np.uint32)
    return SlotChanges(keys, action, reason, desired, observed, inserts, updates, deletes, unchanged, others, capacity)


def _pair_up(desired: DesiredMap, observed: ObservedMap) -> SlotChanges:
    """Every slot of either side once, in reading order, with its numbers in both."""
    pairs = pair_slots(desired, observed)
    wanted = len(desired.slots.keys)
    keys = np.concatenate((desired.slots.keys, observed.slots.keys[pairs.right_only]))
    left = np.concatenate((np.arange(wanted, dtype=np.int64), np.full(len(pairs.right_only), -1, np.int64)))
    right = np.full(len(keys), -1, np.int64)
    right[pairs.both_left] = pairs.both_right
    right[wanted:] = pairs.right_only
    order = entry_table.order_of(keys, desired.outer.key.number_order if desired.outer is not None else None)
    return _no_changes(keys[order], left[order], right[order])


def _positions(numbers: Index, count: int) -> Index:
    """The inverse of a column of numbers with gaps (-1): position[number] = row."""
    position = np.full(count, -1, np.int64)
    rows = np.flatnonzero(numbers >= 0)
    position[numbers[rows]] = rows
    return position


def _diff_block(desired: DesiredMap, block: ObservedBlock, slots: SlotChanges, position: Index) -> EntryChanges:
    """Compare one block; counts and capacities go into `slots`, rows that differ are returned."""
    live = block.entries
    at = position[block.first : block.last]
    slots.capacity_before[at] = block.max_entries
    if block.same is not None:
        slots.unchanged[at] = block.same
        if block.others is not None:
            slots.others[at] = block.others
        return _join([], desired)
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
        keys=np.concatenate((desired.entries.keys.take(rows[inserted], axis=0), keys[changed_right], keys[gone])),
        before=np.concatenate(
            (np.zeros((len(inserted), values.shape[1]), np.uint8), values[changed_right], values[gone])
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


def _join(parts: list[EntryChanges], desired: DesiredMap) -> EntryChanges:
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
        keys[order],
        np.concatenate([part.before for part in parts])[order],
    )


def _decide(
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
    # An inner map that vanished while it was read is replaced: its contents are unknown.
    mark(both & (slots.capacity_before == 0), Action.REPLACE, Reason.ENTRIES)
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
    slots = _pair_up(desired, observed)
    _decide(desired, observed, slots, frozenset(), NO_OBJECT_MAPS)
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
