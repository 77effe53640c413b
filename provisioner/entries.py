"""From columns of text to an entry table: typed, sorted and checked, each problem told at its own place. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner import columns
from provisioner.codec.base import Bytes, Column, Fault, Path, Type, Value
from provisioner.codec.display import format_value
from provisioner.columns import EntryTable, Index
from provisioner.errors import Problems
from provisioner.location import Location
from provisioner.shape import MapShape
from provisioner.state import Sources
from provisioner.tree import MARK_COLUMN_BITS, RAW, PackedColumn, RawChunk, Scalar

BATCH_ROWS = 512
"""Rows encoded at once, so that a column's texts stay in the cache; a larger chunk is taken as it is."""

MAX_PROBLEMS = 50
"""Problems told of one map's entries: a table with the wrong type in a column would have one for every row."""


class Group(msgspec.Struct, frozen=True):
    """One inner map's contents; several slots point to one group where they are a range or a shared inner map.

    `keep_zero` keeps an array's entries of zero, which otherwise say no more than leaving them out.
    """

    capacity: int
    where: Location
    address: str
    keep_zero: bool = False


class Part(msgspec.Struct, frozen=True):
    """Entries as text: all of one group, or, in a table that fills many inner maps, each row of the group it names."""

    chunk: RawChunk
    group: int | Index

    def groups(self) -> Index:
        if isinstance(self.group, int):
            return np.full(self.chunk.rows, self.group, np.int64)
        return self.group

    def first_group(self) -> int:
        return self.group if isinstance(self.group, int) else int(self.group[0])


class Encoded(msgspec.Struct, frozen=True):
    """Entries of all groups: `entries` has one slot per group."""

    entries: EntryTable
    sources: Sources


def encode_columns(
    chunks: Sequence[RawChunk], addresses: Sequence[str], prefix: str, kind: Type, out: Bytes, problems: Problems
) -> NDArray[np.bool_]:
    """Encode what stands at `prefix` ("key" or "value") in chunks of one shape into `out`; which rows are sound."""
    wanted = [path for path in chunks[0].columns if path[0] == prefix]
    joined: dict[Path, Column] = {
        path[1:]: _joined([chunk.columns[path].texts() for chunk in chunks]) for path in wanted
    }
    faults = _encode_raw(joined[RAW[1:]], kind, out) if wanted == [RAW] else kind.encode(joined, out)
    for fault in faults:
        if len(problems) >= MAX_PROBLEMS:
            break
        _tell(fault, prefix, chunks, addresses, problems)
    sound = np.ones(len(out), np.bool_)
    for fault in faults:
        sound[fault.row if fault.row >= 0 else slice(None)] = False
    return sound


def encode_entries(
    parts: Sequence[Part],
    groups: Sequence[Group],
    shape: MapShape,
    key: Type,
    value: Type,
    problems: Problems,
    byteorder: str,
    owned: Sequence[tuple[int, int]] = (),
) -> Encoded:
    """Every group's entries as one table. Problems: wrong values, keys that stand twice, too many, out of range."""
    total = sum(part.chunk.rows for part in parts)
    raw = _Rows(
        np.zeros((total, key.size), np.uint8),
        np.zeros((total, value.size), np.uint8),
        np.zeros(total, np.int64),
        np.zeros(total, np.uint16),
        np.zeros(total, np.uint32),
    )
    local = Problems()
    files: dict[str, int] = {}
    at = 0
    sound = np.ones(total, np.bool_)
    for batch in _batches(parts):
        chunks = [part.chunk for part in batch]
        addresses = [groups[part.first_group()].address for part in batch]
        rows = slice(at, at + sum(chunk.rows for chunk in chunks))
        sound[rows] = encode_columns(chunks, addresses, "key", key, raw.keys[rows], local)
        encode_columns(chunks, addresses, "value", value, raw.values[rows], local)
        raw.group[rows] = np.concatenate([part.groups() for part in batch])
        raw.place(rows, chunks, files)
        at = rows.stop
    order = columns.sort_by_slot(raw.group, raw.keys)
    checks = _Checks(raw, groups, tuple(files), key, local)
    readable = np.flatnonzero(sound)
    if shape.is_array:
        checks.indexes(readable, byteorder)
    else:
        checks.counts()
    checks.duplicates(order[sound[order]])
    checks.owned(readable, owned)
    problems.extend(local)
    return _table(raw, order, groups, shape, tuple(files) or ("",))


class _Rows(msgspec.Struct, frozen=True):
    """All entries in the order they were written: `keys` (n, key size), `values` (n, value size), the others (n,)."""

    keys: Bytes
    values: Bytes
    group: Index
    file: NDArray[np.uint16]
    line: NDArray[np.uint32]

    def place(self, rows: slice, chunks: Iterable[RawChunk], files: dict[str, int]) -> None:
        """Note the file and line of each row."""
        at = rows.start
        for chunk in chunks:
            end = at + chunk.rows
            self.file[at:end] = files.setdefault(chunk.file, len(files))
            marks = np.frombuffer(next(iter(chunk.marks.values())), np.uint64)
            self.line[at:end] = marks >> np.uint64(MARK_COLUMN_BITS)
            at = end

    def where(self, row: int, files: tuple[str, ...]) -> Location:
        return Location(files[int(self.file[row])], int(self.line[row]), 1)


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts of one shape, of about BATCH_ROWS rows together."""
    waiting: dict[tuple[Path, ...], list[Part]] = {}
    rows: dict[tuple[Path, ...], int] = {}
    for part in parts:
        shape = tuple(part.chunk.columns)
        waiting.setdefault(shape, []).append(part)
        rows[shape] = rows.get(shape, 0) + part.chunk.rows
        if rows[shape] >= BATCH_ROWS:
            yield waiting.pop(shape)
            del rows[shape]
    yield from waiting.values()


def _joined(columns_: Sequence[Column]) -> Column:
    return columns_[0] if len(columns_) == 1 else list(chain.from_iterable(columns_))


def _encode_raw(texts: Column, kind: Type, out: Bytes) -> list[Fault]:
    """Values that came out of files in the kernel's own bytes."""
    faults: list[Fault] = []
    for row, text in enumerate(texts):
        found = kind.encode_raw((text or "").encode("latin-1"))
        if isinstance(found, Fault):
            faults.append(replace(found, row=row, path=RAW[1:]))
        else:
            out[row] = found
    return faults


