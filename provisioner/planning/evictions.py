"""LRU maps that are listed nearly full: the kernel evicts entries before `max_entries` is reached. Pure.

A common LRU hands free elements to each CPU in batches. A CPU whose batch is used up takes the next one from the shared
list, and where that has too few, entries are evicted to fill the batch (bpf_lru_list_pop_free_to_local). A batch has
128 elements; since d4adf1c9ee77 it has fewer in small maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from provisioner.model import entry_table
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import LRU_TYPES, MapFlag
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.hazards import Hazard, Refusal, Severity

BATCH: Final = 128
"""LOCAL_FREE_TARGET: free elements that a CPU takes at once."""


def kept_for_certain(shape: MapShape, possible_cpus: int) -> int:
    """The entries that fit in without an eviction, whichever CPUs write them."""
    if shape.map_flags & MapFlag.NO_COMMON_LRU:
        return shape.max_entries // possible_cpus
    unused = _batch(shape.max_entries, possible_cpus) - 1
    return max(1, shape.max_entries - possible_cpus * unused)


def kept_at_most(shape: MapShape, possible_cpus: int) -> int:
    """The entries that fit in without an eviction at best: with one CPU that writes, on any kernel."""
    if shape.map_flags & MapFlag.NO_COMMON_LRU:
        return shape.max_entries
    batches = (min(BATCH, shape.max_entries), _batch(shape.max_entries, possible_cpus))
    return max(shape.max_entries // batch * batch for batch in batches)


def _batch(max_entries: int, possible_cpus: int) -> int:
    return min(BATCH, max(1, max_entries // possible_cpus // 2))


def hazards(maps: Iterable[MapChange], possible_cpus: int) -> Iterator[Hazard]:
    """Maps whose listed entries may not all stay, each with the first such slot."""
    for change in maps:
        for row, listed, shape in _listed(change):
            kept = kept_for_certain(shape, possible_cpus)
            if kept < listed <= kept_at_most(shape, possible_cpus):
                what = (
                    f"the kernel may evict some of the {listed:,} listed entries: an LRU map with max_entries "
                    f"{shape.max_entries:,} keeps {kept:,} in any case"
                )
                yield Hazard("lru-eviction", Severity.DANGER, change.slot_address(row), what)
                break


def refusals(maps: Iterable[MapChange], possible_cpus: int) -> Iterator[Refusal]:
    """Maps that cannot hold all listed entries, each with the first such slot."""
    for change in maps:
        for row, listed, shape in _listed(change):
            kept = kept_at_most(shape, possible_cpus)
            if listed > kept:
                what = (
                    f"the kernel evicts some of the {listed:,} listed entries: an LRU map with max_entries "
                    f"{shape.max_entries:,} keeps {kept:,} at most"
                )
                hint = f"write `max_entries: {listed + possible_cpus * BATCH}`, or list fewer entries"
                place = change.desired.slots.places[change.slots.desired[row]]
                yield Refusal("lru-eviction", change.slot_address(row), what, "", place, hint)
                break


def _listed(change: MapChange) -> Iterator[tuple[int, int, MapShape]]:
    """Rows of slots to which entries are written, with the number of entries listed and the shape of the map."""
    desired, slots = change.desired, change.slots
    if desired.entry_shape.map_type not in LRU_TYPES:
        return
    counts = entry_table.take(desired.entries.counts, slots.desired, 0)
    written = slots.is_any(Action.CREATE, Action.REPLACE) | (slots.inserts > 0)
    for row in np.flatnonzero(written & (counts > 0)).tolist():
        capacity = int(desired.slots.max_entries[slots.desired[row]])
        yield row, int(counts[row]), desired.entry_shape.with_capacity(capacity)
