"""Desired and observed maps out of dictionaries, for tests that need no YAML and no kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from provisioner.codec.build import integer
from provisioner.model import entry_table
from provisioner.model.desired import CONTENTS, DesiredMap, DesiredSlots, OuterPolicy, Sources
from provisioner.model.entry_table import EntryTable
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedBlock, ObservedMap, ObservedSlots
from provisioner.model.spec import ChangeLimits, Contents, ExtraInnerMaps, OnReplace, Update
from provisioner.model.uapi import MapType

HERE = Location("spec.yaml", 1, 1)
U32 = integer("u32", "little")
U64 = integer("u64", "little")
assert U32 is not None
assert U64 is not None

State = Mapping[int, Mapping[int, int]]
"""Outer key -> key -> value."""

OUTER = MapShape(MapType.HASH_OF_MAPS, 4, 4, 1000)
HASH = MapShape(MapType.HASH, 4, 8, 64)
ARRAY = MapShape(MapType.ARRAY, 4, 8, 64)


def table(state: State) -> EntryTable:
    """Slots in the order of the mapping; rows as encode makes them."""
    counts = np.array([len(entries) for entries in state.values()], np.int64)
    slot = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    keys = np.array([key for entries in state.values() for key in entries], "<u4").view(np.uint8).reshape(-1, 4)
    values = (
        np.array([value for entries in state.values() for value in entries.values()], "<u8")
        .view(np.uint8)
        .reshape(-1, 8)
    )
    order = entry_table.sort_by_slot(slot, keys)
    return EntryTable(np.cumsum(counts) - counts, counts, keys[order], values[order])


def outer_keys(state: State) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.array(list(state), "<u4").view(np.uint8).reshape(-1, 4)


def desired(
    state: State,
    *,
    shape: MapShape = OUTER,
    inner: MapShape = HASH,
    contents: Contents = Contents.EXACT,
    extra: ExtraInnerMaps = ExtraInnerMaps.DELETE,
    update: Update = Update.AUTO,
    capacity: Mapping[int, int] | None = None,
    shared: Mapping[int, int] | None = None,
    limits: ChangeLimits | None = None,
    name: str = "outer",
    after: tuple[str, ...] = (),
    prevent_destroy: bool = False,
    owned: tuple[tuple[int, int], ...] = (),
    owned_slots: tuple[tuple[int, int], ...] = (),
    on_replace: OnReplace | None = None,
    adopted: str | None = None,
) -> DesiredMap:
    assert U32 is not None
    assert U64 is not None
    state = dict(sorted(state.items()))
    entries = table(state)
    slots = DesiredSlots(
        outer_keys(state),
        np.array([(capacity or {}).get(key, inner.max_entries) for key in state], np.uint32),
        np.full(len(state), CONTENTS.index(contents), np.uint8),
        np.array([(shared or {}).get(key, -1) for key in state], np.int32),
        tuple(HERE for _ in state),
    )
    rows = len(entries.keys)
    return DesiredMap(
        name=name,
        shape=shape,
        entry_shape=inner,
        outer=OuterPolicy(U32, "inner", extra, (), owned_slots),
        object=None,
        adopted=adopted,
        key=U32,
        value=U64,
        slots=slots,
        entries=entries,
        sources=Sources(("spec.yaml",), np.zeros(rows, np.uint16), np.ones(rows, np.uint32)),
        update=update,
        on_replace=on_replace,
        owned=owned,
        limits=limits,
        prevent_destroy=prevent_destroy,
        after=after,
        where=HERE,
    )


def observed(
    state: State, *, shape: MapShape = OUTER, inner: MapShape | None = HASH, ids: Mapping[int, int] | None = None
) -> ObservedMap:
    state = dict(sorted(state.items()))
    numbers = [(ids or {}).get(key, 1000 + key) for key in state]
    return ObservedMap(7, shape, inner, ObservedSlots(outer_keys(state), np.array(numbers, np.uint32)))


def blocks(state: State, size: int = 3, capacity: int = 64, shape: MapShape = HASH) -> Iterator[ObservedBlock]:
    """The entries as the reader would give them: a few slots a block, hash order within, no zeros of arrays."""
    ordered = [state[key] for key in sorted(state)]
    for first in range(0, len(ordered), size):
        part = ordered[first : first + size]
        held = [
            {key: value for key, value in reversed(list(entries.items())) if value or not shape.is_array}
            for entries in part
        ]
        live = table(dict(enumerate(held)))
        yield ObservedBlock(first, first + len(part), np.full(len(part), capacity, np.uint32), live)
