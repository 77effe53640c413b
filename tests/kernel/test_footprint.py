"""What maps are estimated to take, held against what the kernel says of real ones (`memlock` in fdinfo)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from provisioner.kernel import maps
from provisioner.kernel.host import possible_cpus
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import INNER_TYPES, MapFlag, MapType
from provisioner.planning.footprint import map_bytes
from tests.features import counted, kernel_has, need_counted_memory

FACTOR: Final = 1.6
"""How far an estimate may be off, either way."""

SMALL: Final = 1024
"""Bytes that are not worth a dispute: what a small map costs beside its entries differs from kernel to kernel."""

NO_PREALLOC: Final = MapFlag.NO_PREALLOC
HASHES: Final = (
    (MapType.HASH, MapFlag(0)),
    (MapType.PERCPU_HASH, MapFlag(0)),
    (MapType.LRU_HASH, MapFlag(0)),
    (MapType.LRU_HASH, MapFlag.NO_COMMON_LRU),
    (MapType.LRU_PERCPU_HASH, MapFlag(0)),
    (MapType.HASH, NO_PREALLOC),
    (MapType.PERCPU_HASH, NO_PREALLOC),
)
U32_ARRAYS: Final = ("PERF_EVENT_ARRAY", "CGROUP_ARRAY", "SOCKMAP", "XSKMAP", "DEVMAP", "DEVMAP_HASH", "SOCKHASH")


def shapes() -> Iterator[MapShape]:
    """All types that may be inner ones and hold entries, but the local storages, in several sizes."""
    for room in (1, 16, 1000, 20000):
        for key, value in ((4, 4), (20, 100)):
            yield from (MapShape(kind, key, value, room, flags) for kind, flags in HASHES)
        for value in (1, 12, 1000):
            yield MapShape(MapType.ARRAY, 4, value, room)
            yield MapShape(MapType.PERCPU_ARRAY, 4, value, room)
            yield from (MapShape(kind, 0, value, room) for kind in (MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER))
        yield from (MapShape(MapType.ARRAY, 4, 12, room, flag) for flag in (MapFlag.MMAPABLE, MapFlag.INNER_MAP))
        yield from (MapShape(MapType[name], 4, 4, room) for name in U32_ARRAYS)
        yield MapShape(MapType.REUSEPORT_SOCKARRAY, 4, 8, room)
        yield MapShape(MapType.STACK_TRACE, 4, 80, room)
        yield MapShape(MapType.LPM_TRIE, 8, 4, room, NO_PREALLOC)
    yield MapShape(MapType.CPUMAP, 4, 4, 2)
    yield from (MapShape(MapType.RINGBUF, 0, 0, room) for room in (4096, 1 << 20))
    yield MapShape(MapType.USER_RINGBUF, 0, 0, 1 << 16)


def is_near(estimated: int, live: int) -> bool:
    return live / FACTOR - SMALL <= estimated <= live * FACTOR + SMALL


def test_every_type_is_measured() -> None:
    storages = {MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE, MapType.ARENA}
    assert {shape.map_type for shape in shapes()} == INNER_TYPES - storages


@pytest.mark.usefixtures("kernel")
def test_an_empty_map_takes_what_was_estimated() -> None:
    need_counted_memory()
    cpus = possible_cpus()
    wrong = []
    for shape in shapes():
        if not kernel_has(shape.map_type):
            continue
        with maps.create(shape) as fd:
            live, estimated = counted(fd), map_bytes(shape, cpus, 0)
        if not is_near(estimated, live):
            wrong.append(f"{shape}: {live} live, {estimated} estimated")
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("outer", [MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS])
def test_an_outer_map_takes_what_was_estimated(outer: MapType) -> None:
    need_counted_memory()
    shape = MapShape(outer, 4, 4, 5000)
    with maps.create(MapShape(MapType.ARRAY, 4, 4, 1)) as inner, maps.create(shape, inner=inner) as fd:
        assert is_near(map_bytes(shape, possible_cpus(), 0), counted(fd))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    "shape",
    [
        MapShape(MapType.HASH, 4, 4, 5000, NO_PREALLOC),
        MapShape(MapType.HASH, 20, 100, 5000, NO_PREALLOC),
        MapShape(MapType.PERCPU_HASH, 4, 8, 5000, NO_PREALLOC),
        MapShape(MapType.LPM_TRIE, 8, 4, 5000, NO_PREALLOC),
        MapShape(MapType.LPM_TRIE, 20, 60, 5000, NO_PREALLOC),
    ],
    ids=str,
)
def test_entries_take_what_was_estimated(shape: MapShape) -> None:
    """Where they are not there from the start."""
    need_counted_memory()
    bits = ((shape.key_size - 4) * 8).to_bytes(4, "little") if shape.map_type is MapType.LPM_TRIE else b""
    value = bytes(shape.value_size * (possible_cpus() if shape.is_percpu else 1))
    with maps.create(shape) as fd:
        empty = counted(fd)
        for number in range(4000):
            maps.update(fd, bits + number.to_bytes(shape.key_size - len(bits), "big"), value)
        live = counted(fd)
        assert live > empty
        assert is_near(map_bytes(shape, possible_cpus(), 4000), live)
