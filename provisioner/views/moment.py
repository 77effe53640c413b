"""The live state at one moment: each inner map is read once, for the comparison and for what is shown.

A comparison asks for no more than it needs, such as the capacity of a map whose contents are the data plane's. A view
shows these contents too. So each slot is read at the greater depth, and the comparison sees only what it asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from provisioner.model.address import Place
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.entry_table import EntryTable
from provisioner.model.observed import ObservedBlock, ObservedMap
from provisioner.model.types import Bytes
from provisioner.observed import observe
from provisioner.observed.sources import Depth, Ranges, Source


class Moment(observe.LiveReader):
    """Reads the blocks of a comparison, and keeps them. With a place, only its slot is read at full depth."""

    def __init__(self, desired: DesiredState, place: Place | None = None, source: Source | None = None) -> None:
        super().__init__(desired, source)
        self._place = place
        self._blocks: dict[str, list[ObservedBlock]] = {}
        self._depths: dict[str, NDArray[np.uint8]] = {}

    def blocks(self, desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
        """The blocks of a map, as deep as `depth`, shape (slots,)."""
        known = self._depths.get(desired.name)
        if known is None or (depth > known).any():
            deep = self._depths[desired.name] = np.maximum(depth, self._shown(desired, live))
            self._blocks[desired.name] = list(super().blocks(desired, live, deep))
        for block in self._blocks[desired.name]:
            yield from _hidden(block, depth[block.first : block.last])

    def ranges(self, desired: DesiredMap) -> Ranges | None:
        """Of an array that is shown, all of it, or the one element of the address."""
        if not desired.entry_shape.is_array or (self._place is not None and self._place.map.name != desired.name):
            return super().ranges(desired)
        if self._place is None or self._place.entry is None:
            return ()
        index = int.from_bytes(self._place.entry.tobytes(), desired.key.number_order or "little")
        return ((index, index),)

    def slot(self, name: str, number: int) -> tuple[Bytes, Bytes]:
        """Live keys and values of a slot by its number in the observed map; zeros of arrays are left out."""
        for block in self._blocks[name]:
            if block.first <= number < block.last:
                return block.entries.slot(number - block.first)
        raise LookupError(f"{name}: slot {number} was not read")

    def capacity(self, name: str, number: int) -> int:
        """`max_entries` of a slot; 0 if its inner map vanished while it was read."""
        for block in self._blocks[name]:
            if block.first <= number < block.last:
                return int(block.max_entries[number - block.first])
        raise LookupError(f"{name}: slot {number} was not read")

    def entries(self, name: str) -> int:
        """The number of live entries that were read of a map, without zeros of arrays."""
        return sum(int(block.entries.counts.sum()) for block in self._blocks.get(name, ()))

    def _shown(self, desired: DesiredMap, live: ObservedMap) -> NDArray[np.uint8]:
        """How deep each slot is read for what is shown."""
        depth = np.full(len(live.slots.inner_ids), Depth.NOTHING, np.uint8)
        deep = Depth.ENTRIES if desired.entry_shape.is_listable else Depth.SHAPE
        if self._place is None:
            depth[:] = deep
        elif self._place.map.name == desired.name:
            slot = self._place.slot
            depth[slice(None) if slot is None else (live.slots.keys == slot).all(axis=1)] = deep
        return depth


def _hidden(block: ObservedBlock, wanted: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
    """A block without the slots and the entries that were not wanted."""
    counts = np.where(wanted == Depth.ENTRIES, block.entries.counts, 0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted != Depth.NOTHING, [False])).astype(np.int8)))
    for start, end in edges.reshape(-1, 2).tolist():
        entries = EntryTable(
            block.entries.starts[start:end], counts[start:end], block.entries.keys, block.entries.values
        )
        yield ObservedBlock(block.first + start, block.first + end, block.max_entries[start:end], entries)
