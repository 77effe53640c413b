"""Many inner maps read in one go hold what each of them holds when it is read alone."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from provisioner.kernel import batch, inner_maps, maps
from provisioner.kernel.batch import Batching
from provisioner.kernel.fd import MapFd
from provisioner.kernel.host import possible_cpus
from provisioner.kernel.inner_maps import InnerMaps, read_inner_maps
from provisioner.kernel.reading import read_entries, value_stride
from provisioner.kernel.reasons import KernelError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests.kernel.shapes import ARRAY, HASH, LPM, LRU, PERCPU_ARRAY, PERCPU_HASH
from tests.kernel.test_batch import WAYS, as_pairs, keys_for
from tests.problems import raises

CPUS = possible_cpus()
SHAPES = [HASH, ARRAY, LPM, LRU, PERCPU_HASH, PERCPU_ARRAY]
LARGER = 3000


@pytest.fixture
def open_maps() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def fill(shape: MapShape, count: int, stack: ExitStack) -> MapFd:
    """A map with `count` entries."""
    fd = stack.enter_context(maps.create(shape))
    values = np.random.default_rng(count).integers(0, 256, (count, value_stride(shape, CPUS)), dtype=np.uint8)
    batch.write_batch(fd, keys_for(shape, count), values)
    return fd


def read(fds: list[MapFd], shape: MapShape, rows: int = 64_000, way: Batching = WAYS["batch"]) -> list[InnerMaps]:
    """All of them, part by part."""
    ids = [maps.info(fd).id for fd in fds]
    parts = []
    while ids:
        parts.append(read_inner_maps(ids, [True] * len(ids), shape, CPUS, rows, batching=way))
        assert len(parts[-1].counts) > 0
        ids = ids[len(parts[-1].counts) :]
    return parts


def as_entries(parts: list[InnerMaps]) -> list[tuple[int, dict[bytes, bytes]]]:
    """(max_entries, entries) of each map."""
    maps_ = []
    for part in parts:
        ends = np.cumsum(part.counts)
        for capacity, end, count in zip(part.max_entries.tolist(), ends.tolist(), part.counts.tolist(), strict=True):
            maps_.append((capacity, as_pairs(part.keys[end - count : end], part.values[end - count : end])))
        assert len(part.keys) == len(part.values) == ends[-1]
    return maps_


def alone(fds: list[MapFd]) -> list[tuple[int, dict[bytes, bytes]]]:
    shapes = [maps.info(fd).shape for fd in fds]
    return [
        (shape.max_entries, as_pairs(*read_entries(fd, shape, CPUS))) for fd, shape in zip(fds, shapes, strict=True)
    ]


@pytest.mark.parametrize("way", list(WAYS.values()), ids=list(WAYS))
@pytest.mark.parametrize("rows", [1, 50, 64_000])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.map_type.word))
def test_the_same_as_one_by_one(shape: MapShape, rows: int, way: Batching, open_maps: ExitStack) -> None:
    sizes = [0, 3, 0, 10, 1, 7]
    fds = [fill(shape, shape.max_entries if shape.is_array else size, open_maps) for size in sizes]
    assert as_entries(read(fds, shape, rows, way)) == alone(fds)


@pytest.mark.parametrize("buffer", [12, 40, 5000])
@pytest.mark.parametrize("shape", [HASH, LPM, ARRAY], ids=lambda shape: str(shape.map_type.word))
def test_maps_that_are_larger_than_the_room(
    shape: MapShape, buffer: int, open_maps: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inner_maps, "CHUNK_BYTES", buffer)
    count = shape.max_entries if shape.is_array else 400
    fds = [fill(shape, count, open_maps), fill(shape, 2, open_maps), fill(shape, count, open_maps)]
    for rows in (1, 100, 64_000):
        assert as_entries(read(fds, shape, rows)) == alone(fds)


def test_each_has_its_own_room(open_maps: ExitStack) -> None:
    fds = [fill(HASH.with_capacity(size), min(size, 1500), open_maps) for size in (1, LARGER, 64, 100_000)]
    assert as_entries(read(fds, HASH.with_capacity(64))) == alone(fds)


def test_what_is_gone_or_not_asked_for_has_no_entries(open_maps: ExitStack) -> None:
    first, last = fill(HASH, 5, open_maps), fill(HASH, 6, open_maps)
    with maps.create(HASH) as going:
        gone = maps.info(going).id
    ids = [maps.info(first).id, gone, maps.info(last).id]
    read_ = read_inner_maps(ids, [False, True, True], HASH, CPUS, 100)
    assert read_.max_entries.tolist() == [HASH.max_entries, 0, HASH.max_entries]
    assert read_.counts.tolist() == [0, 0, 6]
    assert (read_.keys.shape, read_.values.shape) == ((6, 4), (6, 8))


def test_a_key_that_a_walk_gives_twice_is_taken_once() -> None:
    """A walk over a trie begins again where the key it stands on goes: the same keys come again."""
    keys, values = keys_for(LPM, 4), np.array([[1], [2], [3], [4]], np.uint8)
    again = np.concatenate((keys[:2], keys[:3], keys)), np.concatenate((values[:2], values[:3] + 10, values))
    given = InnerMaps(np.array([9, 9, 9], np.uint32), np.array([2, 3, 4]), *again)
    assert inner_maps.each_key_once(given) is given
    given = InnerMaps(np.array([9, 9], np.uint32), np.array([5, 4]), *again)
    read_ = inner_maps.each_key_once(given)
    assert read_.counts.tolist() == [3, 4]
    assert as_pairs(read_.keys[:3], read_.values[:3]) == as_pairs(keys[:3], values[:3] + 10)
    assert as_pairs(read_.keys[3:], read_.values[3:]) == as_pairs(keys, values)


@pytest.mark.parametrize("shape", [HASH, LPM], ids=lambda shape: str(shape.map_type.word))
def test_maps_that_change_while_they_are_read(shape: MapShape, open_maps: ExitStack) -> None:
    """Entries that stay are there each time, and no key comes twice."""
    fds = [fill(shape, 40, open_maps) for _ in range(8)]
    staying = {key.tobytes() for key in keys_for(shape, 40)[:20]}
    stop = threading.Event()

    def disturb() -> None:
        changing = np.ascontiguousarray(keys_for(shape, 60)[20:])
        values = np.ones((40, shape.value_size), np.uint8)
        while not stop.is_set():
            for fd in fds:
                batch.delete_batch(fd, changing)
                batch.write_batch(fd, changing, values)

    writer = threading.Thread(target=disturb)
    writer.start()
    try:
        for _ in range(100):
            for _, entries in as_entries(read(fds, shape, 100)):
                if shape is HASH:
                    assert staying <= entries.keys()
                assert entries.keys() <= {key.tobytes() for key in keys_for(shape, 60)}
    finally:
        stop.set()
        writer.join()


def test_what_cannot_be_listed_is_an_error(open_maps: ExitStack) -> None:
    shape = MapShape(MapType.QUEUE, 0, 4, 4)
    fd = open_maps.enter_context(maps.create(shape))
    with raises(KernelError, "unsupported-operation"):
        read([fd], shape)
    assert read_inner_maps([maps.info(fd).id], [False], shape, CPUS, 10).max_entries.tolist() == [4]


def test_an_error_leaves_no_fd_open(open_maps: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger of the tests counts them."""
    fds = [fill(HASH, 3, open_maps) for _ in range(2)]

    def refuse(*_: object, **__: object) -> tuple[object, object]:
        raise KernelError("BPF_MAP_LOOKUP_BATCH", errno.ENOMEM)

    monkeypatch.setattr(inner_maps, "read_entries", refuse)
    with raises(KernelError, "kernel-out-of-memory"):
        read(fds, HASH, way=WAYS["one by one"])


def test_maps_of_other_sizes_are_no_inner_maps_of_the_template(open_maps: ExitStack) -> None:
    fds = [fill(HASH, 1, open_maps)]
    assert as_entries(read(fds, MapShape(MapType.HASH, 4, 4, 10))) == [(0, {})]
