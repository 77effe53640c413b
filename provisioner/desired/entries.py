"""From columns of text to an entry table: typed, sorted and checked, each problem told at its own place. Pure."""

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


class Group(msgspec.Struct, frozen=True):
    """One inner map's contents; several slots point to one group where they are a range or a shared inner map.

    `keep_zero` keeps an array's entries of zero, which otherwise say no more than leaving them out.
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
    """Every group's entries as one table. Problems: keys that stand twice, too many of them, out of range."""
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
    """What can be wrong with entries whose keys are readable; each problem is told at its row."""

    raw: EncodedRows
    groups: Sequence[Group]
    key: Type
    problems: Problems

    def _tell(self, row: int, what: str, hint: str) -> None:
        address = self.groups[int(self.raw.group[row])].address()
        self.problems.add(what, self.raw.where(row), hint, address)

    def _key(self, row: int) -> str:
        return display(self.key, self.raw.keys[row])

    def indexes(self, byteorder: str) -> None:
        """Indexes of arrays that are out of range."""
        rows = np.flatnonzero(self.raw.sound)
        index = entry_table.as_indexes(self.raw.keys, byteorder)
        capacity = np.array([group.capacity for group in self.groups], np.int64)[self.raw.group[rows]]
        for row in rows[index[rows] >= capacity][:MAX_PROBLEMS].tolist():
            limit = self.groups[int(self.raw.group[row])].capacity
            hint = f"indexes go from 0 to {limit - 1}; raise max_entries, or leave the entry out"
            self._tell(row, f"index {self._key(row)} is out of range: max_entries is {limit}", hint)

    def counts(self) -> None:
        """Maps with more entries than they have room for."""
        counts = np.bincount(self.raw.group, minlength=len(self.groups))
        capacity = np.array([group.capacity for group in self.groups], np.int64)
        for number in np.flatnonzero(counts > capacity)[:MAX_PROBLEMS].tolist():
            group = self.groups[number]
            what = f"{counts[number]:,} entries do not fit: max_entries is {group.capacity:,}"
            hint = f"write `max_entries: {counts[number]}` or more, or take entries away"
            self.problems.add(what, group.where, hint, group.address())

    def duplicates(self, order: Index) -> None:
        """Keys that stand twice in one map; `order` is that of `sort_by_slot`."""
        first, second = entry_table.duplicates(self.raw.group[order], self.raw.keys[order])
        for one, other in zip(order[first[:MAX_PROBLEMS]].tolist(), order[second[:MAX_PROBLEMS]].tolist(), strict=True):
            earlier, later = sorted((one, other), key=lambda row: self.raw.where(row))
            place, again = self.raw.where(earlier), self.raw.where(later)
            first_in = str(place) if place.short() == again.short() else place.short()
            what = f"key {self._key(later)} stands twice: first in {first_in}"
            self._tell(later, what, "a map holds a key once: remove one of the two")

    def owned(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Keys outside of those that are ours."""
        rows = np.flatnonzero(self.raw.sound)
        foreign = rows[~entry_table.within(self.raw.keys[rows], self.key.number_order, ranges)]
        for row in foreign[:MAX_PROBLEMS].tolist():
            hint = "widen `owned_keys`, or leave the entry to its owner"
            self._tell(row, f"key {self._key(row)} is outside of the keys that are ours", hint)


def _table(raw: EncodedRows, order: Index, groups: Sequence[Group], shape: MapShape) -> Encoded:
    if shape.is_array:
        keep = np.array([group.keep_zero for group in groups], np.bool_)
        order = order[entry_table.is_nonzero(raw.values[order]) | keep[raw.group[order]]]
    counts = np.bincount(raw.group[order], minlength=len(groups)).astype(np.int64)
    starts = np.cumsum(counts) - counts
    files = raw.files or ("",)
    if len(order) == len(raw.group) and (order[1:] > order[:-1]).all():  # as they were written
        return Encoded(EntryTable(starts, counts, raw.keys, raw.values), Sources(files, raw.file, raw.line))
    table = EntryTable(starts, counts, raw.keys[order], raw.values[order])
    return Encoded(table, Sources(files, raw.file[order], raw.line[order]))
