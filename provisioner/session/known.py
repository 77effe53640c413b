"""What a session knows of one map: the state that it left behind, and what is asked of it since. Pure.

The state is the columns of the last full comparison, and for each slot that was changed since, its edits. A part of it,
those slots and keys that are asked for, is a desired map like any other: it is compared and applied as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace as changed

from provisioner.codec.display import display
from provisioner.desired.entries import Group, encode_entries
from provisioner.desired.rows import EncodedRows
from provisioner.model import entry_table
from provisioner.model.desired import EXACT, IGNORE, PRESENT, DesiredMap, DesiredSlots, Sources
from provisioner.model.entry_table import EntryTable
from provisioner.model.errors import InputError, Problem, Problems
from provisioner.model.location import Location
from provisioner.model.observed import ObservedMap
from provisioner.model.spec import Update
from provisioner.model.types import Bytes
from provisioner.planning.diff_slots import effective_update
from provisioner.session.edits import Edit, SlotEdits, last_of_each
from provisioner.session.rows import EntryRows

WHERE = Location("session", 0, 0)
"""The place of what a session asks for, in messages."""

_MANY_EDITS = 256
"""Edits of one slot that are kept one by one."""

SlotKey = bytes
"""An outer key in the kernel's bytes; empty for a plain map."""


class KnownPart(msgspec.Struct, frozen=True):
    """A part of a map: `asked` are the keys that it has of a slot, by outer key; of other slots it has all entries."""

    desired: DesiredMap
    keys: tuple[SlotKey, ...]
    asked: dict[SlotKey, Bytes]


