"""Live maps compared by digests: the same plans as by reading, and only what differs is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

from provisioner.kernel import cpus, digests, map_fields, maps, programs
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.desired import EXACT
from provisioner.observed.live_source import LiveSource
from provisioner.planning.changes import Action
from provisioner.planning.plan import Plan
from tests import features
from tests.apply.conftest import Bench

SPEC = """
types:
  padded: {struct: {port: u16, weight: u32}}
inner_templates:
  hash: {type: hash, key: u32, value: padded, max_entries: 16}
  array: {type: array, key: u32, value: u64, max_entries: 16}
  percpu_hash: {type: percpu_hash, key: u32, value: padded, max_entries: 16}
  percpu_array: {type: percpu_array, key: u32, value: u32, max_entries: 16}
  lpm: {type: lpm_trie, key: cidr4, value: u32, max_entries: 16}
  others: {type: hash, key: u32, value: u64, max_entries: 16, contents: present}
  indexes: {type: array, key: u32, value: u64, max_entries: 16, contents: present}
  lru_others: {type: lru_hash, key: u32, value: u64, max_entries: 512, contents: present}
  percpu_others: {type: percpu_hash, key: u32, value: u64, max_entries: 16, contents: present}
  ports: {type: hash, key: be16, value: u64, max_entries: 16, owned_keys: [10..19, 300..301]}
  counts: {type: percpu_hash, key: u32, value: u64, max_entries: 16, owned_keys: 10..19}
  part: {type: array, key: u32, value: u64, max_entries: 16, owned_keys: [3..5, 9..19]}
shared_inner_maps:
  common: {inner: hash, entries: {1: {port: 1, weight: 1}}}
maps:
  plain: {type: hash, key: u32, value: u64, max_entries: 16, entries: {1: 1, 2: 2}}
  index: {type: array, key: u32, value: u32, max_entries: 8, entries: {1: 1, 2: 0}}
  listed: {type: hash, key: u32, value: padded, max_entries: 8, contents: present, entries: {1: {port: 1, weight: 1}}}
  lru_listed: {type: lru_hash, key: u32, value: u64, max_entries: 512, contents: present, entries: {1: 1}}
outer_maps:
  hash:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: hash
    inner_maps:
      1: {entries: {1: {port: 1, weight: 1}, 2: {port: 2, weight: 2}}}
      2: {entries: {1: {port: 1, weight: 1}, 2: {port: 2, weight: 2}}}
      3: {shared: common}
      4: {shared: common}
      5: {entries: {}}
  array: {type: array_of_maps, key: u32, max_entries: 8, inner: array, inner_maps: {1: {entries: {0: 0, 1: 1}}, 2: {}}}
  percpu_hash:
    type: array_of_maps
    key: u32
    max_entries: 8
    inner: percpu_hash
    inner_maps: {1: {entries: {1: {port: 1, weight: 1}}}, 2: {entries: {1: {port: 1, weight: 1}}}}
  percpu_array:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: percpu_array, inner_maps: {1: {entries: {1: 1}}, 2: {}}}
  lpm: {type: hash_of_maps, key: u32, max_entries: 8, inner: lpm, inner_maps: {1: {entries: {10.0.0.0/8: 1}}}}
  ports: {type: hash_of_maps, key: u32, max_entries: 8, inner: ports, inner_maps: {1: {entries: {10: 1, 300: 2}}}}
  counts: {type: hash_of_maps, key: u32, max_entries: 8, inner: counts, inner_maps: {1: {entries: {10: 1}}}}
  part: {type: hash_of_maps, key: u32, max_entries: 8, inner: part, inner_maps: {1: {entries: {5: 1, 9: 2}}, 2: {}}}
  others:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: others,
     inner_maps: {1: {entries: {1: 1, 2: 0}}, 2: {entries: {}}, 3: {entries: {1: 1}}}}
  indexes:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: indexes, inner_maps: {1: {entries: {1: 1, 2: 0}}, 2: {}}}
  lru_others: {type: hash_of_maps, key: u32, max_entries: 8, inner: lru_others, inner_maps: {1: {entries: {1: 1}}}}
  percpu_others:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: percpu_others, inner_maps: {1: {entries: {1: 1}}}}
