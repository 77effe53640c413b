"""Live maps compared by digests: only of maps that differ from what is desired, the entries are read.

Where the spec owns only the entries that it lists, these are looked up: it does not matter what else is in the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.bytecode.digest import TYPES, Secret, Words, digests, words_of
from provisioner.bytecode.lookup_program import TYPES as LOOKED_UP
from provisioner.bytecode.lookup_program import LookupRecord
from provisioner.kernel import programs
from provisioner.kernel.digests import MapDigests, can_digest, new_secret
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.workers import Task, Workers
from provisioner.model import entry_table
from provisioner.model.desired import EXACT, PRESENT, DesiredMap, DesiredState
from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.map_shape import rounded_up
from provisioner.model.observed import ObservedBlock, ObservedMap
from provisioner.model.spec import OnReplace
from provisioner.model.types import Bytes
from provisioner.model.uapi import LRU_TYPES
from provisioner.observed.asked import AskedSource
from provisioner.observed.observe import LiveReader, runs
from provisioner.observed.sources import Depth

_FEWEST: Final = 20_000
"""Entries of one map from which on digests are faster."""

_READ_MEANWHILE: Final = 8
"""Entries that batches read in the time in which a system call looks one up, at least."""

_NOTHING: Final = np.zeros(0, np.int64)


class DigestReader(LiveReader):
    """The live maps of this host, as `LiveReader` reads them, except for what digests show to be as desired."""

    def __init__(self, desired: DesiredState) -> None:
        self._live = AskedSource(desired)
        super().__init__(desired, self._live)

    def blocks(self, desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
        depth = depth.copy()
        numbers, slots = comparable(desired, live, depth)
        if programs.is_worth_it(_elements(desired, slots), _FEWEST):
            same, blocks = self._same(desired, live, numbers, slots)
            depth[same] = Depth.NOTHING
            self._read(len(same))
            yield from blocks
        numbers, slots = listed(desired, live, depth)
        if desired.entry_shape.map_type in LRU_TYPES:
            self._live.asked = dict(self._asked(desired, live, numbers, slots))
        elif programs.is_worth_it(int(desired.slots.max_entries[slots].astype(np.int64).sum()), _FEWEST):
            same, held = self._present(desired, live, numbers, slots)
            depth[same] = Depth.NOTHING
            shapes = np.full(len(depth), Depth.NOTHING, np.uint8)
            shapes[same] = Depth.SHAPE
            for block in super().blocks(desired, live, shapes):
                yield replace(block, same=held[block.first : block.last])
        try:
            yield from super().blocks(desired, live, depth)
        finally:
            self._live.asked = {}  # whoever reads the map for another reason reads all of it

    def _asked(
        self, desired: DesiredMap, live: ObservedMap, numbers: Index, slots: Index
    ) -> Iterator[tuple[tuple[str, int | None], Bytes]]:
        """The keys to look up by system calls, of slots that list few entries."""
        path = str(self.pin_of(desired))
        ids = live.slots.inner_ids[numbers].tolist()
        for slot, number in zip(slots.tolist(), ids, strict=True):
            keys, _ = desired.entries.slot(slot)
            if _READ_MEANWHILE * len(keys) <= desired.slots.max_entries[slot]:
                yield (path, number if desired.outer is not None else None), keys

    def _present(self, desired: DesiredMap, live: ObservedMap, numbers: Index, slots: Index) -> tuple[Index, Index]:
        """The live slots that hold what is listed, and how many entries that is of each live slot."""
        table, shape, mask = desired.entries, desired.entry_shape, desired.value.owned.mask()
        counts = table.counts[slots]
        rows = entry_table.slices(table.starts[slots], counts)
        owner = np.repeat(np.arange(len(slots), dtype=np.int64), counts)
        held = np.zeros(len(live.slots.inner_ids), np.int64)
        record = LookupRecord(live.slots.keys.shape[1], shape.key_size, shape.value_size)
        outer_keys = live.slots.keys[numbers][owner]
        try:
            seen = self._live.looked_up(self.pin_of(desired), record, outer_keys, table.keys[rows])
        except KernelError:  # whatever it is: the entries are read then
            seen = None
        if seen is None:
            return numbers[:0], held
        wanted = table.values[rows] & mask
        equal = seen.there & ~entry_table.is_nonzero((seen.values & mask) ^ wanted)
        equal &= seen.ids == live.slots.inner_ids[numbers][owner]
        counted = entry_table.is_nonzero(wanted) if shape.is_array else equal  # what is zero is no entry of an array
        held[numbers] = np.bincount(owner[counted & equal], minlength=len(numbers))
        differs = np.bincount(owner[~equal], minlength=len(numbers)) > 0
        return numbers[~differs], held

    def _same(
        self, desired: DesiredMap, live: ObservedMap, numbers: Index, slots: Index
    ) -> tuple[Index, list[ObservedBlock]]:
        """The live slots that hold what is desired, and the blocks that say so; none where there are no digests."""
        words = words_of_map(desired)
        capacities = desired.slots.max_entries[slots]
        if not can_digest(words, capacities):
            return _NOTHING, []
        secret, path = new_secret(words), self.pin_of(desired)
        keys = np.ascontiguousarray(live.slots.keys[numbers])
        # The kernel and NumPy at the same time. NumPy leaves the interpreter's lock for moments only, too short for
        # another thread to begin a system call in.
        with Workers(1) as workers:
            task = Task(lambda: digests(desired.entries, slots, words, secret))
            try:
                workers.submit(task)
                computed = self._digests(path, keys, capacities, words, secret)
                wanted = task.result()
            finally:
                task.cancel()
        if computed is None:
            return _NOTHING, []
        others = computed.digests.entries - wanted.entries
        same = np.logical_and.reduce(wanted.sums == computed.digests.sums, axis=1)
        same &= computed.ids == live.slots.inner_ids[numbers]
        if desired.entry_shape.is_array:  # of a larger one, not all elements were looked at
            same &= (others == 0) & (computed.max_entries == capacities)
        else:
            same &= others >= 0 if desired.owned else others == 0
        columns = wanted.entries[same], others[same], computed.max_entries[same]
        return numbers[same], list(_blocks(desired, numbers[same], *columns))

    def _digests(
        self, path: PurePath, keys: Bytes, capacities: NDArray[np.uint32], words: Words, secret: Secret
    ) -> MapDigests | None:
        """The digests of the kernel. Whatever keeps it from them: the entries are read then."""
        try:
            return self._live.digests(path, keys, capacities, words, secret)
        except KernelError:
            return None


def comparable(desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> tuple[Index, Index]:
    """The live and the desired slots, pair by pair, that a digest can compare: their contents are all the spec's."""
    if desired.entry_shape.map_type not in TYPES or (desired.owned and not _has_ranges(desired)):
        return _NOTHING, _NOTHING
    return _pairs(desired, live, depth, EXACT)


