"""Batches and their fallback come to the same, and stop in the same way."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.kernel import batch, libbpf, maps
from provisioner.kernel.batch import BatchError, Batching
from provisioner.kernel.fd import FdSet, MapFd
from provisioner.kernel.host import possible_cpus
from provisioner.kernel.reading import read_entries, read_slots, value_stride
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import Rows, put, without_duplicates
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from tests.kernel.shapes import ARRAY, ARRAY_OF_MAPS, HASH, HASH_OF_MAPS, LPM, LRU, PERCPU_ARRAY, PERCPU_HASH
from tests.problems import raises

WAYS = {"batch": Batching(), "one by one": Batching(entries=False, slots=False)}
CPUS = possible_cpus()


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Batching:
    chosen: Batching = request.param
    return chosen


def u32s(*numbers: int) -> NDArray[np.uint8]:
    return np.array(numbers, dtype=np.uint32).view(np.uint8).reshape(len(numbers), 4)


def as_pairs(keys: NDArray[np.uint8], values: NDArray[np.uint8]) -> dict[bytes, bytes]:
    pairs = {key.tobytes(): value.tobytes() for key, value in zip(keys, values, strict=True)}
    assert len(pairs) == len(keys), "a key came twice"
    return pairs


def keys_for(shape: MapShape, count: int) -> NDArray[np.uint8]:
    if shape.map_type is MapType.LPM_TRIE:
        keys = np.zeros((count, 8), dtype=np.uint8)
        keys[:, :4] = u32s(*[32] * count)
        keys[:, 6:] = np.arange(count, dtype=">u2").view(np.uint8).reshape(count, 2)
        return keys
    return u32s(*range(count))


@pytest.mark.parametrize(
    "shape", [HASH, ARRAY, LPM, LRU, PERCPU_HASH, PERCPU_ARRAY], ids=lambda shape: str(shape.map_type.word)
)
def test_what_is_written_is_read(shape: MapShape, way: Batching) -> None:
    count = shape.max_entries if shape.is_array else 40
    keys = keys_for(shape, count)
    stride = value_stride(shape, CPUS)
    values = np.random.default_rng(7).integers(0, 256, (count, stride), dtype=np.uint8)
    if shape.is_percpu:
        values.reshape(count, CPUS, -1)[:, :, shape.value_size :] = 0
    with maps.create(shape) as fd:
        batch.write_batch(fd, keys, values, batching=way)
        assert as_pairs(*read_entries(fd, shape, CPUS, batching=way)) == as_pairs(keys, values)
        batch.write_batch(fd, keys[5:7], values[7:9], batching=way)
        entries = as_pairs(*read_entries(fd, shape, CPUS, batching=way))
        assert [entries[key.tobytes()] for key in keys[5:7]] == [value.tobytes() for value in values[7:9]]


def test_between_two_calls_the_work_can_be_ended(way: Batching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_MOST", 8)
    monkeypatch.setattr(batch, "_NOW_AND_THEN", 8)
    keys, pauses = keys_for(HASH, 40), []

    def pause() -> None:
        pauses.append(len(read_entries(fd, HASH, CPUS)[0]))
        if len(pauses) > 4:
            raise KeyboardInterrupt

    with maps.create(HASH) as fd:
        batch.write_batch(fd, keys[:20], keys[:20], batching=way, pause=pause)
        assert pauses == ([8, 16] if way.entries else [7, 15])
        with pytest.raises(KeyboardInterrupt):
            batch.delete_batch(fd, keys, batching=way, pause=pause)
        assert pauses[-1] < 20


def test_an_empty_map_and_no_entries(way: Batching) -> None:
    with maps.create(HASH) as fd:
        batch.write_batch(fd, u32s(), np.empty((0, 8), dtype=np.uint8), batching=way)
        batch.delete_batch(fd, u32s(), batching=way)
        keys, values = read_entries(fd, HASH, CPUS, batching=way)
        assert (keys.shape, values.shape) == ((0, 4), (0, 8))


def test_deleting_what_is_gone_is_no_error(way: Batching) -> None:
    with maps.create(HASH) as fd:
        batch.write_batch(fd, keys_for(HASH, 10), np.ones((10, 8), dtype=np.uint8), batching=way)
        batch.delete_batch(fd, u32s(77, 1, 2, 78, 3, 79), batching=way)
        left = read_entries(fd, HASH, CPUS, batching=way)[0].view(np.uint32).ravel()
        assert sorted(left) == [0, 4, 5, 6, 7, 8, 9]


def test_a_full_map_tells_what_was_written(way: Batching) -> None:
    shape = MapShape(MapType.HASH, 4, 8, 6)
    with maps.create(shape) as fd:
        with raises(BatchError, "map-full") as caught:
            batch.write_batch(fd, keys_for(shape, 9), np.ones((9, 8), dtype=np.uint8), batching=way, name="acl")
        assert (caught.value.done, caught.value.failed, caught.value.errno) == (6, 6, errno.E2BIG)
        assert caught.value.written.tolist() == [True] * 6 + [False] * 3
        assert caught.value.problems[0].address == "acl"
        assert len(read_entries(fd, shape, CPUS)[0]) == 6


def test_a_batch_refused_before_it_began_wrote_nothing(way: Batching) -> None:
    with maps.create(HASH) as fd:
        maps.freeze(fd)
        with raises(BatchError, "map-frozen") as caught:
            batch.write_batch(fd, keys_for(HASH, 3), np.ones((3, 8), dtype=np.uint8), batching=way)
        assert caught.value.done == 0


def test_entries_of_an_array_cannot_be_deleted(way: Batching) -> None:
    with maps.create(ARRAY) as fd, raises(KernelError, "array-delete") as caught:
        batch.delete_batch(fd, u32s(1), batching=way)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("shape", [HASH_OF_MAPS, ARRAY_OF_MAPS], ids=lambda shape: str(shape.map_type.word))
def test_slots_are_published_and_emptied(shape: MapShape, way: Batching) -> None:
    with FdSet[MapFd]() as inners, maps.create(HASH) as template, maps.create(shape, inner=template) as outer:
        for _ in range(20):
            inners.add(maps.create(HASH))
        keys = u32s(*range(0, 60, 3))
        waits = batch.publish(outer, keys, np.array(inners.numbers(), dtype=np.uint32), batching=way)
        assert waits == 1
        live_keys, ids = read_slots(outer, shape, batching=way)
        order = np.argsort(live_keys.view(np.uint32).ravel())
        assert live_keys[order].tolist() == keys.tolist()
        assert ids[order].tolist() == [maps.info(inner).id for inner in inners]

        batch.unpublish(outer, np.concatenate([keys[:15], u32s(50)]), batching=way)
        assert sorted(read_slots(outer, shape, batching=way)[0].view(np.uint32).ravel()) == [45, 48, 51, 54, 57]


@pytest.mark.parametrize("shape", [HASH_OF_MAPS, ARRAY_OF_MAPS], ids=lambda shape: str(shape.map_type.word))
def test_ten_thousand_slots_at_once(shape: MapShape) -> None:
    big = MapShape(shape.map_type, 4, 4, 10_000)
    with maps.create(ARRAY) as inner, maps.create(big, inner=inner) as outer:
        fds = np.full(10_000, inner.number, dtype=np.uint32)
        # One batch, or 256 threads where the kernel has no batch, or a dear one.
        assert batch.publish(outer, np.arange(10_000, dtype=np.uint32), fds) in (1, 40)
        keys, ids = read_slots(outer, big)
        assert sorted(keys.view(np.uint32).ravel()) == list(range(10_000))
        assert set(ids.tolist()) == {maps.info(inner).id}


@pytest.mark.parametrize("shape", [HASH_OF_MAPS, ARRAY_OF_MAPS], ids=lambda shape: str(shape.map_type.word))
def test_a_wrong_inner_map_stops_publishing(shape: MapShape) -> None:
    with maps.create(HASH) as good, maps.create(LPM) as bad, maps.create(shape, inner=good) as outer:
        fds = np.array([good.number] * 3 + [bad.number] + [good.number] * 2, dtype=np.uint32)
        with raises(BatchError, "template-mismatch") as caught:
            batch.publish(outer, u32s(*range(6)), fds)
        assert caught.value.failed == 3
        live = sorted(read_slots(outer, shape)[0].view(np.uint32).ravel())
        assert np.flatnonzero(caught.value.written).tolist() == live
        # A batch stops at it; threads, where the kernel has no batch, may have begun what comes after it.
        assert live[:3] == [0, 1, 2] and 3 not in live


def test_threads_tell_which_slots_are_live() -> None:
    with maps.create(HASH) as good, maps.create(LPM) as bad, maps.create(ARRAY_OF_MAPS, inner=good) as outer:
        fds = np.array([good.number] * 20 + [bad.number] + [good.number] * 20, dtype=np.uint32)
        with raises(BatchError, "template-mismatch") as caught:
            batch.publish(outer, u32s(*range(41)), fds, batching=Batching(slots=False, threads=4))
        live = sorted(read_slots(outer, ARRAY_OF_MAPS)[0].view(np.uint32).ravel())
        assert np.flatnonzero(caught.value.written).tolist() == live
        assert caught.value.failed == 20
        assert 20 not in live


def test_grace_periods_of_threads_are_counted_together() -> None:
    with maps.create(HASH) as inner, maps.create(ARRAY_OF_MAPS, inner=inner) as outer:
        fds = np.full(10, inner.number, dtype=np.uint32)
        assert batch.publish(outer, u32s(*range(10)), fds, batching=Batching(slots=False, threads=4)) == 3
        # ARRAY_OF_MAPS has no batch delete: the kernel's 524 leads to the threads by itself
        assert batch.unpublish(outer, u32s(*range(10)), batching=Batching(threads=5)) == 2
        assert len(read_slots(outer, ARRAY_OF_MAPS)[0]) == 0


@pytest.mark.parametrize("waits_once", [True, False])
def test_many_slots_are_written_as_was_measured(waits_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "slots_batch_waits_once", lambda: waits_once)
    assert batch.batching_for(63) == Batching()
    assert batch.batching_for(64) == Batching(slots=waits_once)
    big = ARRAY_OF_MAPS.with_capacity(300)
    with maps.create(HASH) as inner, maps.create(big, inner=inner) as outer:
        fds = np.full(300, inner.number, dtype=np.uint32)
        batch.publish(outer, u32s(*range(300)), fds)
        assert read_slots(outer, big)[1].tolist() == [maps.info(inner).id] * 300
        batch.unpublish(outer, u32s(*range(200)))
        assert len(read_slots(outer, big)[1]) == 100


def test_what_is_measured_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch._measured.cache_clear()
    first = batch.slots_batch_waits_once()
    monkeypatch.setattr(maps, "create", None)
    assert batch.slots_batch_waits_once() is first


def test_a_bucket_bigger_than_the_buffer_grows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.kernel.reading.CHUNK_BYTES", 12)
    shape = MapShape(MapType.HASH, 4, 8, 2000)
    keys = keys_for(shape, 2000)
    with maps.create(shape) as fd:
        batch.write_batch(fd, keys, np.ones((2000, 8), dtype=np.uint8))
        entries = as_pairs(*read_entries(fd, shape, CPUS))
        assert entries.keys() == {key.tobytes() for key in keys}


@pytest.mark.parametrize("shape", [ARRAY, LPM, ARRAY_OF_MAPS], ids=lambda shape: str(shape.map_type.word))
def test_many_small_batches_read_the_same(shape: MapShape, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = keys_for(shape, 16)
    with maps.create(HASH) as inner, maps.create(shape, inner=inner if shape.is_outer else None) as fd:
        if shape.is_outer:
            batch.publish(fd, keys, np.full(16, inner.number, dtype=np.uint32))
        else:
            batch.write_batch(fd, keys, np.ones((16, shape.value_size), dtype=np.uint8))
        whole = as_pairs(*read_entries(fd, shape, CPUS))
        monkeypatch.setattr("provisioner.kernel.reading.CHUNK_BYTES", 3 * (shape.key_size + shape.value_size))
        assert as_pairs(*read_entries(fd, shape, CPUS)) == whole
        assert len(whole) == 16


@pytest.mark.parametrize("shape", [HASH, LPM], ids=lambda shape: str(shape.map_type.word))
def test_reading_a_map_that_changes_ends_and_repeats_no_key(
    shape: MapShape, way: Batching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer deletes and adds keys between any two system calls of the reader."""
    keys = keys_for(shape, 30)
    coming, going = keys[::2].copy(), keys[1::2].copy()
    values = np.ones((30, shape.value_size), dtype=np.uint8)
    monkeypatch.setattr("provisioner.kernel.reading.CHUNK_BYTES", 8 * (shape.key_size + shape.value_size))
    with maps.create(shape) as fd:
        batch.write_batch(fd, keys, values)

        for name in ("map_lookup_batch", "map_lookup_elem"):
            original = getattr(libbpf, name)

            def disturbed(*arguments: Any, original: Callable[..., int] = original) -> int:
                result = original(*arguments)
                batch.delete_batch(fd, coming)
                batch.write_batch(fd, coming, values[:15])
                batch.delete_batch(fd, going)
                return result

            monkeypatch.setattr(libbpf, name, disturbed)
        entries = as_pairs(*read_entries(fd, shape, CPUS, batching=way))
        assert entries.keys() <= {key.tobytes() for key in keys}


