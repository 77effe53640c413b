"""Digests of live maps, computed by a program in the kernel: 16 bytes of each map are read in place of its entries.

A large array is walked in pieces, a run of the program for each: their sums add up to the digest of the array.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.digest import LANES, MOST_WORDS, Digests, Secret, Words
from provisioner.bytecode.digest_program import RANGE, RecordState, digest_program, record_size
from provisioner.kernel import batch, cpus, map_fields, maps, programs, reading
from provisioner.kernel.arrays import merged
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.rows import ByteTable
from provisioner.kernel.workers import Task, Workers
from provisioner.model.entry_table import Index
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.uapi import MapType

_RECORDS: Final = 8192
"""Maps of one run of the program."""

_ROOM: Final = 1 << 20
"""The room of all maps of one run: without preemption, no other task gets the CPU meanwhile, and this takes 0.1 s."""

_THREADS: Final = 2
_FOR_A_THREAD: Final = 1 << 17
"""Room of maps for which one thread more pays off, of up to _THREADS: about 10 ms, most of it waits for memory."""

_ELEMENTS_FOR_A_THREAD: Final = 1 << 22
"""The same of arrays, whose elements follow each other in memory."""

_BY_RANGES: Final = 1 << 14
"""Elements of an array from which on it is walked by ranges, which kernels before 5.17 do not."""


class MapDigests(msgspec.Struct, frozen=True):
    """The digests of m maps, with the `ids` and `max_entries`, both (m,), of the maps that they are of; 0 for none."""

    digests: Digests
    ids: NDArray[np.uint32]
    max_entries: NDArray[np.uint32]


def new_secret(words: Words) -> Secret:
    """Keys for one run."""
    return Secret.of(os.urandom(Secret.size(words)), words)


def can_digest(words: Words, capacities: NDArray[np.uint32]) -> bool:
    """Whether a program for these entries is short enough, and maps with so much room take it not too long."""
    is_plain_order = not words.is_percpu or cpus.possible() == list(range(words.cpus))
    fits = int(capacities.max(initial=0)) <= _ROOM or _has_ranges(words)
    return 0 < words.count <= MOST_WORDS and is_plain_order and fits


def map_digests(
    target: MapFd, keys: ByteTable, capacities: NDArray[np.uint32], words: Words, secret: Secret
) -> MapDigests | None:
    """The digests of the inner maps in the slots `keys` (m, key size) of an outer map; of a plain map, m is 1.

    `capacities` (m,) is about how much room they have; of an array, elements from there on are not looked at. None
    where this kernel or process takes no program for it.
    """
    by_ranges = _has_ranges(words) and bool(words.owned or int(capacities.max(initial=0)) >= _BY_RANGES)
    pieces = _by_ranges(capacities, words.owned) if by_ranges else _whole(capacities)
    if not len(pieces.owner):
        return None
    places = map_fields.fields()
    if places is None:
        return None
    size = record_size(keys.shape[1])
    asked = np.zeros((len(pieces.owner), size), np.uint8)
    asked[:, 0] = RecordState.ASKED
    asked[:, RANGE] = pieces.ranges.view(np.uint8)
    asked[:, size - rounded_up(keys.shape[1]) :][:, : keys.shape[1]] = keys[pieces.owner]
    is_outer = maps.info(target).shape.is_outer

    def computed(first: int, last: int) -> ByteTable | None:
        """The records from `first` to `last`, by a program and an array of their own."""
        with ExitStack() as opened:
            room = min(last - first, _RECORDS) + 1
            records = opened.enter_context(maps.create(MapShape(MapType.ARRAY, 4, size, room), "digest"))
            code = digest_program(
                words, secret, places, records.number, target.number, is_outer=is_outer, by_ranges=by_ranges
            )
            program = programs.load(code, "digest")
            if program is None:
                return None
            opened.enter_context(program)
            parts = _parts(pieces.sizes[first:last])
            return np.concatenate([_run(program, records, asked[first + at : first + end]) for at, end in parts])

    done = _by_threads(computed, pieces.sizes, _ELEMENTS_FOR_A_THREAD if words.is_array else _FOR_A_THREAD)
    whole = [part for part in done if part is not None]
    return _joined(_taken(np.concatenate(whole)), pieces.owner, len(keys)) if len(whole) == len(done) else None


def _by_threads(computed: Callable[[int, int], ByteTable | None], sizes: Index, enough: int) -> list[ByteTable | None]:
    """All records, by as many threads as pay off: each has about as much to walk."""
    total, ends = int(sizes.sum()), np.cumsum(sizes)
    count = min(_THREADS, 1 + total // enough)
    bounds = [0, *(int(np.searchsorted(ends, total * part // count)) for part in range(1, count)), len(sizes)]
    tasks = [Task(partial(computed, *pair)) for pair in pairwise(bounds) if pair[0] < pair[1]]
    with Workers(len(tasks) - 1) as workers:
        try:
            for task in tasks[1:]:
                workers.submit(task)
            return [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()


class _Pieces(msgspec.Struct, frozen=True):
    """What the records are of: the numbers of their maps, ascending, the ranges (n, 2) of indexes, and their sizes."""

    owner: Index
    ranges: NDArray[np.uint32]
    sizes: Index


def _has_ranges(words: Words) -> bool:
    return words.is_array and not words.is_percpu


def _whole(capacities: NDArray[np.uint32]) -> _Pieces:
    count = len(capacities)
    return _Pieces(np.arange(count), np.zeros((count, 2), np.uint32), capacities.astype(np.int64))


def _by_ranges(capacities: NDArray[np.uint32], owned: Sequence[tuple[int, int]]) -> _Pieces:
    """Ranges of at most _ROOM elements that cover each array, or what is owned of it."""
    pieces = [
        (number, start, min(start + _ROOM, end))
        for number, capacity in enumerate(capacities.tolist())
        for first, last in merged(owned or ((0, capacity - 1),), capacity)
        for start, end in ((at, last) for at in range(first, last, _ROOM))
    ]
    table = np.array(pieces, np.int64).reshape(-1, 3)
    return _Pieces(table[:, 0], table[:, 1:].astype(np.uint32), table[:, 2] - table[:, 1])


def _joined(each: MapDigests, owner: Index, count: int) -> MapDigests:
    """The digests of maps from those of their pieces; a map that was replaced in between has none."""
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    if len(firsts) == len(owner) == count:
        return each
    joined = MapDigests(
        Digests(np.zeros((count, LANES), np.uint64), np.zeros(count, np.int64)),
        np.zeros(count, np.uint32),
        np.zeros(count, np.uint32),
    )
    numbers, ids = owner[firsts], each.ids[firsts]
    joined.digests.sums[numbers] = np.add.reduceat(each.digests.sums, firsts, axis=0)
    joined.digests.entries[numbers] = np.add.reduceat(each.digests.entries, firsts)
    joined.ids[numbers] = np.where(
        np.maximum.reduceat(each.ids, firsts) == np.minimum.reduceat(each.ids, firsts), ids, 0
    )
    joined.max_entries[numbers] = each.max_entries[firsts]
    return joined


def _parts(sizes: Index) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of records for one run each."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(ends):
        base = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, base + _ROOM, side="right"))
        last = min(max(last, first + 1), first + _RECORDS)
        yield first, last
        first = last


def _run(program: ProgramFd, records: MapFd, asked: ByteTable) -> ByteTable:
    """Run the program for some records; what it makes of them."""
    index = np.arange(len(asked) + 1, dtype=np.uint32)
    batch.write_batch(records, index, np.concatenate((asked, np.zeros_like(asked[:1]))), name="digest")
    programs.run(program)
    return reading.read_first(records, len(asked), asked.shape[1])


def _taken(records: ByteTable) -> MapDigests:
    words = records[:, :16].copy().view(np.uint32)
    done = words[:, 0] == RecordState.DONE
    sums = records[:, 16 : 16 + 8 * LANES].copy().view(np.uint64)
    ids, room = np.where(done, words[:, 2], 0), np.where(done, words[:, 1], 0)
    return MapDigests(Digests(sums, words[:, 3].astype(np.int64)), ids.astype(np.uint32), room.astype(np.uint32))
