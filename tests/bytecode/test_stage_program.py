"""The generated programs and their source in C create and fill the same maps, and stop at the same record."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.bytecode.stage_program import CREATE_RECORD, FD, StagedEntry, create_program, fill_program
from provisioner.kernel import batch, maps, objects, programs, reading
from provisioner.kernel.fd import FdSet, MapFd, ProgramFd
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from tests import features

Compiled = Callable[[str], Path]

INNER = MapShape(MapType.HASH, 4, 8, 64)
LAYOUT = StagedEntry(4, 8)
NEW_MAPS = MapShape(MapType.ARRAY, 4, CREATE_RECORD, 9, MapFlag.MMAPABLE)
ENTRIES = MapShape(MapType.ARRAY, 4, LAYOUT.size, 65, MapFlag.MMAPABLE)
"""As in bpf/stage.bpf.c."""


@pytest.fixture(autouse=True)
def with_programs(kernel: Path) -> Path:
    features.need_syscall_programs()
    return kernel


def new_map(max_entries: int, map_type: int = MapType.HASH) -> bytes:
    """A record to create."""
    head = struct.pack("=7I16s", map_type, 4, 8, max_entries, 0, 0, 0, b"made")
    return head.ljust(72, b"\0") + struct.pack("=Ii", 1, -1)


def entry(slot: int, key: int, value: int) -> bytes:
    return struct.pack("=IIIIQ", slot, 0, key, 0, value)


def write(fd: MapFd, records: list[bytes], shape: MapShape) -> None:
    """Put records into an array, and one of zeros after them."""
    table = np.frombuffer(b"".join([*records, bytes(shape.value_size)]), np.uint8).reshape(-1, shape.value_size)
    batch.write_batch(fd, np.arange(len(table), dtype=np.uint32), table.copy())


def created(program: ProgramFd, records: MapFd, into: FdSet[MapFd]) -> tuple[int, list[int]]:
    """What a run returns, and the records' errnos; 0 for a map, which goes `into` the set, and for none."""
    result = programs.run(program)
    numbers: NDArray[np.int32] = reading.read_first(records, 8, CREATE_RECORD)[:, FD:].copy().view(np.int32).ravel()
    for number in numbers[numbers > 0].tolist():
        into.add(MapFd(number))
    return result, np.minimum(numbers, 0).tolist()


@contextmanager
def both(bpf_object: Compiled) -> Iterator[tuple[MapFd, MapFd, MapFd, dict[str, tuple[ProgramFd, ProgramFd]]]]:
    """The arrays of records, the scratch outer map, and the programs by name: generated, and compiled."""
    with (
        maps.create(NEW_MAPS) as new_maps,
        maps.create(ENTRIES) as entries,
        maps.create(INNER) as template,
        maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 8), inner=template) as scratch,
        programs.load_or_raise(create_program(new_maps.number), "create") as create,
        programs.load_or_raise(fill_program(LAYOUT, entries.number, scratch.number), "fill") as fill,
        objects.load(
            bpf_object("stage"), reuse={"new_maps": new_maps, "entries": entries, "scratch": scratch}
        ) as loaded,
    ):
        pairs = {"create": (create, loaded.programs["create"]), "fill": (fill, loaded.programs["fill"])}
        yield new_maps, entries, scratch, pairs


def test_the_same_maps_as_in_c(bpf_object: Compiled) -> None:
    with both(bpf_object) as (new_maps, entries, scratch, pairs):
        made: list[tuple[object, ...]] = []
        for create, fill in zip(pairs["create"], pairs["fill"], strict=True):
            with FdSet[MapFd]() as fds:
                write(new_maps, [new_map(4), new_map(8)], NEW_MAPS)
                assert created(create, new_maps, fds) == (3, [0] * 8)
                batch.publish(scratch, np.arange(2, dtype=np.uint32), np.array(fds.numbers(), np.uint32))
                write(entries, [entry(1, 7, 70), entry(2, 8, 80), entry(2, 9, 90)], ENTRIES)
                result = programs.run(fill)
                infos = [maps.info(fd) for fd in fds]
                contents = [
                    sorted(zip(*(each.tolist() for each in reading.read_entries(fd, INNER, 1)), strict=True))
                    for fd in fds
                ]
                made.append((result, [(info.name, info.shape) for info in infos], contents))
        assert made[0] == made[1]
        assert made[0][0] == 4
        assert made[0][1] == [("made", INNER.with_capacity(4)), ("made", INNER.with_capacity(8))]
        assert made[0][2] == [
            [([7, 0, 0, 0], [70, 0, 0, 0, 0, 0, 0, 0])],
            [([8, 0, 0, 0], [80, 0, 0, 0, 0, 0, 0, 0]), ([9, 0, 0, 0], [90, 0, 0, 0, 0, 0, 0, 0])],
        ]


def test_both_stop_at_what_the_kernel_refuses(bpf_object: Compiled) -> None:
    """A type that there is not, and an entry that a map has no room for."""
    with both(bpf_object) as (new_maps, entries, scratch, pairs):
        for create, fill in zip(pairs["create"], pairs["fill"], strict=True):
            with FdSet[MapFd]() as fds:
                write(new_maps, [new_map(1), new_map(1, 999), new_map(1)], NEW_MAPS)
                result, errnos = created(create, new_maps, fds)
                assert (result, errnos[:3], len(fds)) == (2, [0, -errno.EINVAL, -1], 1)
                batch.publish(scratch, np.zeros(1, np.uint32), np.array(fds.numbers(), np.uint32))
                write(entries, [entry(1, 7, 70), entry(1, 8, 80), entry(1, 7, 90)], ENTRIES)
                assert programs.run(fill) == 2
                assert reading.read_entries(next(iter(fds)), INNER, 1)[0].tolist() == [[7, 0, 0, 0]]