def listed(desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> tuple[Index, Index]:
    """The same for slots in which only what is listed is the spec's, and which are not copied with the rest."""
    shape, value = desired.entry_shape, desired.value
    if shape.map_type not in LOOKED_UP | LRU_TYPES or desired.on_replace is OnReplace.COPY:
        return _NOTHING, _NOTHING
    if shape.is_array and value.owns_part:  # an element can be zero in what is ours, and not in the rest
        return _NOTHING, _NOTHING
    return _pairs(desired, live, depth, PRESENT)


def _pairs(desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8], contents: int) -> tuple[Index, Index]:
    """The live and the desired slots with such contents whose entries are to be compared."""
    shape, has = desired.entry_shape, live.entry_shape
    if has is None:
        return _NOTHING, _NOTHING
    if (has.map_type, has.key_size, has.value_size) != (shape.map_type, shape.key_size, shape.value_size):
        return _NOTHING, _NOTHING
    pairs = entry_table.match_keys(desired.slots.keys, live.slots.keys)
    chosen = desired.slots.contents[pairs.both_left] == contents
    chosen &= depth[pairs.both_right] == Depth.ENTRIES
    order = np.argsort(pairs.both_right[chosen], kind="stable")
    return pairs.both_right[chosen][order], pairs.both_left[chosen][order]


def _elements(desired: DesiredMap, slots: Index) -> int:
    """The entries that a comparison without digests reads; an array has all of its elements."""
    column = desired.slots.max_entries if desired.entry_shape.is_array and not desired.owned else desired.entries.counts
    return int(column[slots].astype(np.int64).sum())


def words_of_map(desired: DesiredMap) -> Words:
    shape, mask = desired.entry_shape, desired.value.owned.mask()
    cpus = 1
    if shape.is_percpu:
        stride = rounded_up(shape.value_size)
        cpus, mask = len(mask) // stride, mask[:stride]
    words = words_of(shape.key_size, mask, cpus, is_array=shape.is_array, is_percpu=shape.is_percpu)
    return replace(words, owned=desired.owned, key_order=desired.key.number_order or words.key_order)


def _has_ranges(desired: DesiredMap) -> bool:
    """Whether a program can distinguish what is ours: indexes that it walks, or numbers that it loads at once.

    Of an array that is copied, the elements besides count, too.
    """
    shape = desired.entry_shape
    if shape.is_array:
        return not shape.is_percpu and desired.on_replace is not OnReplace.COPY
    return desired.key.number_order is not None and desired.key.size in (1, 2, 4, 8)


def _blocks(
    desired: DesiredMap, numbers: Index, entries: Index, others: Index, max_entries: NDArray[np.uint32]
) -> Iterator[ObservedBlock]:
    """A block for each run of slots that hold what is desired."""
    at = 0
    for first, last in runs(numbers.tolist()):
        part = slice(at, at + last - first)
        nothing = EntryTable.empty(last - first, desired.key.size, desired.value.size)
        yield ObservedBlock(first, last, max_entries[part], nothing, entries[part], others[part])
        at += last - first
