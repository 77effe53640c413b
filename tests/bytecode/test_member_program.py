"""The generated program that writes members does what its source in C does, and what system calls do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.bytecode.member_program import CPU, MISSING, WRITTEN, MemberRecord, member_program, stores, why_not
from provisioner.kernel import batch, host, lookups, maps, objects, programs, reading
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.members import MemberWriter
from provisioner.model.map_shape import MapShape
from provisioner.model.special_fields import SPIN_LOCK, Special
from provisioner.model.uapi import MapFlag, MapType
from tests import features

Table = NDArray[np.uint8]

KEYS, ROOM = 40, 64
OWNED = np.zeros(24, np.uint8)
OWNED[0:8] = OWNED[12:14] = 0xFF
PLAIN = MapShape(MapType.HASH, 4, 24, ROOM)
LOCKED = MapShape(MapType.HASH, 4, 24, ROOM, specials=(Special(8, SPIN_LOCK),))
PERCPU = MapShape(MapType.PERCPU_HASH, 4, 24, ROOM)
LAYOUT = MemberRecord(4, 24)
CPUS = host.possible_cpus()


@pytest.fixture(autouse=True)
def under_the_ledger(kernel: Path) -> None:
    """Nothing may be left behind."""


def keys_of(numbers: NDArray[np.integer]) -> Table:
    return np.ascontiguousarray(numbers.astype(np.uint32)).view(np.uint8).reshape(-1, 4)


def random_values(seed: int, count: int, shape: MapShape) -> Table:
    values = np.random.default_rng(seed).integers(0, 256, (count, 24), np.uint8)
    if shape.is_locked:
        values[:, 8:12] = 0
    return values


def contents(fd: MapFd, shape: MapShape) -> dict[bytes, bytes]:
    keys = keys_of(np.arange(KEYS))
    values, there = lookups.look_up(fd, shape, keys, 1)
    return {bytes(key): bytes(value) for key, value in zip(keys[there], values[there], strict=True)}


def run(program: ProgramFd, records: MapFd, table: Table) -> list[int]:
    batch.write_batch(records, keys_of(np.arange(ROOM)), table)
    programs.run(program)
    back = reading.read_first(records, KEYS, LAYOUT.size)
    results: list[int] = back[:, 8:12].copy().view(np.int32).ravel().tolist()
    return results


@pytest.mark.parametrize(("name", "shape"), [("plain", PLAIN), ("locked", LOCKED)])
def test_the_same_as_in_c(
    name: str, shape: MapShape, bpf_object: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (features.need_syscall_locks if shape.is_locked else features.need_syscall_programs)()
    keys, values = keys_of(np.arange(KEYS)), random_values(1, KEYS, shape)
    live = keys_of(np.arange(0, KEYS, 2)), random_values(2, KEYS // 2, shape)
    table = np.zeros((ROOM, LAYOUT.size), np.uint8)
    head = table[:KEYS]
    head[:, 0] = 1
    head[:, LAYOUT.key : LAYOUT.key + 4] = keys
    head[:, LAYOUT.value :] = values
    with objects.load(bpf_object(f"members_{name}")) as loaded:
        # The map of the object has BTF, by which the kernel finds the lock.
        target, records = loaded.maps["target"], loaded.maps["records"]
        code = member_program(LAYOUT, shape, OWNED, records.number, target.number)

        def after(write: Callable[[], object]) -> dict[bytes, bytes]:
            batch.delete_batch(target, keys)
            batch.write_batch(target, *live)
            write()
            return contents(target, shape)

        results: list[list[int]] = []
        theirs = after(lambda: results.append(run(loaded.programs["members"], records, table)))
        with programs.load_or_raise(code, "members") as program:
            ours = after(lambda: results.append(run(program, records, table)))
        assert results == [[WRITTEN] * KEYS] * 2
        assert ours == theirs
        expected = values.copy()
        expected[::2] = (live[1] & ~OWNED) | (values[::2] & OWNED)
        assert ours == {bytes(key): bytes(value) for key, value in zip(keys, expected, strict=True)}

        def written() -> bool:
            with MemberWriter([target], shape, OWNED, KEYS) as writer:
                writer.load()
                writer.write(0, keys, values)
                return writer.runs_in_kernel

        in_kernel: list[bool] = []
        assert after(lambda: in_kernel.append(written())) == ours
        monkeypatch.setenv(programs.SWITCH, "off")
        assert after(lambda: in_kernel.append(written())) == ours
        assert in_kernel == [True, False]


def test_all_cpus(bpf_object: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A record for each CPU; a new entry is made by a system call, for all CPUs at once."""
    features.need_percpu_lookup()
    keys, mask = keys_of(np.arange(KEYS)), np.tile(OWNED, CPUS)
    values, live = (np.random.default_rng(seed).integers(0, 256, (KEYS, 24 * CPUS), np.uint8) for seed in (1, 2))
    table = np.zeros((ROOM, LAYOUT.size), np.uint8)
    head = table[:KEYS]
    head[:, 0] = 1
    head[:, CPU] = np.arange(KEYS) % CPUS
    head[:, LAYOUT.key : LAYOUT.key + 4] = keys
    head[:, LAYOUT.value :] = values[:, :24]
    with objects.load(bpf_object("members_percpu")) as loaded:
        target, records = loaded.maps["target"], loaded.maps["records"]

        def after(write: Callable[[], object]) -> Table:
            batch.delete_batch(target, keys)
            batch.write_batch(target, keys[::2].copy(), live[::2].copy())
            write()
            held, there = lookups.look_up(target, PERCPU, keys, CPUS)
            return held[there]

        results: list[list[int]] = []
        theirs = after(lambda: results.append(run(loaded.programs["members"], records, table)))
        code = member_program(LAYOUT, PERCPU, OWNED, records.number, target.number)
        with programs.load_or_raise(code, "members") as program:
            ours = after(lambda: results.append(run(program, records, table)))
        assert results == [[WRITTEN, MISSING] * (KEYS // 2)] * 2
        assert ours.tolist() == theirs.tolist()
        assert ours.tolist() != live[::2].tolist()
        expected = values.copy()
        expected[::2] = (live[::2] & ~mask) | (values[::2] & mask)

        def written() -> None:
            with MemberWriter([target], PERCPU, mask, KEYS) as writer:
                writer.load()
                writer.write(0, keys, values)
                in_kernel.append(writer.runs_in_kernel)

        in_kernel: list[bool] = []
        assert after(written).tolist() == expected.tolist()
        monkeypatch.setenv(programs.SWITCH, "off")
        assert after(written).tolist() == expected.tolist()
        assert in_kernel == [True, False]


def test_stores_touch_nothing_else() -> None:
    mask = np.zeros(32, np.uint8)
    mask[[0, 1, 2, 3, 5, 6, 7, 8, 9, 16, 17, 18, 19, 20, 21, 22, 23]] = 0xFF
    parts = [(piece.offset, piece.width) for piece in stores(MapShape(MapType.HASH, 4, 32, ROOM), mask)]
    assert parts == [(0, 4), (5, 1), (6, 2), (8, 2), (16, 8)]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (PLAIN, ""),
        (MapShape(MapType.LPM_TRIE, 8, 24, 8), "programs cannot do it in a map of type lpm_trie"),
        (MapShape(MapType.ARRAY, 4, 24, 8, MapFlag.RDONLY_PROG), "programs cannot write to a map with the flag"),
    ],
)
def test_where_no_program_can(shape: MapShape, why: str) -> None:
    assert why_not(shape, OWNED).startswith(why)
    assert bool(why_not(shape, OWNED)) == bool(why)


def test_several_maps_by_one_program() -> None:
    features.need_syscall_programs()
    keys, values = keys_of(np.arange(KEYS)), random_values(1, KEYS, PLAIN)
    with maps.create(PLAIN, "one") as one, maps.create(PLAIN, "two") as two:
        batch.write_batch(two, keys, random_values(2, KEYS, PLAIN))
        with MemberWriter([one, two], PLAIN, OWNED, 7) as writer:  # several runs
            writer.load()
            assert (writer.runs_in_kernel, writer.grace_periods) == (True, 1)
            writer.write(1, keys, values)
            assert contents(one, PLAIN) == {}
            writer.write(0, keys, values)
        mixed = (random_values(2, KEYS, PLAIN) & ~OWNED) | (values & OWNED)
        assert list(contents(one, PLAIN).values()) == list(map(bytes, values))
        assert list(contents(two, PLAIN).values()) == list(map(bytes, mixed))
