"""Digests of live maps, computed by a program in the kernel: 16 bytes of each map are read in place of its entries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.digest import LANES, MOST_WORDS, Digests, Secret, Words
from provisioner.bytecode.digest_program import State, digest_program, record_size
from provisioner.kernel import batch, cpus, map_fields, maps, programs, reading
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.rows import ByteTable
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.uapi import MapType

_RECORDS: Final = 8192
"""Maps of one run of the program."""

_ROOM: Final = 1 << 20
"""The room of all maps of one run: without preemption, no other task gets the CPU meanwhile, and this takes 0.1 s."""


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
    return 0 < words.count <= MOST_WORDS and is_plain_order and int(capacities.max(initial=0)) <= _ROOM


def map_digests(
    target: MapFd, keys: ByteTable, capacities: NDArray[np.uint32], words: Words, secret: Secret
) -> MapDigests | None:
    """The digests of the inner maps in the slots `keys` (m, key size) of an outer map; of a plain map, m is 1.

    `capacities` (m,) is about how much room they have. None where this kernel or process takes no program for it.
    """
    is_outer = maps.info(target).shape.is_outer
    size = record_size(keys.shape[1])
    room = min(len(keys), _RECORDS) + 1
    with ExitStack() as opened:
        records = opened.enter_context(maps.create(MapShape(MapType.ARRAY, 4, size, room), "digest"))
        places = map_fields.fields()
        if places is None:
            return None
        code = digest_program(words, secret, places, records.number, target.number, is_outer=is_outer)
        program = programs.load(code, "digest")
        if program is None:
            return None
        opened.enter_context(program)
        asked = np.zeros((len(keys), size), np.uint8)
        asked[:, 0] = State.ASKED
        asked[:, size - rounded_up(keys.shape[1]) :][:, : keys.shape[1]] = keys
        done = [_run(program, records, asked[first:last]) for first, last in _parts(capacities)]
    return _taken(np.concatenate(done))


def _parts(capacities: NDArray[np.uint32]) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of maps for one run each."""
    ends = np.cumsum(capacities.astype(np.int64))
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
    done = words[:, 0] == State.DONE
    sums = records[:, 16 : 16 + 8 * LANES].copy().view(np.uint64)
    ids, room = np.where(done, words[:, 2], 0), np.where(done, words[:, 1], 0)
    return MapDigests(Digests(sums, words[:, 3].astype(np.int64)), ids.astype(np.uint32), room.astype(np.uint32))