class KnownMap:
    """One map. `contents` is the policy of slots that the session makes; `byteorder` is that of the host."""

    def __init__(self, desired: DesiredMap, live: ObservedMap | None, contents: int, byteorder: str) -> None:
        self.desired = desired
        self.live = live
        self._contents = contents
        self._byteorder = byteorder
        slots = live.slots if live is not None else None
        keys = slots.keys if slots is not None and desired.outer is not None else None
        self.ids = dict(zip(_each(keys), slots.inner_ids.tolist(), strict=True)) if slots and keys is not None else {}
        self._numbers = dict(zip(_each(desired.slots.keys), range(len(desired.slots.keys)), strict=True))
        self._counts = desired.entries.counts.tolist()
        self._done: dict[SlotKey, SlotEdits] = {}
        self._changed: dict[SlotKey, int] = {}  # entries of slots whose number is not that of the columns any more
        self.entries = int(desired.entries.counts.sum())
        self.pending: dict[SlotKey, SlotEdits] = {}

    # --- what is asked --------------------------------------------------------------------------------------------

    def replace(self, slot: SlotKey, rows: EntryRows) -> None:
        """Give a slot other contents. Raises InputError for entries that cannot be in it."""
        self._check_slot(slot)
        checked = self._checked(slot, rows, are_all=True)
        self._edits(slot).set(checked)

    def put(self, slot: SlotKey, rows: EntryRows) -> None:
        """Write entries of a slot, the last of each key. Raises InputError where there is no such slot."""
        self._must_have(slot)
        edit = Edit.put(self._checked(slot, rows, are_all=False))
        if len(edit.keys):
            self._edits(slot).edits.append(edit)

    def delete_entries(self, slot: SlotKey, keys: Bytes) -> None:
        self._must_have(slot)
        if len(keys):
            self._edits(slot).edits.append(Edit.delete(keys, self.desired.value.size))

    def delete_slot(self, slot: SlotKey) -> None:
        self._must_have(slot)
        self._edits(slot).delete()

    def _edits(self, slot: SlotKey) -> SlotEdits:
        return self.pending.setdefault(slot, SlotEdits())

    # --- what is wanted -------------------------------------------------------------------------------------------

    def has(self, slot: SlotKey, *, pending: bool = True) -> bool:
        """Whether the slot is wanted, with or without what is pending."""
        for edits in ([self.pending] if pending else []) + [self._done]:
            asked = edits.get(slot)
            if asked is not None and (asked.absent or asked.contents is not None):
                return not asked.absent
        return slot in self._numbers

    def slots(self) -> list[SlotKey]:
        """All wanted slots, with what is pending."""
        return [slot for slot in {**self._numbers, **self._done, **self.pending} if self.has(slot)]

    def count(self, slot: SlotKey) -> int:
        """How many entries the slot was left with."""
        if slot in self._changed:
            return self._changed[slot]
        number = self._numbers.get(slot, -1)
        return self._counts[number] if number >= 0 else 0

    def rows(self, slot: SlotKey, *, pending: bool = True) -> EntryRows:
        """All wanted entries of a slot, with or without what is pending."""
        number = self._numbers.get(slot, -1)
        empty = EntryRows(self.desired.entries.keys[:0], self.desired.entries.values[:0])
        rows = EntryRows(*self.desired.entries.slot(number)) if number >= 0 else empty
        for edits in (self._done.get(slot), self.pending.get(slot) if pending else None):
            rows = rows if edits is None else edits.applied_to(rows)
        return rows

    def whole_slots(self) -> set[SlotKey]:
        """Pending slots that are compared as a whole: their contents are new, or they are replaced as a whole."""
        in_place = effective_update(self.desired.update, self.desired.entry_shape) is Update.IN_PLACE
        if self.desired.outer is not None and not in_place:
            return set(self.pending)
        return {
            slot
            for slot, edits in self.pending.items()
            if edits.absent or edits.contents is not None or not self.has(slot, pending=False)
        }

    def part(self, whole: Iterable[SlotKey]) -> KnownPart:
        """The pending slots as a desired map: those in `whole` with all their entries, of others the edited ones."""
        chosen, rows, asked = set(whole), [], {}
        keys = self.in_order(self.pending)
        there = [slot for slot in keys if self.has(slot)]
        for slot in there:
            if slot in chosen:
                rows.append(self.rows(slot))
            else:
                edit = self.pending[slot].net()
                asked[slot] = edit.keys
                rows.append(EntryRows(edit.keys[~edit.deleted], edit.values[~edit.deleted]))
        desired = self._desired(there, rows, set(asked))
        return KnownPart(desired, tuple(keys), asked)

    def folded(self, *, pending: bool) -> DesiredMap:
        """The whole map with all that was done, and what is `pending`: the columns of the next full comparison."""
        gone = {**self._done, **(self.pending if pending else {})}.keys()
        touched = [slot for slot in gone if self.has(slot, pending=pending)]
        if not gone:
            return self.desired
        slots = self.desired.slots
        kept = np.array([number for slot, number in self._numbers.items() if slot not in gone], np.int64)
        fresh = self._desired(touched, [self.rows(slot, pending=pending) for slot in touched], set())
        base, kept_rows = entry_table.part(self.desired.entries, kept)
        sources = self.desired.sources
        files = (*sources.files, *fresh.sources.files)
        keys = np.concatenate((slots.keys[kept], fresh.slots.keys))
        order = self._order(keys)
        places = (*(slots.places[number] for number in kept.tolist()), *fresh.slots.places)
        return changed(
            self.desired,
            slots=DesiredSlots(
                keys[order],
                np.concatenate((slots.max_entries[kept], fresh.slots.max_entries))[order],
                np.concatenate((slots.contents[kept], fresh.slots.contents))[order],
                np.concatenate((slots.shared[kept], fresh.slots.shared))[order],
                tuple(places[at] for at in order.tolist()),
            ),
            entries=EntryTable(
                np.concatenate((base.starts, fresh.entries.starts + len(kept_rows)))[order],
                np.concatenate((base.counts, fresh.entries.counts))[order],
                np.concatenate((base.keys, fresh.entries.keys)),
                np.concatenate((base.values, fresh.entries.values)),
            ),
            sources=changed(
                sources,
                files=files,
                file=np.concatenate(
                    (sources.file[kept_rows], np.full(len(fresh.entries.keys), len(sources.files), np.uint16))
                ),
                line=np.concatenate((sources.line[kept_rows], fresh.sources.line)),
            ),
        )

    def commit(self, ids: dict[SlotKey, int], counts: dict[SlotKey, int]) -> None:
        """What is pending was applied: `ids` and `counts` are what the slots have now, 0 and none for those deleted."""
        for slot, edits in self.pending.items():
            done = self._done.setdefault(slot, SlotEdits())
            done.then(edits)
            if len(done.edits) > _MANY_EDITS:
                done.shrink()
            count = counts.get(slot, 0)
            self.entries += count - self.count(slot)
            self._changed[slot] = count
            if ids.get(slot):
                self.ids[slot] = ids[slot]
            else:
                self.ids.pop(slot, None)
        self.pending = {}

    def rebase(self, desired: DesiredMap) -> None:
        """What is live now is another version of the map, which `pending` and earlier edits have led to."""
        self.desired = desired
        self._numbers = dict(zip(_each(desired.slots.keys), range(len(desired.slots.keys)), strict=True))
        self._counts = desired.entries.counts.tolist()
        self._done, self._changed = {}, {}
        self.entries = int(desired.entries.counts.sum())

    # --- rows and slots -------------------------------------------------------------------------------------------

    def address(self, slot: SlotKey) -> str:
        """`tenants[42]`; the name of a plain map."""
        if self.desired.outer is None:
            return self.desired.name
        return f"{self.desired.name}[{display(self.desired.outer.key, np.frombuffer(slot, np.uint8))}]"

    def _desired(self, slots: Sequence[SlotKey], rows: Sequence[EntryRows], edited: set[SlotKey]) -> DesiredMap:
        """A desired map of some slots; in those that are `edited`, no entry but the given ones is compared."""
        nothing = [EntryRows(self.desired.entries.keys[:0], self.desired.entries.values[:0])]
        keys = np.concatenate([each.keys for each in rows or nothing])
        values = np.concatenate([each.values for each in rows or nothing])
        counts = np.array([len(each.keys) for each in rows], np.int64)
        policies = [EXACT if slot in edited else self.policy(slot) for slot in slots]
        if self.desired.entry_shape.is_array:
            policy = np.repeat(np.array(policies, np.uint8), counts)
            held = entry_table.is_nonzero(np.ascontiguousarray(values)) | (policy == PRESENT)
            owner = np.repeat(np.arange(len(slots), dtype=np.int64), counts)[held]
            keys, values, counts = keys[held], values[held], np.bincount(owner, minlength=len(slots)).astype(np.int64)
        size = self.desired.slots.keys.shape[1]
        return changed(
            self.desired,
            slots=DesiredSlots(
                np.frombuffer(b"".join(slots), np.uint8).reshape(len(slots), size),
                np.array([self.capacity(slot) for slot in slots], np.uint32),
                np.array(policies, np.uint8),
                np.array([self._shared(slot) for slot in slots], np.int32),
                (WHERE,) * len(slots),
            ),
            entries=EntryTable(np.cumsum(counts) - counts, counts, keys, values),
            sources=_sources(len(keys)),
        )

    def policy(self, slot: SlotKey) -> int:
        """What becomes of other entries of a slot."""
        number = self._numbers.get(slot, -1)
        return int(self.desired.slots.contents[number]) if number >= 0 else self._contents

    def capacity(self, slot: SlotKey) -> int:
        """The room of the inner map in a slot."""
        number = self._numbers.get(slot, -1)
        slots = self.desired.slots
        return int(slots.max_entries[number]) if number >= 0 else self.desired.entry_shape.max_entries

    def _shared(self, slot: SlotKey) -> int:
        """The shared inner map of a slot that was never given contents of its own."""
        number = self._numbers.get(slot, -1)
        edits = [each for each in (self._done.get(slot), self.pending.get(slot)) if each is not None]
        return -1 if number < 0 or edits else int(self.desired.slots.shared[number])

    def _checked(self, slot: SlotKey, rows: EntryRows, *, are_all: bool) -> EntryRows:
        """The rows, each key once. Raises InputError as for a spec: duplicate keys, out of range, too many entries."""
        desired, problems = self.desired, Problems()
        if self.policy(slot) == IGNORE:
            what, hint = "the spec ignores the contents of this map", "write `contents: exact` or `present`"
            raise InputError(Problem(what, hint=hint, address=self.address(slot), id="contents-ignored"))
        if not are_all:
            rows = last_of_each(rows)
        if self._are_possible(slot, rows.keys, are_distinct=not are_all):
            return rows
        count = len(rows.keys)
        sources = _sources(count)
        encoded = EncodedRows(
            rows.keys,
            rows.values,
            np.zeros(count, np.int32),
            np.ones(count, np.bool_),
            sources.file,
            sources.line,
            np.zeros(count, np.uint16),
            sources.files,
            {},
        )
        group = Group(self.capacity(slot), WHERE, lambda: self.address(slot), keep_zero=True)
        shape, owned = desired.entry_shape, desired.owned
        table = encode_entries(encoded, [group], shape, desired.key, problems, self._byteorder, owned)
        problems.raise_if_any(InputError)
        return EntryRows(table.entries.keys, table.entries.values)

    def _are_possible(self, slot: SlotKey, keys: Bytes, *, are_distinct: bool) -> bool:
        """Whether keys are in range, ours and each there once; what is wrong is found by the checks of a spec."""
        desired, capacity = self.desired, self.capacity(slot)
        if desired.entry_shape.is_array:
            if int(entry_table.as_indexes(np.ascontiguousarray(keys), self._byteorder).max(initial=-1)) >= capacity:
                return False
        elif len(keys) > capacity:
            return False
        if desired.owned and not entry_table.within(keys, desired.key.number_order, desired.owned).all():
            return False
        return are_distinct or entry_table.are_distinct(keys)

    def _check_slot(self, slot: SlotKey) -> None:
        """Raises InputError for an outer key that cannot be in the map, or is not ours."""
        outer, size = self.desired.outer, self.desired.shape.max_entries
        if outer is None or slot in self._numbers:
            return
        key = np.frombuffer(slot, np.uint8)[np.newaxis]
        if self.desired.shape.is_array and int(entry_table.as_indexes(key, self._byteorder)[0]) >= size:
            what, hint = f"index is out of range: max_entries is {size}", f"use an index from 0 to {size - 1}"
            raise InputError(Problem(what, hint=hint, address=self.address(slot), id="out-of-range"))
        if not entry_table.within(key, outer.key.number_order, outer.owned).all():
            what, hint = "the slot is outside of `owned_keys`", "extend `owned_keys`"
            raise InputError(Problem(what, hint=hint, address=self.address(slot), id="key-not-owned"))

    def _must_have(self, slot: SlotKey) -> None:
        if not self.has(slot):
            what = "there is no inner map in this slot"
            hint = "set the contents of the slot first"
            raise InputError(Problem(what, hint=hint, address=self.address(slot), id="no-inner-map"))

    def _order(self, keys: Bytes) -> entry_table.Index:
        outer = self.desired.outer
        return entry_table.order_of(keys, outer.key.number_order if outer is not None else None)

    def in_order(self, slots: Iterable[SlotKey]) -> list[SlotKey]:
        """Slots in the order that people read their keys."""
        listed = list(slots)
        if len(listed) < 2:
            return listed
        keys = np.frombuffer(b"".join(listed), np.uint8).reshape(len(listed), -1)
        return [listed[at] for at in self._order(keys).tolist()]


def _each(keys: Bytes | None) -> Iterator[bytes]:
    """Each row as bytes."""
    if keys is None:
        return iter(())
    count, size = keys.shape
    data = keys.tobytes()
    return (data[at * size : (at + 1) * size] for at in range(count))


def _sources(count: int) -> Sources:
    return Sources((WHERE.file,), np.zeros(count, np.uint16), np.zeros(count, np.uint32))