"""

CPUS = len(cpus.possible())

DIGESTED = ("hash", "array", "percpu_hash", "percpu_array", "part")
LOOKED_UP = ("others", "indexes")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of maps whose entries are read, and of their inner maps that are."""
    observed_blocks: list[str] = []
    inner_maps, entries = LiveSource.inner_maps, LiveSource.entries

    def of_inner(source: LiveSource, path: PurePath, numbers: Any, whole: Any, *others: Any, **how: Any) -> Any:
        observed_blocks.extend(f"{path.name} {number}" for number, all_ in zip(numbers, whole, strict=True) if all_)
        return inner_maps(source, path, numbers, whole, *others, **how)

    def of_plain(source: LiveSource, path: PurePath, *others: Any, **how: Any) -> Any:
        if how["deep"]:
            observed_blocks.append(path.name)
        return entries(source, path, *others, **how)

    monkeypatch.setattr(LiveSource, "inner_maps", of_inner)
    monkeypatch.setattr(LiveSource, "entries", of_plain)
    return observed_blocks


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    features.need_syscall_programs()
    monkeypatch.setenv(programs.SWITCH, "always")
    monkeypatch.setattr(digests, "_BY_RANGES", 16)  # as the larger arrays of SPEC have


def alike(bench: Bench, text: str = SPEC) -> Plan:
    """The plan of both ways, which is the same to the last count."""
    project = bench.load(text)
    by_digests, by_reading = project.plan(digests=True), project.plan()
    assert by_digests.digest == by_reading.digest
    for name, change in by_digests.maps.items():
        other = by_reading.maps[name]
        # Of maps of which only the listed entries count, the others are left out.
        others = ["others"] if (change.desired.slots.contents == EXACT).all() else []
        for field in ("action", "inserts", "updates", "deletes", "unchanged", "capacity_before", *others):
            assert getattr(change.slots, field).tolist() == getattr(other.slots, field).tolist(), (name, field)
        assert change.entries.keys.tolist() == other.entries.keys.tolist()
    return by_digests


def inner(bench: Bench, name: str, slot: int) -> int:
    return bench.ids(name)[slot.to_bytes(4, "little")]


def change(bench: Bench, name: str, slot: int, edit: Callable[[MapFd], None]) -> None:
    with maps.open_id(InnerId(inner(bench, name, slot))) as fd:
        edit(fd)


def inserted(row: bytes) -> Callable[[MapFd], None]:
    """The insertion of an entry that is zero, for all CPUs."""
    return lambda fd: maps.update(fd, row, bytes(8 * CPUS))


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_nothing_is_read_of_what_is_as_desired(bench: Bench, read: list[str]) -> None:
    bench.apply(SPEC)
    read.clear()
    plan = bench.load(SPEC).plan(digests=True)
    assert plan.steps == ()
    assert {what.partition(" ")[0] for what in read} == {"lpm", "percpu_others"}


def test_what_differs_is_read_and_reported(bench: Bench, read: list[str]) -> None:
    bench.apply(SPEC)
    change(bench, "hash", 2, lambda fd: maps.update(fd, key(1), bytes(7) + b"\1"))
    change(bench, "array", 2, lambda fd: maps.update(fd, key(3), bytes(7) + b"\1"))
    change(bench, "percpu_hash", 1, lambda fd: maps.delete(fd, key(1)))
    change(bench, "percpu_array", 1, lambda fd: maps.update(fd, key(2), b"\1" + bytes(8 * CPUS - 1)))
    with maps.open_pin(bench.root / "plain") as fd:
        maps.update(fd, key(9), bytes(8))
    plan = alike(bench)
    changed = {
        change.slot_address(row)
        for change in plan.maps.values()
        for row, action in enumerate(change.slots.action.tolist())
        if action != Action.UNCHANGED
    }
    assert changed == {"hash[2]", "array[2]", "percpu_hash[1]", "percpu_array[1]", "plain"}
    read.clear()
    bench.load(SPEC).plan(digests=True)
    assert f"hash {inner(bench, 'hash', 2)}" in read
    assert f"hash {inner(bench, 'hash', 1)}" not in read
    bench.settle(SPEC)