def _tell(fault: Fault, prefix: str, chunks: Sequence[RawChunk], addresses: Sequence[str], problems: Problems) -> None:
    """Say a fault at the place of its scalar; one that concerns a whole shape is told where the shape first stands."""
    row = max(fault.row, 0)
    path = (prefix, *fault.path)
    for chunk, address in zip(chunks, addresses, strict=True):
        if row < chunk.rows:
            problems.add(fault.what, chunk.where(row, path), fault.hint, address)
            return
        row -= chunk.rows


class _Checks(msgspec.Struct, frozen=True):
    """What can be wrong with entries whose keys are readable; each problem is told at its row."""

    raw: _Rows
    groups: Sequence[Group]
    files: tuple[str, ...]
    key: Type
    problems: Problems

    def _tell(self, row: int, what: str, hint: str) -> None:
        address = self.groups[int(self.raw.group[row])].address
        self.problems.add(what, self.raw.where(row, self.files), hint, address)

    def _key(self, row: int) -> Value:
        return self.key.decode(self.raw.keys[row : row + 1])[0]

    def indexes(self, rows: Index, byteorder: str) -> None:
        """Indexes of arrays that are out of range."""
        index = columns.as_indexes(self.raw.keys, byteorder)
        capacity = np.array([group.capacity for group in self.groups], np.int64)[self.raw.group[rows]]
        for row in rows[index[rows] >= capacity][:MAX_PROBLEMS].tolist():
            limit = self.groups[int(self.raw.group[row])].capacity
            hint = f"indexes go from 0 to {limit - 1}; raise max_entries, or leave the entry out"
            self._tell(row, f"index {index[row]} is out of range: max_entries is {limit}", hint)

    def counts(self) -> None:
        """Maps with more entries than they have room for."""
        counts = np.bincount(self.raw.group, minlength=len(self.groups))
        capacity = np.array([group.capacity for group in self.groups], np.int64)
        for number in np.flatnonzero(counts > capacity)[:MAX_PROBLEMS].tolist():
            group = self.groups[number]
            what = f"{counts[number]:,} entries do not fit: max_entries is {group.capacity:,}"
            hint = f"write `max_entries: {counts[number]}` or more, or take entries away"
            self.problems.add(what, group.where, hint, group.address)

    def duplicates(self, order: Index) -> None:
        """Keys that stand twice in one map; `order` is that of `sort_by_slot`."""
        first, second = columns.duplicates(self.raw.group[order], self.raw.keys[order])
        for one, other in zip(order[first[:MAX_PROBLEMS]].tolist(), order[second[:MAX_PROBLEMS]].tolist(), strict=True):
            earlier, later = sorted((one, other), key=lambda row: self.raw.where(row, self.files))
            place = self.raw.where(earlier, self.files).short()
            what = f"key {format_value(self._key(later))} stands twice: first in {place}"
            self._tell(later, what, "a map holds a key once: remove one of the two")

    def owned(self, rows: Index, ranges: Sequence[tuple[int, int]]) -> None:
        """Keys outside of those that are ours."""
        foreign = rows[~columns.within(self.raw.keys[rows], self.key.number_order, ranges)]
        for row in foreign[:MAX_PROBLEMS].tolist():
            hint = "widen `owned_keys`, or leave the entry to its owner"
            self._tell(row, f"key {format_value(self._key(row))} is outside of the keys that are ours", hint)


def _table(raw: _Rows, order: Index, groups: Sequence[Group], shape: MapShape, files: tuple[str, ...]) -> Encoded:
    if shape.is_array:
        keep = np.array([group.keep_zero for group in groups], np.bool_)
        order = order[columns.is_nonzero(raw.values[order]) | keep[raw.group[order]]]
    counts = np.bincount(raw.group[order], minlength=len(groups)).astype(np.int64)
    table = EntryTable(np.cumsum(counts) - counts, counts, raw.keys[order], raw.values[order])
    return Encoded(table, Sources(files, raw.file[order], raw.line[order]))


def key_chunk(paths: Sequence[Path], rows: Sequence[Sequence[Scalar]], where: Location) -> RawChunk:
    """Keys that are written alike, as one chunk: `rows` has a scalar per path; a key without any is at `where`."""
    by_path = list(zip(*rows, strict=True)) if paths else []
    packed = {
        ("key", *path): PackedColumn([scalar.text for scalar in column])
        for path, column in zip(paths, by_path, strict=True)
    }
    marks = {
        ("key", *path): array("Q", [_mark(scalar.where) for scalar in column])
        for path, column in zip(paths, by_path, strict=True)
    }
    return RawChunk(where.file, len(rows), packed, marks or {("key",): array("Q", [_mark(where)] * len(rows))})


def _mark(where: Location) -> int:
    return where.line << MARK_COLUMN_BITS | where.column
