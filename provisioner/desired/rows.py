"""Entries are encoded batch by batch as they are read: only bytes and lines are kept, no text. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.model.entry_table import Groups
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.tree import MARK_COLUMN_BITS, RAW, Find, PackedColumn, RawChunk, ScalarNode
from provisioner.model.types import Bytes, Column, Fault, Path, Type

BATCH_ROWS: Final = 512
"""Rows that are encoded at once, so that the texts of a column stay in the cache; a larger chunk is not divided."""

MAX_PROBLEMS: Final = 50
"""The most problems of the entries of one map: a column of the wrong type has one in every row."""

_FAR: Final = 1 << 16
"""Columns from here on are not kept, so that two bytes per entry are enough."""

Owner = TypeVar("Owner")

AddressOf = Callable[[int], str]
"""A row of a batch -> the address of its inner map."""

AddressText = Callable[[], str]
"""Gives the address of an inner map. It is called for messages only: formatting ten thousand addresses is slow."""


class EntrySource(msgspec.Struct, frozen=True):
    """Entries of one group as text, which is read when it is needed; `address` names the group in messages."""

    chunks: Iterable[RawChunk]
    group: int
    address: AddressText


class EncodedRows(msgspec.Struct, frozen=True):
    """All entries in the order of the input: `keys` (n, key size), `values` (n, value size), the others (n,).

    `sound` marks valid keys; `file` is an index of `files`. `column` is that of the key, or 0 if it is over 65,535 or,
    in a table, not known until `finders` look it up, by file. `variables` has the variables of rows that have any.
    """

    keys: Bytes
    values: Bytes
    group: Groups
    sound: NDArray[np.bool_]
    file: NDArray[np.uint16]
    line: NDArray[np.uint32]
    column: NDArray[np.uint16]
    files: tuple[str, ...]
    finders: Mapping[str, Find]
    variables: Mapping[int, str] = {}

    def where(self, row: int) -> Location:
        """The place of the key of a row."""
        file, line, column = self.files[int(self.file[row])], int(self.line[row]), int(self.column[row])
        if not column and file in self.finders:
            return self.finders[file](line, ("key",))
        return Location(file, line, column or 1)


class _Buffer:
    """Rows of one column in memory that grows in place, without a copy."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, rows: NDArray[Any]) -> None:
        self._data += np.ascontiguousarray(rows).data

    def whole(self, dtype: type[np.generic], *row: int, count: int) -> NDArray[Any]:
        """All rows, shape (count, *row). No rows can be added after this."""
        return np.ndarray((count, *row), dtype, self._data)


class EntryEncoder:
    """Encodes the entries of one map, batch by batch. Invalid keys and values go to `problems`."""

    def __init__(self, key: Type, value: Type, problems: Problems) -> None:
        self._key = key
        self._value = value
        self._problems = problems
        self._count = 0
        self._files: dict[str, int] = {}
        self._keys, self._values, self._group = _Buffer(), _Buffer(), _Buffer()
        self._sound, self._file, self._line, self._column = _Buffer(), _Buffer(), _Buffer(), _Buffer()
        self._finders: dict[str, Find] = {}
        self._variables: dict[int, str] = {}

    def take(self, sources: Iterable[EntrySource]) -> None:
        """Encode entries whose groups are known."""
        for batch in _batches((chunk, source) for source in sources for chunk in source.chunks):
            self._take_batch(batch)

    def _take_batch(self, batch: Sequence[tuple[RawChunk, EntrySource]]) -> None:
        counts = [chunk.rows for chunk, _ in batch]
        ends = np.cumsum(counts)
        self._group.add(np.repeat(np.array([source.group for _, source in batch], np.int32), counts))
        self._add(
            [chunk for chunk, _ in batch],
            lambda row: batch[int(np.searchsorted(ends, row, side="right"))][1].address(),
        )

    def take_keyed(self, chunks: Iterable[RawChunk], outer: Type, name: str, address: Callable[[Bytes], str]) -> Bytes:
        """Encode entries with an outer key each. Returns the outer keys, shape (n, outer size), in the order of rows.

        A problem of an outer key has the address `name`; other problems have the `address` of the outer key, shape
        (1, outer size).
        """
        before = self._count
        problems = Problems()
        outer_keys = _Buffer()
        for batch in _batches((chunk, None) for chunk in chunks):
            outer_keys.add(self._take_keyed_batch([chunk for chunk, _ in batch], outer, name, address, problems))
        self._problems.extend(problems)
        count = self._count - before
        self._group.add(np.zeros(count, np.int32))
        return outer_keys.whole(np.uint8, outer.size, count=count)

    def _take_keyed_batch(
        self, chunks: Sequence[RawChunk], outer: Type, name: str, address: Callable[[Bytes], str], problems: Problems
    ) -> Bytes:
        keys = np.zeros((sum(chunk.rows for chunk in chunks), outer.size), np.uint8)
        readable = encode_columns(chunks, lambda _: name, "outer", outer, keys, problems)
        self._add(chunks, lambda row: address(keys[row : row + 1]) if readable[row] else name)
        return keys

    def finish(self) -> EncodedRows:
        """All entries. No entries can be taken after this."""
        n = self._count
        return EncodedRows(
            self._keys.whole(np.uint8, self._key.size, count=n),
            self._values.whole(np.uint8, self._value.size, count=n),
            self._group.whole(np.int32, count=n),
            self._sound.whole(np.bool_, count=n),
            self._file.whole(np.uint16, count=n),
            self._line.whole(np.uint32, count=n),
            self._column.whole(np.uint16, count=n),
            tuple(self._files),
            self._finders,
            self._variables,
        )

    def _add(self, chunks: Sequence[RawChunk], address: AddressOf) -> None:
        count = sum(chunk.rows for chunk in chunks)
        keys = np.zeros((count, self._key.size), np.uint8)
        values = np.zeros((count, self._value.size), np.uint8)
        self._sound.add(encode_columns(chunks, address, "key", self._key, keys, self._problems))
        encode_columns(chunks, address, "value", self._value, values, self._problems)
        self._keys.add(keys)
        self._values.add(values)
        first = self._count
        for chunk in chunks:
            if chunk.variables:
                self._variables.update((first + row, sources) for row, sources in chunk.variables.items())
            first += chunk.rows
            self._file.add(np.full(chunk.rows, self._files.setdefault(chunk.file, len(self._files)), np.uint16))
            marks = np.frombuffer(_key_marks(chunk), np.uint64)
            self._line.add((marks >> np.uint64(MARK_COLUMN_BITS)).astype(np.uint32))
            column = marks & np.uint64((1 << MARK_COLUMN_BITS) - 1)
            self._column.add(np.where(column < _FAR, column, np.uint64(0)).astype(np.uint16))
            if chunk.find is not None:
                self._finders[chunk.file] = chunk.find
        self._count += count