def test_of_what_is_present_the_listed_are_looked_up(bench: Bench, read: list[str]) -> None:
    bench.apply(SPEC)
    for slot in (1, 2):
        change(bench, "others", slot, inserted(key(9)))
        change(bench, "indexes", slot, lambda fd: maps.update(fd, key(9), key(1) * 2))
    change(bench, "lru_others", 1, inserted(key(9)))
    for name in ("listed", "lru_listed"):
        with maps.open_pin(bench.root / name) as fd:
            maps.update(fd, key(5), bytes(8))
            if name == "listed":
                maps.update(fd, key(1), b"\1\0\xaa\xbb\1\0\0\0")  # padding
    read.clear()
    assert bench.load(SPEC).plan(digests=True).steps == ()
    assert {what.partition(" ")[0] for what in read} == {"lpm", "percpu_others"}
    assert alike(bench).steps == ()

    change(bench, "others", 3, lambda fd: maps.update(fd, key(1), key(7) * 2))
    change(bench, "others", 1, lambda fd: maps.delete(fd, key(2)))
    change(bench, "indexes", 1, lambda fd: maps.update(fd, key(2), key(1) * 2))
    change(bench, "lru_others", 1, lambda fd: maps.delete(fd, key(1)))
    with maps.open_pin(bench.root / "lru_listed") as fd:
        maps.update(fd, key(1), key(7) * 2)
    plan = alike(bench)
    counts = {
        name: (each.slots.inserts.tolist(), each.slots.updates.tolist())
        for name, each in plan.maps.items()
        if each.slots.inserts.any() or each.slots.updates.any()
    }
    assert counts == {
        "others": ([1, 0, 0], [0, 0, 1]),
        "indexes": ([0, 0], [1, 0]),
        "lru_others": ([1], [0]),
        "lru_listed": ([0], [1]),
    }
    read.clear()
    bench.load(SPEC).plan(digests=True)
    assert f"others {inner(bench, 'others', 3)}" in read
    assert f"others {inner(bench, 'others', 2)}" not in read
    bench.settle(SPEC)


def test_lookups_see_a_map_of_another_capacity(bench: Bench) -> None:
    bench.apply(SPEC)
    plan = alike(bench, SPEC.replace("3: {entries: {1: 1}}", "3: {max_entries: 9, entries: {1: 1}}"))
    assert plan.maps["others"].slots.where(Action.REPLACE).tolist() == [2]


def test_padding_is_no_difference(bench: Bench) -> None:
    """Neither that of a struct, nor that between the values of CPUs."""
    bench.apply(SPEC)
    value = b"\1\0\xaa\xbb\1\0\0\0"
    change(bench, "hash", 1, lambda fd: maps.update(fd, key(1), value))
    change(bench, "percpu_hash", 1, lambda fd: maps.update(fd, key(1), value * CPUS))
    assert alike(bench).steps == ()


def test_entries_outside_of_owned_keys_are_counted(bench: Bench, read: list[str]) -> None:
    bench.apply(SPEC)
    for number in (9, 20, 299, 302, 0x0A00):
        change(bench, "ports", 1, inserted(number.to_bytes(2, "big")))
    for number in (9, 20):
        change(bench, "counts", 1, inserted(key(number)))
    plan = alike(bench)
    assert plan.steps == ()
    assert [plan.maps[name].slots.others.tolist() for name in ("ports", "counts")] == [[5], [2]]
    read.clear()
    bench.load(SPEC).plan(digests=True)
    assert not [what for what in read if what.startswith(("ports", "counts"))]
    for name, extra in (("ports", (301).to_bytes(2, "big")), ("counts", key(19))):
        change(bench, name, 1, inserted(extra))
    plan = alike(bench)
    assert [plan.maps[name].slots.deletes.tolist() for name in ("ports", "counts")] == [[1], [1]]


