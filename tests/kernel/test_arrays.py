"""Arrays are read in ranges, without zeros: byte for byte what the whole array holds there."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.kernel import arrays, batch, libbpf, maps, reading
from provisioner.kernel.batch import Batching
from provisioner.kernel.host import possible_cpus
from provisioner.kernel.reasons import KernelError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import ENOTSUPP, MapFlag, MapType

CPUS = possible_cpus()
SIZE = 200_003
SHAPES = {
    "u32": MapShape(MapType.ARRAY, 4, 4, SIZE),
    "u32 mapped": MapShape(MapType.ARRAY, 4, 4, SIZE, MapFlag.MMAPABLE),
    "12 bytes": MapShape(MapType.ARRAY, 4, 12, SIZE),
    "3 bytes mapped": MapShape(MapType.ARRAY, 4, 3, SIZE, MapFlag.MMAPABLE),
    "per CPU": MapShape(MapType.PERCPU_ARRAY, 4, 8, 5000),
}
RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "all": (),
    "one": ((0, 0),),
    "last": ((4999, 4999), (SIZE - 1, SIZE + 7)),
    "overlapping": ((900, 2000), (0, 3), (1000, 2500), (2501, 2501)),
    "beyond": ((SIZE, SIZE + 5),),
}


def filled(shape: MapShape) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Keys and values of some elements; the first, the last and some at the borders of batches are among them."""
    chosen = np.random.default_rng(5).integers(0, shape.max_entries, 300)
    indexes = np.unique(np.concatenate((chosen, [0, 65535, 65536, 131071, 131072, shape.max_entries - 1])))
    indexes = indexes[indexes < shape.max_entries].astype(np.uint32)
    stride = reading.value_stride(shape, CPUS)
    values = np.zeros((len(indexes), stride), np.uint8)
    values[:, shape.value_size - 1] = 1 + np.arange(len(indexes)) % 255  # only the last byte of each is not zero
    return indexes.view(np.uint8).reshape(-1, 4), values


@pytest.mark.parametrize("name", SHAPES)
def test_ranges_hold_what_the_array_holds_there(name: str) -> None:
    shape = SHAPES[name]
    keys, values = filled(shape)
    indexes = keys.view(np.uint32).ravel()
    with maps.create(shape) as fd:
        batch.write_batch(fd, keys, values)
        for ranges in RANGES.values():
            wanted = np.zeros(len(indexes), np.bool_)
            for first, last in ranges or ((0, SIZE),):
                wanted |= (indexes >= first) & (indexes <= last)
            found_keys, found_values = arrays.read_nonzero(fd, shape, CPUS, ranges)
            assert found_keys.tobytes() == keys[wanted].tobytes()
            assert found_values.tobytes() == values[wanted].tobytes()
            assert found_values.shape == (int(wanted.sum()), reading.value_stride(shape, CPUS))


def test_without_batches_elements_are_read_one_by_one() -> None:
    shape = MapShape(MapType.ARRAY, 4, 8, 600)
    keys, values = filled(shape)
    with maps.create(shape) as fd:
        batch.write_batch(fd, keys, values)
        single = arrays.read_nonzero(fd, shape, CPUS, ((100, 599),), batching=Batching(entries=False))
        batched = arrays.read_nonzero(fd, shape, CPUS, ((100, 599),))
    assert [column.tobytes() for column in single] == [column.tobytes() for column in batched]


def test_an_array_with_empty_slots_is_read_as_a_list() -> None:
    shape = MapShape(MapType.DEVMAP, 4, 4, 8)
    lo = (1).to_bytes(4, "little")
    with maps.create(shape) as fd:
        for index in (2, 5):
            maps.update(fd, index.to_bytes(4, "little"), lo)
        keys, values = arrays.read_nonzero(fd, shape, CPUS, ((3, 7),))
    assert (keys.view(np.uint32).ravel().tolist(), values.view(np.uint32).ravel().tolist()) == ([5], [1])


@pytest.mark.parametrize("answer", [ENOTSUPP, errno.ENOMEM])
def test_a_refused_batch(answer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no batch, elements are read one by one; another refusal is an error."""
    shape = MapShape(MapType.ARRAY, 4, 8, 70_000 if answer == errno.ENOMEM else 500)
    keys, values = filled(shape)
    original = libbpf.try_map_lookup_batch

    def refused(fd: int, start: int | None, *rest: Any) -> int:
        return -answer if start is not None or answer == ENOTSUPP else int(original(fd, start, *rest))

    monkeypatch.setattr(libbpf, "try_map_lookup_batch", refused)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    with maps.create(shape) as fd:
        batch.write_batch(fd, keys, values)
        if answer == ENOTSUPP:
            assert arrays.read_nonzero(fd, shape, CPUS)[0].tobytes() == keys.tobytes()
        else:
            with pytest.raises(KernelError) as caught:
                arrays.read_nonzero(fd, shape, CPUS)
            assert caught.value.errno == errno.ENOMEM
