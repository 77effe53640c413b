"""Digests of the entries of a map: the same by a program in the kernel, and by NumPy of what is wanted. Pure.

The digest of a map is the sum of a keyed hash of each entry, so it does not depend on their order: two numbers of 64
bits. In either, an entry is hashed by NH, which multiplies halves of words after adding secret keys (Black et al.,
UMAC, 1999), and then mixed. For two entries that differ, NH is equal with a probability of at most 2^-32, in both
numbers of at most 2^-64, over the random keys. Those are drawn for each run, and never leave it: nobody who writes to a
map can aim at a digest. Padding is left out by a mask, elements of arrays that are zero are no entries.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType

MOST_WORDS: Final = 128
"""Words of one entry, of all CPUs together: the program has no loop over them."""

TYPES: Final = frozenset({MapType.HASH, MapType.ARRAY, MapType.PERCPU_HASH, MapType.PERCPU_ARRAY})
"""The types that a program can walk (69c087ba6225, 5.13) and whose contents can be exact."""

LANES: Final = 2
SHIFTS: Final = (32, 29, 32)
"""How far the mixing moves bits, between two multiplications."""

_LOW: Final = np.uint64(0xFFFFFFFF)

_BLOCK: Final = 1 << 14
"""Rows that are hashed at once: their columns stay in the cache."""

_ROWS: Final = 1 << 18
"""Rows whose running sums are held at once."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a key or value that is loaded at once. `mask` has its bits that count."""

    offset: int
    width: int
    mask: int

    @property
    def is_whole(self) -> bool:
        return self.mask == (1 << 8 * self.width) - 1


class Words(msgspec.Struct, frozen=True):
    """What is hashed of an entry: the pieces of the key, and those of the value of each CPU, `stride` bytes apart.

    `cpus` is 1 where a value is not per CPU. `owned` are ranges of keys, as numbers of `key_order`: entries outside of
    them are only counted. None for all keys.
    """

    key: tuple[Piece, ...]
    value: tuple[Piece, ...]
    cpus: int
    stride: int
    is_array: bool
    is_percpu: bool
    owned: tuple[tuple[int, int], ...] = ()
    key_order: str = sys.byteorder

    @property
    def count(self) -> int:
        return len(self.key) + self.cpus * len(self.value)


class Secret(msgspec.Struct, frozen=True):
    """The keys of one run: `halves` (words, lanes, 2) of 32 bits, `factors` (lanes, 2) odd numbers of 64 bits."""

    halves: tuple[tuple[tuple[int, int], ...], ...]
    factors: tuple[tuple[int, int], ...]

    @staticmethod
    def size(words: Words) -> int:
        """The random bytes that it takes."""
        return 8 * LANES * (words.count + 2)

    @staticmethod
    def of(random: bytes, words: Words) -> Secret:
        factors = np.frombuffer(random[: 16 * LANES], np.uint64).reshape(LANES, 2) | np.uint64(1)
        halves = np.frombuffer(random[16 * LANES :], np.uint32).reshape(words.count, LANES, 2)
        pairs = tuple(tuple((first, second) for first, second in word) for word in halves.tolist())
        return Secret(pairs, tuple((first, second) for first, second in factors.tolist()))


class Digests(msgspec.Struct, frozen=True):
    """The digests of m maps: `sums` (m, lanes), and the number of `entries` (m,) that count."""

    sums: NDArray[np.uint64]
    entries: Index


def words_of(key_size: int, mask: Bytes, cpus: int, *, is_array: bool, is_percpu: bool) -> Words:
    """The words of entries; `mask` is that of a value, of a per-CPU map that of one CPU with its padding."""
    key = pieces(np.full(key_size, 0xFF, np.uint8))
    return Words(key, pieces(mask), cpus, len(mask), is_array, is_percpu)


def pieces(mask: Bytes) -> tuple[Piece, ...]:
    """The loads that cover the bytes of a mask that are not zero, and no other words of 8 bytes where one of them is.

    A field of the kernel's own is no part of a value, and the verifier lets no program read it.
    """
    parts: list[Piece] = []
    at = 0
    while at < len(mask):
        width = 8
        while at % width or at + width > len(mask) or (width > 1 and not mask[at : at + width].all()):
            width //= 2
        bits = int.from_bytes(mask[at : at + width].tobytes(), sys.byteorder)
        if bits:
            parts.append(Piece(at, width, bits))
        at += width
    return tuple(parts)


