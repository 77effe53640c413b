"""From encoded rows to an entry table: sorted and checked, with each problem at its place. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from provisioner.codec.display import display
from provisioner.desired.rows import MAX_PROBLEMS, AddressText, EncodedRows
from provisioner.model import entry_table
from provisioner.model.desired import Sources
from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.types import Type
from provisioner.model.words import plural


class Group(msgspec.Struct, frozen=True):
    """The contents of one inner map. All slots of a range or a shared inner map have the same group.

    `keep_zero` keeps the entries of an array that are zero, which otherwise mean the same as no entry.
    """

    capacity: int
    where: Location
    address: AddressText
    keep_zero: bool = False


class Encoded(msgspec.Struct, frozen=True):
    """Entries of all groups: `entries` has one slot per group."""

    entries: EntryTable
    sources: Sources


def encode_entries(
    rows: EncodedRows,
    groups: Sequence[Group],
    shape: MapShape,
    key: Type,
    problems: Problems,
    byteorder: str,
    owned: Sequence[tuple[int, int]] = (),
) -> Encoded:
    """The entries of all groups as one table. Problems: duplicate keys, too many entries, indexes out of range."""
    order = entry_table.sort_by_slot(rows.group, rows.keys)
    checks = _Checks(rows, groups, key, problems)
    if shape.is_array:
        checks.indexes(byteorder)
    else:
        checks.counts()
    checks.duplicates(order if rows.sound.all() else order[rows.sound[order]])
    if owned:
        checks.owned(owned)
    return _table(rows, order, groups, shape)


class _Checks(msgspec.Struct, frozen=True):
    """The checks of entries whose keys are valid; each problem is at its row."""

    raw: EncodedRows
    groups: Sequence[Group]
    key: Type
    problems: Problems

    def _add(self, row: int, what: str, hint: str, *, id: str) -> None:
        address = self.groups[int(self.raw.group[row])].address()
        self.problems.add(what, self.raw.where(row), hint, address, id=id)

    def _key(self, row: int) -> str:
        return display(self.key, self.raw.keys[row])

    def indexes(self, byteorder: str) -> None:
        """Indexes of arrays that are out of range."""
        rows = np.flatnonzero(self.raw.sound)
        index = entry_table.as_indexes(self.raw.keys, byteorder)
        capacity = np.array([group.capacity for group in self.groups], np.int64)[self.raw.group[rows]]
        for row in rows[index[rows] >= capacity][:MAX_PROBLEMS].tolist():
            limit = self.groups[int(self.raw.group[row])].capacity
            hint = f"use an index from 0 to {limit - 1}, or raise max_entries"
            self._add(row, f"index {self._key(row)} is out of range: max_entries is {limit}", hint, id="out-of-range")

    def counts(self) -> None:
        """Maps with more entries than max_entries."""
        counts = np.bincount(self.raw.group, minlength=len(self.groups))
        capacity = np.array([group.capacity for group in self.groups], np.int64)
        for number in np.flatnonzero(counts > capacity)[:MAX_PROBLEMS].tolist():
            group = self.groups[number]
            what = (
                f"the map has {plural(int(counts[number]), 'entry', 'entries')}, and max_entries is {group.capacity:,}"
            )
            hint = f"write `max_entries: {counts[number]}` or more, or remove entries"
            self.problems.add(what, group.where, hint, group.address(), id="too-many-entries")

    def duplicates(self, order: Index) -> None:
        """Duplicate keys in one map; `order` is that of `sort_by_slot`."""
        first, second = entry_table.duplicates(self.raw.group[order], self.raw.keys.take(order, axis=0))
        pairs = np.stack((order[first[:MAX_PROBLEMS]], order[second[:MAX_PROBLEMS]]), axis=1)
        for pair in pairs.tolist():
            earlier, later = sorted(pair, key=self.raw.where)
            place, again = self.raw.where(earlier), self.raw.where(later)
            first_in = str(place) if place.short() == again.short() else place.short()
            what = f"duplicate key {self._key(later)} (first at {first_in})"
            self._add(later, what, "remove one of the two", id="duplicate-key")

    def owned(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Keys outside of `owned_keys`."""
        rows = np.flatnonzero(self.raw.sound)
        foreign = rows[~entry_table.within(self.raw.keys[rows], self.key.number_order, ranges)]
        for row in foreign[:MAX_PROBLEMS].tolist():
            hint = "extend `owned_keys`, or remove the entry"
            self._add(row, f"key {self._key(row)} is outside of `owned_keys`", hint, id="key-not-owned")


def _table(raw: EncodedRows, order: Index, groups: Sequence[Group], shape: MapShape) -> Encoded:
    if shape.is_array:
        keep = np.array([group.keep_zero for group in groups], np.bool_)
        order = order[entry_table.is_nonzero(raw.values.take(order, axis=0)) | keep[raw.group[order]]]
    counts = np.bincount(raw.group[order], minlength=len(groups)).astype(np.int64)
    starts = np.cumsum(counts) - counts
    files = raw.files or ("",)
    if len(order) == len(raw.group) and (order[1:] > order[:-1]).all():  # already in order
        sources = Sources(files, raw.file, raw.line, variables=raw.variables)
        return Encoded(EntryTable(starts, counts, raw.keys, raw.values), sources)
    table = EntryTable(starts, counts, raw.keys.take(order, axis=0), raw.values.take(order, axis=0))
    return Encoded(table, Sources(files, raw.file, raw.line, variables=raw.variables).part(order))