def test_types_that_cannot_be_listed() -> None:
    shape = MapShape(MapType.QUEUE, 0, 4, 4)
    with maps.create(shape) as fd, raises(KernelError, "unsupported-operation"):
        read_entries(fd, shape, CPUS)


def test_rows_are_cut_without_touching_the_array() -> None:
    table = np.arange(40, dtype=np.uint8).reshape(10, 4)
    rows = Rows.of(table).cut(2, 7).cut(1, 3)
    assert (rows.count, rows.size, rows.address) == (2, 4, table.ctypes.data + 12)
    with pytest.raises(ValueError, match="rows 1:3 of 2"):
        rows.cut(1, 3)
    with pytest.raises(ValueError, match="C-contiguous"):
        Rows.of(table[:, :2])
    with maps.create(ARRAY) as fd:
        values = np.arange(16, dtype=np.uint64)
        batch.write_batch(fd, Rows.of(u32s(*range(16))).cut(3, 5), Rows.of(values).cut(3, 5))
        assert read_entries(fd, ARRAY, CPUS)[1].view(np.uint64).ravel().tolist() == [0, 0, 0, 3, 4, *[0] * 11]


@pytest.mark.parametrize("size", [1, 3, 4, 8, 20])
def test_rows_are_put_into_records(size: int) -> None:
    rows = np.arange(5 * size, dtype=np.uint8).reshape(5, size)
    for each in (rows, rows[::-1], np.asfortranarray(rows)):
        records = np.zeros((6, size + 7), np.uint8)
        put(records[:5, 4 : 4 + size], each)
        assert (records[:5, 4 : 4 + size] == each).all()
        assert records.sum() == each.sum()


def test_rows_that_do_not_pair_are_refused() -> None:
    with maps.create(HASH) as fd, pytest.raises(ValueError, match="2 keys, but 1 values"):
        batch.write_batch(fd, u32s(1, 2), np.zeros((1, 8), dtype=np.uint8))
    with maps.create(HASH) as fd, pytest.raises(ValueError, match="32 bits"):
        batch.publish(fd, u32s(1), np.zeros(1, dtype=np.uint64))


def test_of_a_repeated_key_the_last_value_is_kept() -> None:
    keys, values = without_duplicates(u32s(1, 2, 1), np.array([[1], [2], [3]], dtype=np.uint8))
    assert as_pairs(keys, values) == {u32s(1).tobytes(): b"\3", u32s(2).tobytes(): b"\2"}


def test_a_huge_value_is_written_and_read(way: Batching) -> None:
    shape = MapShape(MapType.ARRAY, 4, 1 << 20, 2, MapFlag(0))
    value = np.random.default_rng(1).integers(0, 256, (1, 1 << 20), dtype=np.uint8)
    with maps.create(shape) as fd:
        batch.write_batch(fd, u32s(1), value, batching=way)
        assert read_entries(fd, shape, CPUS, batching=way)[1][1].tobytes() == value.tobytes()
