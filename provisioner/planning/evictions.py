"""LRU maps that are filled nearly full: the kernel evicts entries before `max_entries` is reached. Pure.

A common LRU hands free elements to each CPU in batches. A CPU whose batch is used up takes the next one from the shared
list, and where that has too few, entries are evicted to fill the batch (bpf_lru_list_pop_free_to_local). A batch has
128 elements; since d4adf1c9ee77 it has fewer in small maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np

from provisioner.model import entry_table
from provisioner.model.map_shape import MapShape
from provisioner.model.spec import OnReplace
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


class _Filled(msgspec.Struct, frozen=True):
    """A slot to which entries are written: `listed` by the spec, or `copied` from the map that it replaces.

    `stay` says that the copied entries were safe in that map: it was no LRU.
    """

    row: int
    shape: MapShape
    listed: int
    copied: int
    stay: bool

    @property
    def kept(self) -> int:
        """The entries that the kernel should keep, those of an LRU map apart."""
        return self.listed + (self.copied if self.stay else 0)

    @property
    def words(self) -> str:
        """`the 12 listed entries`, for a message."""
        if not self.copied:
            return f"the {self.listed:,} listed entries"
        return f"{self.listed + self.copied:,} entries ({self.listed:,} listed, {self.copied:,} copied)"


def hazards(maps: Iterable[MapChange], possible_cpus: int) -> Iterator[Hazard]:
    """Maps whose listed or copied entries may not all stay, each with the first such slot."""
    for change in maps:
        for each in _filled(change):
            kept = kept_for_certain(each.shape, possible_cpus)
            if kept < each.listed + each.copied and each.kept <= kept_at_most(each.shape, possible_cpus):
                what = (
                    f"the kernel may evict some of {each.words}: an LRU map with max_entries "
                    f"{each.shape.max_entries:,} keeps {kept:,} in any case"
                )
                severity = Severity.DANGER if kept < each.kept else Severity.NOTICE
                yield Hazard("lru-eviction", severity, change.slot_address(each.row), what)
                break


def refusals(maps: Iterable[MapChange], possible_cpus: int) -> Iterator[Refusal]:
    """Maps that cannot hold all listed entries, and those copied from no LRU, each with the first such slot."""
    for change in maps:
        for each in _filled(change):
            kept = kept_at_most(each.shape, possible_cpus)
            if each.kept > kept:
                what = (
                    f"the kernel evicts some of {each.words}: an LRU map with max_entries "
                    f"{each.shape.max_entries:,} keeps {kept:,} at most"
                )
                fewer = "list fewer entries" if not each.copied else "delete entries"
                hint = f"write `max_entries: {each.listed + each.copied + possible_cpus * BATCH}`, or {fewer}"
                place = change.desired.slots.places[change.slots.desired[each.row]]
                yield Refusal("lru-eviction", change.slot_address(each.row), what, "", place, hint)
                break


def _filled(change: MapChange) -> Iterator[_Filled]:
    """The slots of an LRU map to which entries are written."""
    desired, slots, observed = change.desired, change.slots, change.observed
    if desired.entry_shape.map_type not in LRU_TYPES:
        return
    counts = entry_table.take(desired.entries.counts, slots.desired, 0)
    written = slots.is_any(Action.CREATE, Action.REPLACE) | (slots.inserts > 0)
    copied = np.where(slots.action == Action.REPLACE, slots.others, 0)
    if desired.on_replace is not OnReplace.COPY:
        copied[:] = 0
    before = observed.entry_shape if observed is not None else None
    stay = before is not None and before.map_type not in LRU_TYPES
    for row in np.flatnonzero(written & (counts + copied > 0)).tolist():
        capacity = int(desired.slots.max_entries[slots.desired[row]])
        shape = desired.entry_shape.with_capacity(capacity)
        yield _Filled(row, shape, int(counts[row]), int(copied[row]), stay)