def _key_marks(chunk: RawChunk) -> array[int]:
    return next((marks for path, marks in chunk.marks.items() if path[0] == "key"), next(iter(chunk.marks.values())))


def encode_columns(
    chunks: Sequence[RawChunk], address: AddressOf, prefix: str, kind: Type, out: Bytes, problems: Problems
) -> NDArray[np.bool_]:
    """Encode the columns at `prefix` ("key", "value") of chunks of one shape into `out`; returns the valid rows."""
    wanted = [path for path in chunks[0].columns if path[0] == prefix]
    joined: dict[Path, Column] = {
        path[1:]: _joined([chunk.columns[path].texts() for chunk in chunks]) for path in wanted
    }
    faults = _encode_raw(joined[RAW[1:]], kind, out) if wanted == [RAW] else kind.encode(joined, out)
    for fault in faults:
        if len(problems) >= MAX_PROBLEMS:
            break
        _add_problem(fault, prefix, chunks, address, problems)
    sound = np.ones(len(out), np.bool_)
    for fault in faults:
        sound[fault.row if fault.row >= 0 else slice(None)] = False
    return sound


def _batches(chunks: Iterable[tuple[RawChunk, Owner]]) -> Iterator[list[tuple[RawChunk, Owner]]]:
    """Chunks of one shape with about BATCH_ROWS rows together, each with its owner."""
    waiting: dict[tuple[Path, ...], list[tuple[RawChunk, Owner]]] = {}
    rows: dict[tuple[Path, ...], int] = {}
    for pair in chunks:
        chunk, _ = pair
        shape = tuple(chunk.columns)
        waiting.setdefault(shape, []).append(pair)
        rows[shape] = rows.get(shape, 0) + chunk.rows
        if rows[shape] >= BATCH_ROWS:
            yield waiting.pop(shape)
            del rows[shape]
    yield from waiting.values()


def _joined(columns: Sequence[Column]) -> Column:
    return columns[0] if len(columns) == 1 else list(chain.from_iterable(columns))


def _encode_raw(texts: Column, kind: Type, out: Bytes) -> list[Fault]:
    """Encode values that a file has in the kernel's bytes."""
    faults: list[Fault] = []
    for row, text in enumerate(texts):
        encoded = kind.encode_raw((text or "").encode("latin-1"))
        if isinstance(encoded, Fault):
            faults.append(replace(encoded, row=row, path=RAW[1:]))
        else:
            out[row] = encoded
    return faults


def _add_problem(fault: Fault, prefix: str, chunks: Sequence[RawChunk], address: AddressOf, problems: Problems) -> None:
    """Add a problem at the place of the scalar; a fault of all rows is at the first row."""
    row = max(fault.row, 0)
    first = 0
    for chunk in chunks:
        if row < first + chunk.rows:
            where = chunk.where(row - first, (prefix, *fault.path))
            problems.add(fault.what, where, fault.hint, address(row), id=fault.id)
            return
        first += chunk.rows


def key_chunk(paths: Sequence[Path], rows: Sequence[Sequence[ScalarNode]], where: Location) -> RawChunk:
    """Keys of one form in one file as a chunk: `rows` has a scalar per path; a key without scalars is at `where`."""
    by_path = list(zip(*rows, strict=True)) if paths else []
    packed = {
        ("key", *path): PackedColumn([scalar.text for scalar in column])
        for path, column in zip(paths, by_path, strict=True)
    }
    marks = {
        ("key", *path): array("Q", [_mark(scalar.where) for scalar in column])
        for path, column in zip(paths, by_path, strict=True)
    }
    file = rows[0][0].where.file if paths else where.file
    return RawChunk(file, len(rows), packed, marks or {("key",): array("Q", [_mark(where)] * len(rows))})


def _mark(where: Location) -> int:
    return where.line << MARK_COLUMN_BITS | where.column
