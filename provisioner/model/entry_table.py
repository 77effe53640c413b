"""The entry table: many inner maps' entries in the kernel's own bytes, and the arithmetic on it.

An inner map is a *slot* with a slice of rows; within a slice, rows are ordered by the rank of their keys, so that two
tables can be compared by walking both once. This is the only room with NumPy arithmetic on entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.types import Bytes

Index = NDArray[np.int64]
Groups = NDArray[np.int32]
Rank = NDArray[np.uint64]
Element = TypeVar("Element", bound=np.generic)

BLOCK_ENTRIES = 64_000
"""Rows that are sorted and compared at once: larger blocks do not fit the cache, smaller ones cost more calls."""

_SLOT_BITS = 10
BLOCK_SLOTS = 1 << _SLOT_BITS
"""Slots of a block: the number of a slot is above the rank of the key in a 64-bit integer."""

_WORDS: dict[int, np.dtype[Any]] = {0: np.dtype("u8"), 4: np.dtype("u4"), 2: np.dtype("u2"), 1: np.dtype("u1")}
"""Unsigned integers by the lowest bit of a size, of its three lowest."""

_ROW_BITS = 64 - _SLOT_BITS - 32
"""The bits of 64 that the number of a slot and an exact rank leave for the number of a row."""

_EXACT_KEY_SIZE = 4
"""Keys up to this size are their own rank; longer keys are hashed, and collisions are checked."""


class EntryTable(msgspec.Struct, frozen=True):
    """Entries of m slots in n rows.

    `starts` and `counts`, shape (m,), give each slot's slice; shared inner maps point to the same one. `keys` has shape
    (n, key_size) and `values` (n, value_size). For arrays the key is the index as the kernel writes it, and rows of
    zeros are left out, because an array's element always exists and zero is what it holds unwritten.
    """

    starts: Index
    counts: Index
    keys: Bytes
    values: Bytes

    @property
    def slots(self) -> int:
        return len(self.starts)

    def rows(self, first: int, last: int) -> Index:
        """Row numbers of the slots first..last-1, slot by slot."""
        return slices(self.starts[first:last], self.counts[first:last])

    def slot(self, number: int) -> tuple[Bytes, Bytes]:
        """Keys and values of one slot, as views."""
        start = int(self.starts[number])
        end = start + int(self.counts[number])
        return self.keys[start:end], self.values[start:end]

    @staticmethod
    def empty(slots: int, key_size: int, value_size: int) -> EntryTable:
        nothing = np.zeros(slots, np.int64)
        return EntryTable(nothing, nothing, np.zeros((0, key_size), np.uint8), np.zeros((0, value_size), np.uint8))


def slices(starts: Index, counts: Index) -> Index:
    """The row numbers of many slices, one after the other."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros(0, np.int64)
    before = np.cumsum(counts) - counts
    rows: Index = np.arange(total, dtype=np.int64) + np.repeat(starts - before, counts)
    return rows


def take(column: NDArray[Element], numbers: Index, otherwise: int) -> NDArray[Element]:
    """`column[numbers]`, with `otherwise` where a number is -1."""
    taken = np.full(len(numbers), otherwise, column.dtype)
    there = numbers >= 0
    taken[there] = column[numbers[there]]
    return taken


def blocks(counts: Index) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of slots of about BLOCK_ENTRIES rows; a slot is never divided."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        base = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, base + BLOCK_ENTRIES, side="right"))
        last = min(max(last, first + 1), first + BLOCK_SLOTS, len(counts))
        yield first, last
        first = last


def order_of(keys: Bytes, number_order: str | None) -> Index:
    """The order of keys in output: by number for integers of a byte order, else by bytes."""
    n, size = keys.shape
    if size == 0:
        return np.arange(n, dtype=np.int64)
    if size <= 8:
        return argsort(_as_uint64(keys, number_order or "big"))
    return argsort(_as_strings(keys))


def argsort(values: NDArray[Any]) -> Index:
    """A stable order, as `Index`."""
    order: Index = np.argsort(values, kind="stable")
    return order


