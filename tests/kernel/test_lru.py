"""Which entries the kernel evicts from an LRU map does not depend on what the provisioner reads of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from provisioner.bytecode.lookup_program import TYPES, LookupRecord
from provisioner.kernel import batch, cpus, lookups, maps, reading
from provisioner.kernel.fd import MapFd
from provisioner.kernel.lookup_programs import LookupProgram
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests import features

ROOM = 2000
SHAPE = MapShape(MapType.LRU_HASH, 4, 8, ROOM)
LISTED = np.arange(500, dtype=np.uint32).view(np.uint8).reshape(-1, 4)


def by_system_calls(fd: MapFd) -> None:
    _, there = lookups.look_up(fd, SHAPE, LISTED, 1)
    assert there.all()


def by_a_batch(fd: MapFd) -> None:
    reading.read_entries(fd, SHAPE, 1)


def by_a_program(fd: MapFd) -> None:
    program = LookupProgram.load(fd, LookupRecord(0, 4, 8))
    assert program is not None
    with program:
        assert program.look_up(np.zeros((len(LISTED), 0), np.uint8), LISTED).there.all()


def kept(look: Callable[[MapFd], None]) -> int:
    """How many listed entries stay after a look at them, and others that need their room."""
    with maps.create(SHAPE) as fd:
        for first, last in ((0, ROOM - 600), (ROOM, 2 * ROOM)):
            keys = np.arange(first, last, dtype=np.uint32).view(np.uint8).reshape(-1, 4)
            batch.write_batch(fd, keys, np.ones((len(keys), 8), np.uint8))
            if not first:
                look(fd)
        return int(lookups.look_up(fd, SHAPE, LISTED, 1)[1].sum())


@pytest.mark.usefixtures("kernel")
def test_what_is_read_is_not_marked_as_used() -> None:
    """A program that looks up marks: so it is for other types. On one CPU, each of which has elements of its own."""
    features.need_syscall_programs()
    with cpus.running_on(min(os.sched_getaffinity(0))):
        assert kept(by_system_calls) == kept(by_a_batch) == kept(lambda _: None) < kept(by_a_program)
    assert MapType.LRU_HASH not in TYPES
