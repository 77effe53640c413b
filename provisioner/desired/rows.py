"""Entries typed as they are read: no text outlives its batch, of an entry its bytes and its line are kept. Pure."""

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
"""Rows encoded at once, so that a column's texts stay in the cache; a larger chunk is taken as it is."""

MAX_PROBLEMS: Final = 50
"""Problems told of one map's entries: a table with the wrong type in a column would have one for every row."""

_FAR: Final = 1 << 16
"""Columns from here on are not kept: nobody reads such a line, and two bytes for each entry are enough."""

Owner = TypeVar("Owner")

AddressOf = Callable[[int], str]
"""A row of a batch -> the address of the inner map that it is in."""


AddressText = Callable[[], str]
"""The address of an inner map, which only a message asks for: to spell ten thousand of them is slow."""


class EntrySource(msgspec.Struct, frozen=True):
    """Entries of one group, as text that is read when it is asked for; `address` names the group in messages."""

    chunks: Iterable[RawChunk]
    group: int
    address: AddressText


class EncodedRows(msgspec.Struct, frozen=True):
    """All entries in the order they were written: `keys` (n, key size), `values` (n, value size), the others (n,).

    `sound` says which keys could be read; `file` indexes `files`. `column` is that of the key, or 0 where it is far to
    the right or, in a table, not known before `finders` look for it, by file.
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

    def where(self, row: int) -> Location:
        """The place of the row's key."""
        file, line, column = self.files[int(self.file[row])], int(self.line[row]), int(self.column[row])
        if not column and file in self.finders:
            return self.finders[file](line, ("key",))
        return Location(file, line, column or 1)


class _Buffer:
    """Rows of one column in memory that grows in place: twice of it are never there."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, rows: NDArray[Any]) -> None:
        self._data += rows.tobytes()

    def whole(self, dtype: type[np.generic], *row: int, count: int) -> NDArray[Any]:
        """All rows, shape (count, *row); none can be added after."""
        return np.ndarray((count, *row), dtype, self._data)


class EntryEncoder:
    """Types the entries of one map, batch by batch; what is wrong with a key or value goes to `problems`."""

    def __init__(self, key: Type, value: Type, problems: Problems) -> None:
        self._key = key
        self._value = value
        self._problems = problems
        self._count = 0
        self._files: dict[str, int] = {}
        self._keys, self._values, self._group = _Buffer(), _Buffer(), _Buffer()
        self._sound, self._file, self._line, self._column = _Buffer(), _Buffer(), _Buffer(), _Buffer()
        self._finders: dict[str, Find] = {}

    def take(self, parts: Iterable[EntrySource]) -> None:
        """Entries of groups that are known."""
        for batch in _batches((chunk, part) for part in parts for chunk in part.chunks):
            self._take_batch(batch)

    def _take_batch(self, batch: Sequence[tuple[RawChunk, EntrySource]]) -> None:
        counts = [chunk.rows for chunk, _ in batch]
        ends = np.cumsum(counts)
        self._group.add(np.repeat(np.array([part.group for _, part in batch], np.int32), counts))
        self._add(
            [chunk for chunk, _ in batch],
            lambda row: batch[int(np.searchsorted(ends, row, side="right"))][1].address(),
        )

    def take_keyed(self, chunks: Iterable[RawChunk], outer: Type, name: str, address: Callable[[Bytes], str]) -> Bytes:
        """Entries of which each names its inner map: their outer keys, shape (n, outer size), in the order of rows.

        What is wrong with these is told of `name`, all else of the `address` of an outer key, shape (1, outer size).
        """
        before = self._count
        told = Problems()
        found = _Buffer()
        for batch in _batches((chunk, None) for chunk in chunks):
            found.add(self._take_keyed_batch([chunk for chunk, _ in batch], outer, name, address, told))
        self._problems.extend(told)
        count = self._count - before
        self._group.add(np.zeros(count, np.int32))
        return found.whole(np.uint8, outer.size, count=count)

    def _take_keyed_batch(
        self, chunks: Sequence[RawChunk], outer: Type, name: str, address: Callable[[Bytes], str], told: Problems
    ) -> Bytes:
        keys = np.zeros((sum(chunk.rows for chunk in chunks), outer.size), np.uint8)
        readable = encode_columns(chunks, lambda _: name, "outer", outer, keys, told)
        self._add(chunks, lambda row: address(keys[row : row + 1]) if readable[row] else name)
        return keys

    def finish(self) -> EncodedRows:
        """All that was taken; nothing can be taken after."""
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
        )

    def _add(self, chunks: Sequence[RawChunk], address: AddressOf) -> None:
        count = sum(chunk.rows for chunk in chunks)
        keys = np.zeros((count, self._key.size), np.uint8)
        values = np.zeros((count, self._value.size), np.uint8)
        self._sound.add(encode_columns(chunks, address, "key", self._key, keys, self._problems))
        encode_columns(chunks, address, "value", self._value, values, self._problems)
        self._keys.add(keys)
        self._values.add(values)
        for chunk in chunks:
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
    """Encode what stands at `prefix` ("key" or "value") in chunks of one shape into `out`; which rows are sound."""
    wanted = [path for path in chunks[0].columns if path[0] == prefix]
    joined: dict[Path, Column] = {
        path[1:]: _joined([chunk.columns[path].texts() for chunk in chunks]) for path in wanted
    }
    faults = _encode_raw(joined[RAW[1:]], kind, out) if wanted == [RAW] else kind.encode(joined, out)
    for fault in faults:
        if len(problems) >= MAX_PROBLEMS:
            break
        _tell(fault, prefix, chunks, address, problems)
    sound = np.ones(len(out), np.bool_)
    for fault in faults:
        sound[fault.row if fault.row >= 0 else slice(None)] = False
    return sound


def _batches(chunks: Iterable[tuple[RawChunk, Owner]]) -> Iterator[list[tuple[RawChunk, Owner]]]:
    """Chunks of one shape, of about BATCH_ROWS rows together, each with what it belongs to."""
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


def _tell(fault: Fault, prefix: str, chunks: Sequence[RawChunk], address: AddressOf, problems: Problems) -> None:
    """Say a fault at the place of its scalar; one that concerns a whole shape is told where the shape first stands."""
    row = max(fault.row, 0)
    first = 0
    for chunk in chunks:
        if row < first + chunk.rows:
            where = chunk.where(row - first, (prefix, *fault.path))
            problems.add(fault.what, where, fault.hint, address(row), id=fault.id)
            return
        first += chunk.rows


def key_chunk(paths: Sequence[Path], rows: Sequence[Sequence[ScalarNode]], where: Location) -> RawChunk:
    """Keys that one file writes alike, as one chunk: `rows` has a scalar per path; a key without any is at `where`."""
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