def key_rank(keys: Bytes) -> Rank:
    """A 64-bit rank per key: the key itself up to 4 bytes, else a hash, in which different keys can collide."""
    n, size = keys.shape
    if size <= _EXACT_KEY_SIZE:
        return _as_uint64(keys, "little")
    words = -(-size // 8)
    padded = keys
    if size % 8:
        padded = np.zeros((n, words * 8), np.uint8)
        padded[:, :size] = keys
    columns = np.ascontiguousarray(padded).view("<u8")
    mixed = np.zeros(n, np.uint64)
    with np.errstate(over="ignore"):
        for word in range(words):
            mixed = (mixed ^ columns[:, word]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
    return mixed


def sort_by_slot(slot: Index | Groups, keys: Bytes) -> Index:
    """The order that groups rows by slot and ranks them within each, sorted block by block."""
    grouped = np.arange(len(slot), dtype=np.int64)
    if (slot[1:] < slot[:-1]).any():
        grouped = argsort(slot)
    if not len(slot):
        return grouped
    ordered = slot[grouped]
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(slot)]))
    for first, last in blocks(np.diff(starts)):
        rows = grouped[starts[first] : starts[last]]
        counts = np.diff(starts[first : last + 1])
        local = np.repeat(np.arange(last - first, dtype=np.int64), counts)
        rank = _block_rank(local, keys.take(rows, axis=0))
        grouped[starts[first] : starts[last]] = rows[_order_of_ranks(rank, keys.shape[1] <= _EXACT_KEY_SIZE, counts)]
    return grouped


def duplicates(slot: Index | Groups, keys: Bytes) -> tuple[Index, Index]:
    """Rows with a duplicate key in one slot, as (first, second); `slot` and `keys` in the order of `sort_by_slot`."""
    suspects = _same_rank_as_neighbour(slot, keys)
    # Equal ranks of different keys can interleave, so these few rows are sorted by their whole keys.
    exact = suspects[_exact_order(slot[suspects], keys[suspects])]
    equal = (slot[exact[1:]] == slot[exact[:-1]]) & (keys[exact[1:]] == keys[exact[:-1]]).all(axis=1)
    return exact[:-1][equal], exact[1:][equal]


def _same_rank_as_neighbour(slot: Index | Groups, keys: Bytes) -> Index:
    """Rows with the slot and rank of the row before or after them, block by block."""
    shift = np.uint64(_SLOT_BITS if keys.shape[1] > _EXACT_KEY_SIZE else 0)
    doubtful = np.zeros(len(slot), np.bool_)
    for first in range(0, len(slot), BLOCK_ENTRIES):
        block = slice(first, first + BLOCK_ENTRIES + 1)  # with the first row of the next
        rank = key_rank(keys[block]) >> shift
        same = (slot[block][1:] == slot[block][:-1]) & (rank[1:] == rank[:-1])
        doubtful[block][:-1] |= same
        doubtful[block][1:] |= same
    return np.flatnonzero(doubtful)


