"""Kernel memory that a plan takes and frees. `tests/apply/test_memory.py` compares the formulas with the kernel."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning.footprint import Footprint, entry_bytes, estimate, map_bytes
from tests.planning.build import HASH, OUTER, State, desired, observed
from tests.planning.states import Held, an_object, live, plan_of, record, unattached, wanted

CPUS = 2
LAZY = replace(HASH, map_flags=MapFlag.NO_PREALLOC)


def shape(kind: MapType, key: int = 4, value: int = 8, entries: int = 100, flags: int = 0, extra: int = 0) -> MapShape:
    return MapShape(kind, key, value, entries, MapFlag(flags), extra)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (shape(MapType.ARRAY), 320 + 800),
        (shape(MapType.ARRAY, value=12), 320 + 1600),
        (shape(MapType.ARRAY, flags=MapFlag.MMAPABLE), 320 + 4096 + 4096),
        (shape(MapType.PERCPU_ARRAY), 320 + 100 * (8 + 16)),
        (shape(MapType.HASH), 896 + 128 * 16 + 102 * (48 + 8 + 8)),
        (shape(MapType.HASH, flags=MapFlag.NO_PREALLOC), 896 + 128 * 16),
        (shape(MapType.HASH, entries=1), 896 + 16 + 3 * 64),
        (shape(MapType.PERCPU_HASH), 896 + 128 * 16 + 100 * (48 + 8 + 8 + 16)),
        (shape(MapType.LRU_HASH), 896 + 128 * 16 + 100 * (64 + 8 + 8)),
        (shape(MapType.LPM_TRIE, key=8, flags=MapFlag.NO_PREALLOC), 320),
        (shape(MapType.QUEUE, key=0), 320 + 808),
        (shape(MapType.STACK, key=0), 320 + 808),
        (shape(MapType.BLOOM_FILTER, key=0), 320 + 1024 // 8),
        (shape(MapType.BLOOM_FILTER, key=0, extra=1), 320 + 256 // 8),
        (shape(MapType.RINGBUF, 0, 0, 8192), 320 + 8192 + 3 * 4096 + 4 * 8),
        (shape(MapType.USER_RINGBUF, 0, 0, 8192), 320 + 8192 + 3 * 4096 + 4 * 8),
        (shape(MapType.STACK_TRACE), 320 + 128 * 8 + 100 * 32),
        (shape(MapType.DEVMAP_HASH, value=4), 320 + 128 * 8),
        (shape(MapType.SOCKHASH), 320 + 128 * 16),
        (shape(MapType.ARRAY_OF_MAPS, value=4), 320 + 800),
        (shape(MapType.XSKMAP, value=4), 320 + 800),
    ],
    ids=lambda value: f"{value.map_type.word} {value.max_entries}" if isinstance(value, MapShape) else "",
)
def test_an_empty_map(of: MapShape, expected: int) -> None:
    assert map_bytes(of, CPUS, 0) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (shape(MapType.HASH), 0),
        (shape(MapType.HASH, flags=MapFlag.NO_PREALLOC), 48 + 8 + 8 + 8),
        (shape(MapType.PERCPU_HASH, flags=MapFlag.NO_PREALLOC), 48 + 8 + 8 + 16 + 24),
        (shape(MapType.LPM_TRIE, key=8, flags=MapFlag.NO_PREALLOC), (24 + 4 + 8) * 3 // 2),
        (shape(MapType.DEVMAP_HASH, value=4), 64),
        (shape(MapType.ARRAY), 0),
    ],
)
def test_one_more_entry(of: MapShape, expected: int) -> None:
    assert entry_bytes(of, CPUS) == expected
    assert map_bytes(of, CPUS, 5) - map_bytes(of, CPUS, 2) == 3 * expected


def footprint(state: State, held: State | None, **how: object) -> Footprint:
    map_ = desired(state, **how)  # type: ignore[arg-type]
    maps = {"outer": observed(held, inner=map_.entry_shape)} if held is not None else {}
    return estimate(plan_of(wanted(map_), live(meta=record(), maps=maps), Held({"outer": held or {}})))


def test_a_new_map_with_its_inner_maps() -> None:
    expected = map_bytes(OUTER, CPUS, 0) + 2 * map_bytes(LAZY, CPUS, 0) + 3 * entry_bytes(LAZY, CPUS)
    assert footprint({1: {1: 1, 2: 2}, 2: {3: 3}}, None, inner=LAZY) == Footprint(expected, 0)


def test_inner_maps_of_several_sizes() -> None:
    sizes = {1: 10, 2: 1000}
    expected = map_bytes(OUTER, CPUS, 0) + sum(map_bytes(HASH.with_capacity(size), CPUS, 0) for size in sizes.values())
    assert footprint({1: {}, 2: {}}, None, capacity=sizes) == Footprint(expected, 0)


def test_a_shared_inner_map_is_one_map() -> None:
    once = footprint({1: {5: 5}}, None, inner=LAZY)
    assert footprint({1: {5: 5}, 2: {5: 5}}, None, inner=LAZY, shared={1: 0, 2: 0}) == once


def test_a_new_slot_of_a_live_map_takes_one_inner_map() -> None:
    assert footprint({1: {}, 2: {}}, {1: {}}) == Footprint(map_bytes(HASH, CPUS, 0), 0)


def test_entries_that_are_inserted_in_place() -> None:
    assert footprint({1: {1: 1, 2: 2, 3: 3}}, {1: {1: 1}}, inner=LAZY) == Footprint(2 * entry_bytes(LAZY, CPUS), 0)
    assert footprint({1: {1: 1, 2: 2, 3: 3}}, {1: {1: 1}}) == Footprint(0, 0)


def test_a_slot_that_is_deleted_gives_back_its_map_and_what_was_in_it() -> None:
    gone = map_bytes(LAZY.with_capacity(64), CPUS, 2)
    assert footprint({1: {}}, {1: {}, 2: {1: 1, 2: 2}}, inner=LAZY) == Footprint(0, gone)


def test_a_slot_of_another_size_is_there_twice_for_a_time() -> None:
    expected = Footprint(map_bytes(HASH.with_capacity(99), CPUS, 0), map_bytes(HASH.with_capacity(64), CPUS, 0))
    assert footprint({1: {}}, {1: {}}, capacity={1: 99}) == expected


def test_a_plain_map_with_its_entries() -> None:
    plain = replace(desired({0: {1: 1, 2: 2}}, shape=LAZY, inner=LAZY), outer=None)
    assert estimate(plan_of(wanted(plain), live(meta=record()))).needed == map_bytes(LAZY, CPUS, 2)


def test_a_resized_map_takes_over_its_inner_maps() -> None:
    larger = OUTER.with_capacity(2000)
    assert footprint({1: {}, 2: {}}, {1: {}, 2: {}}, shape=larger).needed == map_bytes(larger, CPUS, 0)


def test_maps_that_an_object_brings() -> None:
    load = an_object(unattached("first"), maps={"hidden": HASH})
    assert estimate(plan_of(wanted(load), live())).needed == map_bytes(HASH, CPUS, 0)