def test_a_map_of_another_capacity_is_replaced(bench: Bench) -> None:
    bench.apply(SPEC)
    text = SPEC.replace(
        "1: {entries: {1: {port: 1, weight: 1}, 2", "1: {max_entries: 9, entries: {1: {port: 1, weight: 1}, 2", 1
    )
    plan, _ = bench.settle(text)
    assert plan.maps["hash"].slots.where(Action.REPLACE).tolist() == [0]


def test_elements_outside_of_owned_keys_are_not_looked_at(bench: Bench, read: list[str]) -> None:
    bench.apply(SPEC)
    for index in (2, 6, 8):
        change(bench, "part", 1, lambda fd, at=index: maps.update(fd, key(at), key(1) * 2))  # type: ignore[misc]
    read.clear()
    assert alike(bench).steps == ()
    assert read.count(f"part {inner(bench, 'part', 1)}") == 1, "by the plan without digests"
    for index, slot in ((4, 1), (15, 2)):
        change(bench, "part", slot, lambda fd, at=index: maps.update(fd, key(at), key(1) * 2))  # type: ignore[misc]
    assert alike(bench).maps["part"].slots.deletes.tolist() == [1, 1]


@pytest.mark.parametrize("why", ["switch", "fields", "failure"])
def test_where_there_are_no_digests_maps_are_read(
    why: str, bench: Bench, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is switched off, may not read the fields of a map, or the kernel is out of memory."""
    bench.apply(SPEC)

    def fails(*_: Any, **__: Any) -> None:
        raise KernelError("BPF_MAP_CREATE", 12)

    match why:
        case "switch":
            monkeypatch.setenv(programs.SWITCH, "off")
        case "fields":
            monkeypatch.setattr(map_fields, "fields", lambda: None)
        case _:
            monkeypatch.setattr(LiveSource, "digests", fails)
            monkeypatch.setattr(LiveSource, "looked_up", fails)
    assert alike(bench).steps == ()
    read.clear()
    bench.load(SPEC).plan(digests=True)
    assert {f"{name} {inner(bench, name, 1)}" for name in (*DIGESTED, *LOOKED_UP)} | {"plain"} <= set(read)


def test_a_program_that_fails_when_it_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that it shares can be in use by the traceback; what is live is read."""
    bench.apply(SPEC)

    def fails(*_: object) -> int:
        raise KernelError("BPF_PROG_TEST_RUN", 28)

    monkeypatch.setattr(programs, "run", fails)
    assert bench.load(SPEC).plan(digests=True).steps == ()


PRIVILEGED = """
import numpy as np
from provisioner.bytecode.digest import words_of
from provisioner.bytecode.lookup_program import LookupRecord
from provisioner.kernel import batch, digests, maps
from provisioner.kernel.lookup_programs import LookupProgram
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
words = words_of(4, np.full(4, 255, np.uint8), 1, is_array=True, is_percpu=False)
keys, ones = np.arange(3, dtype=np.uint32).view(np.uint8).reshape(-1, 4), np.ones((3, 4), np.uint8)
for room in (8, 20_000):
    with maps.create(MapShape(MapType.ARRAY, 4, 4, room)) as fd:
        batch.write_batch(fd, keys, ones)
        sizes = np.array([room], np.uint32)
        seen = digests.map_digests(fd, np.zeros((1, 0), np.uint8), sizes, words, digests.new_secret(words))
        program = LookupProgram.load(fd, LookupRecord(0, 4, 4))
        print(seen and int(seen.digests.entries[0]), program is not None, end=" ")
        if program is not None:
            program.close()
"""


@pytest.mark.parametrize(
    ("capabilities", "expected"), [("+bpf", "None False None False"), ("+bpf,+perfmon", "3 True 3 True")]
)
def test_what_a_process_may(capabilities: str, expected: str) -> None:
    """To read the id of a map takes CAP_PERFMON; with CAP_BPF alone, what is live is read."""
    words = ["setpriv", f"--bounding-set=-all,{capabilities}", sys.executable, "-c", PRIVILEGED]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.stdout.strip(), done.stderr) == (expected, "")