def unique(numbers: NDArray[Element]) -> NDArray[Element]:
    """Each number once, ascending. The first call of NumPy's own loads masked arrays, which takes 5 ms of a start."""
    ordered = np.sort(numbers)
    new = np.ones(len(ordered), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def are_distinct(keys: Bytes) -> bool:
    """Whether no key is there twice."""
    count, size = keys.shape
    if count < 2:
        return True
    if 0 < size <= 8:
        numbers = _as_uint64(keys, "little")
        if np.count_nonzero(numbers[1:] > numbers[:-1]) == count - 1:
            return True
        return bool(len(unique(numbers)) == count)
    return bool(len(distinct(keys)[0]) == count)


def distinct(keys: Bytes) -> tuple[Index, Index]:
    """The first row of each different key, and for each row the number of its key among them."""
    if not len(keys):
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    # A table is usually in the order of its outer keys, so there are few runs of equal keys to sort.
    is_head = np.ones(len(keys), np.bool_)
    is_head[1:] = differ(keys[1:], keys[:-1])
    runs = np.flatnonzero(is_head)
    heads = keys[runs]
    order = order_of(heads, None)
    new = np.ones(len(order), np.bool_)
    new[1:] = differ(heads[order[1:]], heads[order[:-1]])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    return runs[order[new]], np.repeat(number, np.diff(runs, append=len(keys)))


def among(keys: Bytes, others: Bytes) -> NDArray[np.bool_]:
    """Which of `keys` are among `others`; each block holds a key once."""
    present = np.zeros(len(keys), np.bool_)
    present[match_keys(keys, others).both_left] = True
    return present


def part(table: EntryTable, slots: Index) -> tuple[EntryTable, Index]:
    """A table of some slots, which share slices as before, and the numbers of its rows in the whole table."""
    pairs = np.stack((table.starts[slots], table.counts[slots]), axis=1)
    kept, number = np.unique(pairs, axis=0, return_inverse=True)
    counts = kept[:, 1]
    rows = slices(kept[:, 0], counts)
    starts = (np.cumsum(counts) - counts)[number.reshape(-1)]
    return EntryTable(starts, table.counts[slots], table.keys.take(rows, axis=0), table.values.take(rows, axis=0)), rows


class Match(msgspec.Struct, frozen=True):
    """Rows of two blocks side by side: `left_only` and `right_only` by row, `both` as pairs of rows."""

    left_only: Index
    right_only: Index
    both_left: Index
    both_right: Index


def match(left_slot: Index, left_keys: Bytes, right_slot: Index, right_keys: Bytes) -> Match:
    """Pair the rows of two blocks that have the same slot (below BLOCK_SLOTS) and key; each block holds a key once."""
    left = _block_rank(left_slot, left_keys)
    right = _block_rank(right_slot, right_keys)
    exact = left_keys.shape[1] <= _EXACT_KEY_SIZE
    if len(left) == len(right) and np.array_equal(left, right):
        rows = np.arange(len(left), dtype=np.int64)
        if exact or np.array_equal(left_keys, right_keys):
            nothing = np.zeros(0, np.int64)
            return Match(nothing, nothing, rows, rows)
    left_order, right_order = _order_of_ranks(left, exact), _order_of_ranks(right, exact)
    left, right = left[left_order], right[right_order]
    merged = _merge(left, right, left_order, right_order)
    # Ranks that collide pair rows of different keys.
    if exact or np.array_equal(left_keys.take(merged.both_left, axis=0), right_keys.take(merged.both_right, axis=0)):
        return merged
    return _match_exactly(left_slot, left_keys, right_slot, right_keys)


def match_keys(left: Bytes, right: Bytes) -> Match:
    """Pair the keys of two columns, each of which has a key once."""
    return match(np.zeros(len(left), np.int64), left, np.zeros(len(right), np.int64), right)


def differ(left: Bytes, right: Bytes) -> NDArray[np.bool_]:
    """Which rows differ; both have shape (n, size)."""
    size = left.shape[1]
    if size == 0:
        return np.zeros(len(left), np.bool_)
    if not size % 2 and left.flags.c_contiguous and right.flags.c_contiguous:
        word = _word(size)
        left, right = left.view(word), right.view(word)
    unequal: NDArray[np.bool_] = left != right
    return unequal[:, 0] if unequal.shape[1] == 1 else np.logical_or.reduce(unequal, axis=1)


def _word(size: int) -> np.dtype[Any]:
    """The largest unsigned integer by which rows of `size` bytes can be compared."""
    return _WORDS[size & -size & 7]


def how_many(rows: NDArray[np.bool_]) -> int:
    """How many are true; also in place of `any` and `sum`, which take four times as long for a few rows."""
    return int(np.count_nonzero(rows))


def are_equal(left: Bytes, right: Bytes) -> bool:
    """Whether two columns are the same: NumPy takes ten times as long for short ones."""
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def is_nonzero(values: Bytes) -> NDArray[np.bool_]:
    """Which rows have a byte that is not zero."""
    size = values.shape[1]
    words: NDArray[Any] = values
    if size and values.flags.c_contiguous:
        words = values.view(_word(size))
    held: NDArray[np.bool_] = words[:, 0] != 0 if words.shape[1] == 1 else np.logical_or.reduce(words, axis=1)
    return held


def index_keys(indexes: NDArray[Any], byteorder: str) -> Bytes:
    """Array indexes as the kernel's key bytes, shape (n, 4)."""
    return number_keys(indexes, 4, byteorder)


def number_keys(numbers: NDArray[Any], size: int, byteorder: str | None) -> Bytes:
    """Numbers as keys of `size` bytes (1, 2, 4 or 8), shape (n, size)."""
    kind = f"{'<' if byteorder == 'little' else '>'}u{size}"
    return np.ascontiguousarray(numbers.astype(kind)).view(np.uint8).reshape(-1, size)


def within(keys: Bytes, number_order: str | None, ranges: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """The integer keys that are in one of the ranges, ends included; all keys if there are no ranges."""
    if not ranges:
        return np.ones(len(keys), np.bool_)
    numbers = _as_uint64(keys, number_order or "big")
    inside = np.zeros(len(keys), np.bool_)
    for first, last in ranges:
        inside |= (numbers >= np.uint64(first)) & (numbers <= np.uint64(last))
    return inside


def as_indexes(keys: Bytes, byteorder: str) -> Index:
    """The indexes in an array's keys, shape (n, 4)."""
    return keys.view("<u4" if byteorder == "little" else ">u4").ravel().astype(np.int64)


def _as_uint64(keys: Bytes, order: str) -> Rank:
    """Keys of at most 8 bytes as integers, the first byte least ("little") or most ("big") significant."""
    n, size = keys.shape
    if size in (1, 2, 4, 8) and keys.flags.c_contiguous:
        return keys.view(f"{'<' if order == 'little' else '>'}u{size}").ravel().astype(np.uint64)
    wide = np.zeros((n, 8), np.uint8)
    if order == "little":
        wide[:, :size] = keys
        return wide.view("<u8").ravel().astype(np.uint64, copy=False)
    wide[:, 8 - size :] = keys
    return wide.view(">u8").ravel().astype(np.uint64)


def _as_strings(keys: Bytes) -> NDArray[np.bytes_]:
    """Keys as fixed-width byte strings, which NumPy compares as memcmp does."""
    return np.ascontiguousarray(keys).view(f"S{keys.shape[1]}").ravel()


def _block_rank(slot: Index, keys: Bytes) -> Rank:
    rank = key_rank(keys)
    if keys.shape[1] > _EXACT_KEY_SIZE:
        rank >>= np.uint64(_SLOT_BITS)
    return (slot.astype(np.uint64) << np.uint64(64 - _SLOT_BITS)) | rank


def _order_of_ranks(rank: Rank, exact: bool, counts: Index | None = None) -> Index:
    """The stable order of ranks from `_block_rank`; usually one side of a comparison is already in order.

    `counts` are the rows of each slot, where these are one after the other.
    """
    if (rank[1:] >= rank[:-1]).all():
        return np.arange(len(rank), dtype=np.int64)
    if not exact or len(rank) > 1 << _ROW_BITS:
        return argsort(rank)
    # Sorting numbers takes half the time of computing their order, so each number has its row in the free bits.
    slot = rank & ~np.uint64((1 << (64 - _SLOT_BITS)) - 1)
    packed = slot | (rank & np.uint64(0xFFFFFFFF)) << np.uint64(_ROW_BITS) | np.arange(len(rank), dtype=np.uint64)
    if counts is not None and (counts == counts[0]).all():
        packed.reshape(len(counts), -1).sort(axis=1)  # short rows take a tenth of the time
    else:
        packed.sort()
    return (packed & np.uint64((1 << _ROW_BITS) - 1)).astype(np.int64)


def _exact_order(slot: Index | Groups, keys: Bytes) -> Index:
    order = argsort(_as_strings(keys)) if keys.shape[1] else np.arange(len(keys), dtype=np.int64)
    return order[argsort(slot[order])]


def _merge(left: Rank, right: Rank, left_order: Index, right_order: Index) -> Match:
    if np.array_equal(left, right):
        nothing = np.zeros(0, np.int64)
        return Match(nothing, nothing, left_order, right_order)
    at = np.searchsorted(right, left)
    inside = at < len(right)
    hit = np.zeros(len(left), np.bool_)
    hit[inside] = right[at[inside]] == left[inside]
    taken = np.zeros(len(right), np.bool_)
    taken[at[hit]] = True
    return Match(left_order[~hit], right_order[~taken], left_order[hit], right_order[at[hit]])


def _match_exactly(left_slot: Index, left_keys: Bytes, right_slot: Index, right_keys: Bytes) -> Match:
    """As `match`, by comparing whole keys: slower, for the rare block in which two ranks collide."""
    slot = np.concatenate((left_slot, right_slot))
    keys = np.concatenate((left_keys, right_keys))
    order = _exact_order(slot, keys)
    new = np.ones(len(order), np.bool_)
    new[1:] = (slot[order[1:]] != slot[order[:-1]]) | (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    number = np.empty(len(order), np.uint64)
    number[order] = np.cumsum(new).astype(np.uint64)
    left, right = number[: len(left_slot)], number[len(left_slot) :]
    left_order, right_order = argsort(left), argsort(right)
    return _merge(left[left_order], right[right_order], left_order, right_order)