def digests(table: EntryTable, slots: Index, words: Words, secret: Secret) -> Digests:
    """The digests of slots of a table, as the program computes them of live maps that hold the same."""
    order = slots[np.argsort(table.starts[slots], kind="stable")]
    sums = np.zeros((LANES, table.slots), np.uint64)
    entries = np.zeros(table.slots, np.uint64)
    ends = table.starts + table.counts
    at = 0
    while at < len(order):
        first = int(table.starts[order[at]])
        reached = np.searchsorted(table.starts[order], first + _ROWS, side="left")
        part = order[at : max(int(reached), at + 1)]
        last = int(ends[part].max())
        running, held = _running(table.keys[first:last], table.values[first:last], words, secret)
        low, high = table.starts[part] - first, ends[part] - first
        sums[:, part] = running[:, high] - running[:, low]
        entries[part] = table.counts[part] if held is None else held[high] - held[low]
        at += len(part)
    return Digests(np.ascontiguousarray(sums[:, slots].T), entries[slots].astype(np.int64))


def _running(
    keys: Bytes, values: Bytes, words: Words, secret: Secret
) -> tuple[NDArray[np.uint64], NDArray[np.uint64] | None]:
    """The running sums of the hashes of entries, (lanes, n + 1), and of how many count, (n + 1,); None if all do."""
    count = len(keys)
    running = np.zeros((LANES, count + 1), np.uint64)
    entries = np.zeros(count + 1, np.uint64) if words.is_array else None
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        held = _add_hashes(keys[first:last], values[first:last], words, secret, running[:, first + 1 : last + 1])
        if entries is not None and held is not None:
            entries[first + 1 : last + 1] = held
    np.cumsum(running, axis=1, out=running)
    if entries is not None:
        np.cumsum(entries, out=entries)
    return running, entries


def _add_hashes(
    keys: Bytes, values: Bytes, words: Words, secret: Secret, hashes: NDArray[np.uint64]
) -> NDArray[np.bool_] | None:
    """Put the hash of each entry in both lanes into `hashes`, which is zero: that of a zero in an array stays zero.

    Gives which entries count; None if all do.
    """
    columns = [_column(keys, piece, 0) for piece in words.key]
    parts = [_column(values, piece, cpu * words.stride) for cpu in range(words.cpus) for piece in words.value]
    widths = [piece.width for piece in (*words.key, *words.value * words.cpus)]
    with np.errstate(over="ignore"):
        for column, width, halves in zip((*columns, *parts), widths, secret.halves, strict=True):
            low = column & _LOW if width > 4 else column
            high = column >> np.uint64(32) if width > 4 else None
            for lane in range(LANES):
                first, second = halves[lane]
                product = (low + np.uint64(first)) & _LOW
                product *= np.uint64(second) if high is None else (high + np.uint64(second)) & _LOW
                hashes[lane] += product
        for lane in range(LANES):
            _mix(hashes[lane], secret.factors[lane])
    if not words.is_array:
        return None
    held: NDArray[np.bool_] = np.logical_or.reduce([part != 0 for part in parts], axis=0)
    hashes *= held
    return held


def _mix(hashes: NDArray[np.uint64], factors: tuple[int, int]) -> None:
    """Without it, the sum of hashes would be that of their parts: two entries could swap their values."""
    for shift, factor in zip(SHIFTS, (*factors, None), strict=True):
        hashes ^= hashes >> np.uint64(shift)
        if factor is not None:
            hashes *= np.uint64(factor)


def _column(rows: Bytes, piece: Piece, start: int) -> NDArray[np.uint64]:
    """One piece of each row as a number."""
    offset = start + piece.offset
    taken = np.ascontiguousarray(rows[:, offset : offset + piece.width]).view(f"u{piece.width}").ravel()
    column = taken.astype(np.uint64)
    return column if piece.is_whole else column & np.uint64(piece.mask)
