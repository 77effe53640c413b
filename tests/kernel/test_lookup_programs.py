"""A program finds what system calls find, in the slots of an outer map and in a plain map."""

from __future__ import annotations

import errno
import sys
from contextlib import ExitStack

import numpy as np
import pytest

from provisioner.bytecode.lookup_program import LookupRecord
from provisioner.kernel import batch, lookup_programs, maps
from provisioner.kernel.lookup_programs import LookupProgram
from provisioner.kernel.programs import SWITCH
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests import features

SLOTS = 3

pytestmark = pytest.mark.usefixtures("kernel")


def numbers(values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.atleast_1d(np.asarray(values, np.uint32)).view(np.uint8).reshape(-1, 4)


@pytest.mark.parametrize("value_size", [1, 8, 15, 40])
@pytest.mark.parametrize("map_type", [MapType.HASH, MapType.ARRAY])
def test_keys_of_many_slots(map_type: MapType, value_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features.need_syscall_programs()
    monkeypatch.setattr(lookup_programs, "_MOST", 16)  # several runs
    shape = MapShape(map_type, 4, value_size, 8)
    random, held, ids = np.random.default_rng(1), {}, []
    with maps.create(shape) as template:
        outer = maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 8), inner=template)
    with outer:
        for slot in range(SLOTS):
            keys = numbers(random.permutation(8)[:5])
            held[slot] = dict(zip(map(bytes, keys), random.integers(1, 255, (5, value_size), np.uint8), strict=True))
            with maps.create(shape) as inner:
                batch.write_batch(inner, keys, np.array(list(held[slot].values())))
                maps.insert_inner(outer, slot.to_bytes(4, sys.byteorder), inner)
                ids.append(int(maps.info(inner).id))
        slots, keys = numbers(np.repeat(np.arange(SLOTS + 1), 9)), numbers(np.tile(np.arange(9), SLOTS + 1))
        program = LookupProgram.load(outer, LookupRecord(4, 4, value_size))
        assert program is not None
        with program:
            seen = program.look_up(slots, keys)
            counts = program.count(slots[::9])
    assert counts.tolist() == [*([5 if map_type is MapType.HASH else 8] * SLOTS), 0]
    assert seen.ids.tolist() == np.repeat([*ids, 0], 9).tolist()
    for slot in range(SLOTS):
        for index in range(9):
            row, value = slot * 9 + index, held[slot].get(bytes(numbers(index)[0]))
            is_element = map_type is MapType.ARRAY and index < 8
            assert seen.there[row] == (value is not None or is_element)
            if seen.there[row]:
                assert bytes(seen.values[row]) == bytes(value_size if value is None else value)
    assert not seen.there[SLOTS * 9 :].any()


def test_a_plain_map_and_wide_keys() -> None:
    features.need_syscall_programs()
    keys = np.arange(60, dtype=np.uint8).reshape(5, 12)
    with maps.create(MapShape(MapType.HASH, 12, 4, 8)) as fd:
        batch.write_batch(fd, np.ascontiguousarray(keys[:3]), numbers([7, 8, 9]))
        program = LookupProgram.load(fd, LookupRecord(0, 12, 4))
        assert program is not None
        with program:
            seen = program.look_up(np.zeros((5, 0), np.uint8), keys)
        assert seen.ids.tolist() == [maps.info(fd).id] * 5
    assert seen.there.tolist() == [True] * 3 + [False] * 2
    assert bytes(seen.values[:3]) == bytes(numbers([7, 8, 9]))


def test_without_programs_and_for_very_long_values_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with maps.create(MapShape(MapType.HASH, 4, 1024, 8)) as fd:
        assert LookupProgram.load(fd, LookupRecord(0, 4, 1024)) is None
        monkeypatch.setenv(SWITCH, "off")
        assert LookupProgram.load(fd, LookupRecord(0, 4, 8)) is None


def test_what_is_written_before_a_map_that_cannot_be_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    features.need_syscall_programs()
    monkeypatch.setattr(lookup_programs, "_MOST", 3)  # several runs
    shape = MapShape(MapType.HASH, 4, 12, 8)
    with ExitStack() as opened:
        first, second = (opened.enter_context(maps.create(shape)) for _ in range(2))
        outer = opened.enter_context(maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 2), inner=first))
        for slot, fd in enumerate((first, second)):
            maps.insert_inner(outer, slot.to_bytes(4, sys.byteorder), fd)
        ids = np.repeat(np.array([maps.info(fd).id for fd in (first, second)], np.uint32), 5)
        slots, keys = numbers(np.repeat([0, 1], 5)), numbers(np.tile(np.arange(5), 2))
        values = np.arange(120, dtype=np.uint8).reshape(10, 12)
        program = LookupProgram.load(outer, LookupRecord(4, 4, 12), writes=True)
        assert program is not None
        assert opened.enter_context(program).writes
        gone = np.zeros(10, np.bool_)
        program.write(slots, ids, keys, values, gone)
        seen = program.look_up(slots, keys)
        assert seen.there.all()
        assert seen.values.tolist() == values.tolist()
        gone[2:7] = True
        maps.freeze(second)
        for expected, why, done in ((ids, errno.EPERM, 5), (ids[::-1].copy(), errno.ESTALE, 0)):
            with pytest.raises(batch.BatchError) as failed:
                program.write(slots, expected, keys, values + 1, gone)
            assert (failed.value.errno, failed.value.done, failed.value.failed) == (why, done, done)
        seen = program.look_up(slots, keys)
        assert seen.there.tolist() == [True] * 2 + [False] * 3 + [True] * 5
        assert seen.values[:2].tolist() == (values + 1)[:2].tolist()
        assert seen.values[5:].tolist() == values[5:].tolist()
