"""Edits of entries as columns, compared with what is live, where nothing else of a map changes. Pure.

The result is that of the plan of `differences`, without the columns of a plan: a test compares both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.member_program import stores, why_not
from provisioner.codec.program_ref import ProgramRef
from provisioner.model import entry_table
from provisioner.model.desired import EXACT, DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.observed import ObservedMap
from provisioner.model.spec import Update
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action, EntryAction
from provisioner.planning.counts import NOTHING, Counts, EntryCounts, Summary
from provisioner.planning.diff_slots import effective_update
from provisioner.planning.fingerprint import Part, feed_declaration, live_words, part_of
from provisioner.planning.rules import Counted
from provisioner.session.edits import Edit
from provisioner.session.known import KnownMap, SlotKey

_OVERHEAD: Final = 128
"""Bytes that the kernel needs for an entry, beyond its key and value."""


def is_editable(known: KnownMap) -> bool:
    """Whether entries of the map can be written in place one by one, and be looked up exactly; all must be ours."""
    desired, live = known.desired, known.live
    if live is None or desired.owned or desired.after or isinstance(desired.value, ProgramRef):
        return False
    shape, outer = desired.entry_shape, desired.outer
    if desired.value.owns_part and (shape.is_array or not _is_one_member(desired)):
        return False
    if shape.map_type not in (MapType.HASH, MapType.ARRAY) or shape.specials or _specials(live):
        return False
    if outer is None:
        return not live.frozen
    if outer.members or outer.only is not None:
        return False
    return effective_update(desired.update, shape) is Update.IN_PLACE


def _is_one_member(desired: DesiredMap) -> bool:
    """Whether a program writes what is ours of a value at once: of all else, a plan says what can be lost or seen."""
    mask = desired.value.owned.mask()
    return not why_not(desired.entry_shape, mask) and len(stores(desired.entry_shape, mask)) == 1


def _specials(live: ObservedMap) -> bool:
    return live.entry_shape is not None and bool(live.entry_shape.specials)


class Wanted(msgspec.Struct, frozen=True):
    """Edits of s slots of one map, as n rows slot by slot: `counts` (s,) rows each, `slot` (n,) their slot's number.

    `whole` are the numbers of the slots that are to have no other entries.
    """

    known: KnownMap
    slots: list[SlotKey]
    counts: list[int]
    slot: Index
    keys: Bytes
    values: Bytes
    deleted: NDArray[np.bool_]
    whole: list[int]

    @property
    def owned(self) -> Bytes:
        """What is ours of the values."""
        return self.known.desired.owned_part(self.values)

    @property
    def ends(self) -> Iterable[tuple[int, int]]:
        """The first row of each slot, and the one after its last."""
        start = 0
        for count in self.counts:
            yield start, start + count
            start += count

    def chosen(self, rows: NDArray[np.bool_]) -> Iterator[tuple[Bytes, Bytes] | None]:
        """Keys and values of the chosen rows (n,) of each slot; None where there are none."""
        count = entry_table.how_many(rows)
        if not count:
            yield from (None for _ in self.counts)
            return
        keys, values = (self.keys, self.values) if count == len(rows) else (self.keys[rows], self.values[rows])
        ends = np.bincount(self.slot[rows], minlength=len(self.counts)).cumsum().tolist()
        for start, end in pairwise((0, *ends)):
            yield (keys[start:end], values[start:end]) if end > start else None


def wanted(known: KnownMap, shared: frozenset[int]) -> Wanted | None:
    """What is pending of a map; None where it is not only entries of slots that are there.

    `shared` are inner maps that are never written in place.
    """
    slots, edits, whole = known.in_order(known.pending), [], []
    for number, slot in enumerate(slots):
        asked = known.pending[slot]
        if asked.absent or (known.desired.outer is not None and not _is_ours(known.ids.get(slot, 0), shared)):
            return None
        if asked.contents is None:
            edits.append(asked.net())
        elif known.desired.entry_shape.is_array or known.policy(slot) != EXACT:
            return None  # what else is in it is to be read
        else:
            edits.append(_as_edit(known, slot))
            whole.append(number)
    counts = [len(edit.keys) for edit in edits]
    all_edits = edits[0] if len(edits) == 1 else _joined(edits)
    deleted = all_edits.deleted
    if known.desired.entry_shape.is_array:  # an element that is zero is as good as none
        deleted = deleted | ~entry_table.is_nonzero(np.ascontiguousarray(all_edits.values))
    slot_numbers = np.repeat(np.arange(len(slots), dtype=np.int64), counts)
    keys, values = np.ascontiguousarray(all_edits.keys), np.ascontiguousarray(all_edits.values)
    return Wanted(known, slots, counts, slot_numbers, keys, values, deleted, whole)


def _is_ours(number: int, shared: frozenset[int]) -> bool:
    return number != 0 and number not in shared


def _as_edit(known: KnownMap, slot: SlotKey) -> Edit:
    """The contents of a slot as an edit of what the session left in it."""
    rows, before = known.rows(slot), known.rows(slot, pending=False)
    if entry_table.are_equal(rows.keys, before.keys):
        return Edit.put(rows)
    gone = Edit.delete(before.keys[~entry_table.among(before.keys, rows.keys)], rows.values.shape[1])
    return _joined((Edit.put(rows), gone))


def _joined(edits: Sequence[Edit]) -> Edit:
    return Edit(
        np.concatenate([each.keys for each in edits]),
        np.concatenate([each.values for each in edits]),
        np.concatenate([each.deleted for each in edits]),
    )


class Compared(msgspec.Struct, frozen=True):
    """The rows of `wanted` by what becomes of them, all (n,); `before` has the live values (n, value size)."""

    wanted: Wanted
    before: Bytes
    inserted: NDArray[np.bool_]
    updated: NDArray[np.bool_]
    removed: NDArray[np.bool_]
    changed: NDArray[np.bool_]

    def counted(self) -> Counted:
        """What limits are about."""
        known, live = self.wanted.known, len(self.wanted.known.ids) if self.wanted.known.desired.outer else 1
        removed, updated = entry_table.how_many(self.removed), entry_table.how_many(self.updated)
        compared = len(self.before) - entry_table.how_many(self.inserted) - self._absent()
        return Counted(live, 0, max(compared, known.entries), removed, updated)

    def _absent(self) -> int:
        """Rows to delete that are not there."""
        return entry_table.how_many(self.wanted.deleted) - entry_table.how_many(self.removed)

    def has_room(self) -> bool:
        """Whether new entries surely fit in, without deletes before them, and take little memory."""
        added = entry_table.how_many(self.inserted)
        if not added:
            return True
        known, shape = self.wanted.known, self.wanted.known.desired.entry_shape
        if added * (shape.key_size + shape.value_size + _OVERHEAD) >= 1 << 20:
            return False
        if shape.is_array:
            return True
        by_slot = np.bincount(self.wanted.slot[self.inserted], minlength=len(self.wanted.slots)).tolist()
        slots = zip(self.wanted.slots, by_slot, strict=True)
        return all(known.count(slot) + count <= known.capacity(slot) for slot, count in slots if count)

    def counts_after(self) -> dict[SlotKey, int]:
        """How many entries each slot has, once this is done."""
        asked, slots = self.wanted, len(self.wanted.slots)
        if not (entry_table.how_many(self.inserted) or entry_table.how_many(self.removed)):
            return {slot: asked.known.count(slot) for slot in asked.slots}
        net = self.inserted.astype(np.int64) - self.removed
        change = np.bincount(asked.slot, weights=net, minlength=slots).astype(np.int64).tolist()
        return {slot: asked.known.count(slot) + more for slot, more in zip(asked.slots, change, strict=True)}


def compared(asked: Wanted, before: Bytes, there: NDArray[np.bool_]) -> Compared:
    """What differs. `before` are the live values of the keys that are `there`, with all that is not ours made zero."""
    if asked.known.desired.entry_shape.is_array:
        there = there & entry_table.is_nonzero(before)
    both, removed = there > asked.deleted, there & asked.deleted
    updated = both & entry_table.differ(asked.owned, before)
    inserted = ~(there | asked.deleted)
    return Compared(asked, before, inserted, updated, removed, inserted | updated | removed)


def is_live(asked: Wanted, values: Bytes, there: NDArray[np.bool_]) -> bool:
    """Whether all that is wanted is live; `values` as for `compared`."""
    if asked.known.desired.entry_shape.is_array:
        there = there & entry_table.is_nonzero(values)
    if entry_table.how_many(there == asked.deleted):
        return False
    return not entry_table.how_many(entry_table.differ(asked.owned, values) & there)


def summary(parts: Iterable[Compared]) -> Summary:
    """The summary of the plan."""
    outer, inner, plain, entries = [0, 0], [0, 0], [0, 0], [0, 0, 0, 0]  # changed and unchanged
    for part in parts:
        changed = part.changed
        slots = len(np.unique(part.wanted.slot[changed]))
        if part.wanted.known.desired.outer is None:
            plain[not slots] += 1
        else:
            outer[not slots] += 1
            inner[0] += slots
            inner[1] += len(part.wanted.slots) - slots
        numbers = [int(column.sum()) for column in (part.inserted, part.updated, part.removed)]
        numbers.append(len(changed) - sum(numbers) - part._absent())
        entries = [total + number for total, number in zip(entries, numbers, strict=True)]
    maps = [Counts(update=each[0], unchanged=each[1]) for each in (outer, inner, plain)]
    return Summary(maps[0], maps[1], maps[2], EntryCounts(*entries), NOTHING.programs)


class Fingerprints:
    """The parts of one map's changes in the digest of a plan: what is the same for all of them is fed in once."""

    def __init__(self, known: KnownMap, live: ObservedMap) -> None:
        self._wanted = hashlib.sha256()
        feed_declaration(self._wanted, known.desired)
        self._live = live_words(live)

    def of(self, part: Compared, ids: Sequence[int]) -> Part:
        """`ids` are those of the inner maps in the slots, or that of the plain map."""
        asked, wanted, seen = part.wanted, self._wanted.copy(), hashlib.sha256()
        known, count = asked.known, len(asked.slots)
        listed = ~asked.deleted
        counts = np.bincount(asked.slot[listed], minlength=count).astype(np.int64)
        capacity = np.array([known.capacity(slot) for slot in asked.slots], np.uint32)
        kept, none = np.full(count, EXACT, np.uint8), np.full(count, -1, np.int32)
        columns = (capacity, kept, none, none, np.cumsum(counts) - counts, counts)
        wanted.update(b"".join((*asked.slots, *(column.tobytes() for column in columns))))
        wanted.update(asked.keys[listed].tobytes())
        wanted.update(asked.values[listed].tobytes())
        changed = part.changed
        touched = np.bincount(asked.slot[changed], minlength=count) > 0
        action = Action.UPDATE if touched.any() else Action.UNCHANGED
        seen.update(repr((action, "its contents differ" if action is Action.UPDATE else "")).encode())
        seen.update(self._live)
        seen.update(b"".join(asked.slots))
        seen.update(np.array(ids, np.uint32).tobytes())
        seen.update(np.where(touched, np.uint8(Action.UPDATE), np.uint8(Action.UNCHANGED)).tobytes())
        rows = self._in_order(part, np.flatnonzero(changed))
        kinds = np.full(len(changed), EntryAction.INSERT, np.uint8)
        kinds[part.updated], kinds[part.removed] = EntryAction.UPDATE, EntryAction.DELETE
        before = part.before.copy()
        before[part.inserted] = 0
        for column in (kinds, asked.keys, before):
            seen.update(column[rows].tobytes())
        return part_of(wanted, seen)

    @staticmethod
    def _in_order(part: Compared, rows: Index) -> Index:
        """Changed rows slot by slot, and in each by key."""
        asked = part.wanted
        order = entry_table.order_of(asked.keys[rows], asked.known.desired.key.number_order)
        return rows[order[entry_table.argsort(asked.slot[rows][order])]]
