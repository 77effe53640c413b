"""Inner maps that programs create and fill: the same maps as by system calls, and an owner for each fd."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from provisioner.apply import Options, Status, progress
from provisioner.kernel import batch, maps, new_maps, programs, reading, syscalls
from provisioner.kernel import calls as kernel_calls
from provisioner.kernel.fd import FdSet, InnerId, MapFd
from provisioner.kernel.new_maps import NewMaps
from provisioner.kernel.reasons import KernelError
from provisioner.model.entry_table import EntryTable
from provisioner.model.errors import ProvisionerError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from tests import features
from tests.apply.conftest import Bench

SPEC = """
types:
  padded: {struct: {port: u16, weight: u32}}
inner_templates:
  hash: {type: hash, key: u32, value: padded, max_entries: 16, numa_node: 0}
  wide: {type: hash, key: {struct: {a: u8, b: u64}}, value: "char[300]", max_entries: 4, flags: [no_prealloc]}
  array: {type: array, key: u32, value: padded, max_entries: 16, flags: [inner_map]}
  fixed: {type: array, key: u32, value: u64, max_entries: 16}
  lpm: {type: lpm_trie, key: cidr4, value: u32, max_entries: 16}
  lru: {type: lru_hash, key: u32, value: u64, max_entries: 64, contents: present}
  percpu: {type: percpu_hash, key: u32, value: u32, max_entries: 16}
  others: {type: hash, key: u16, value: u64, max_entries: 16, contents: present, update: replace, on_replace: copy}
  bloom: {type: bloom_filter, value: u64, max_entries: 16, map_extra: 3, contents: ignore}
  readonly: {type: hash, key: u32, value: u64, max_entries: 4, flags: [rdonly_prog]}
shared_inner_maps:
  common: {inner: hash, entries: {1: {port: 1, weight: 1}}}
outer_maps:
  hash:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: hash
    inner_maps:
      1: {entries: {1: {port: 1, weight: 1}, 2: {port: 2, weight: 2}}}
      2: {max_entries: 32, entries: {9: {port: 1, weight: 1}}}
      3: {shared: common}
      4: {shared: common}
      5: {entries: {}}
  wide:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: wide
    inner_maps: {1: {entries: [{key: {a: 1, b: 2}, value: text}]}}
  array:
    type: array_of_maps
    key: u32
    max_entries: 8
    inner: array
    inner_maps: {1: {max_entries: 4, entries: {0: {port: 1, weight: 0}, 3: {port: 0, weight: 1}}}, 2: {}}
  fixed: {type: hash_of_maps, key: u32, max_entries: 8, inner: fixed, inner_maps: {1: {entries: {5: 5}}, 2: {}}}
  lpm:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: lpm
    inner_maps: {1: {entries: {10.0.0.0/8: 1, 0.0.0.0/0: 2}}, 2: {max_entries: 99, entries: {10.1.0.0/16: 3}}}
  lru: {type: hash_of_maps, key: u32, max_entries: 8, inner: lru, inner_maps: {1: {entries: {1: 1, 2: 2}}}}
  percpu: {type: hash_of_maps, key: u32, max_entries: 8, inner: percpu, inner_maps: {1: {entries: {1: 1, 2: 2}}}}
  others: {type: hash_of_maps, key: u32, max_entries: 8, inner: others, inner_maps: {1: {entries: {1: 1}}, 2: {}}}
  bloom: {type: hash_of_maps, key: u32, max_entries: 8, inner: bloom, inner_maps: {1: {}}}
  readonly: {type: hash_of_maps, key: u32, max_entries: 8, inner: readonly, inner_maps: {1: {entries: {1: 1}}}}
"""

OUTER = ("hash", "wide", "array", "fixed", "lpm", "lru", "percpu", "others", "bloom", "readonly")

INNER = MapShape(MapType.HASH, 4, 8, 2)


@pytest.fixture(autouse=True)
def always(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    features.need_syscall_programs()
    monkeypatch.setenv(programs.SWITCH, "always")
    monkeypatch.setattr(batch, "slots_batch_waits_once", lambda: True)  # it is measured, and waits for few slots anyway
    return kernel


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the maps that system calls create or fill."""
    made: list[str] = []
    create, write_batch = maps.create, batch.write_batch

    def creates(shape: MapShape, name: str = "", **how: Any) -> MapFd:
        made.append(f"create {name}")
        return create(shape, name, **how)

    def fills(*arguments: Any, name: str = "", **how: Any) -> None:
        made.append(f"fill {name}")
        write_batch(*arguments, name=name, **how)

    monkeypatch.setattr(maps, "create", creates)
    monkeypatch.setattr(batch, "write_batch", fills)
    return made


def made(bench: Bench) -> dict[str, Any]:
    """What is live: of each inner map the information of the kernel and the entries, by slot."""
    live: dict[str, Any] = {}
    for name in OUTER:
        for slot, number in bench.ids(name).items():
            with maps.open_id(InnerId(number)) as fd:
                info = maps.info(fd)
                ids = (info.btf_id != 0, info.btf_key_type_id, info.btf_value_type_id)
                live[f"{name} {slot.hex()}"] = (info.shape, info.name, ids)
        if name != "bloom":
            live[name] = bench.tree(name)
    return live


def test_the_same_maps_and_report_as_by_system_calls(
    bench: Bench, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for switch in ("always", "off"):
        monkeypatch.setenv(programs.SWITCH, switch)
        calls.clear()
        plan, result = bench.settle(SPEC)
        counts = (result.status, result.fds_after - result.fds_before)
        by_calls = {what for what in calls if what.startswith("fill ")}
        outcomes.append((plan.digest, counts, made(bench), by_calls))
        bench.destroy(SPEC)
    (*ours, filled), (*theirs, all_filled) = outcomes
    assert ours == theirs
    # A program writes one CPU's value of a per-CPU map, and it may not write a map that is read-only for programs.
    assert {"fill percpu", "fill readonly"} <= filled
    assert not filled & {f"fill {name}" for name in ("hash", "wide", "array", "fixed", "lpm", "lru", "others")}
    assert {f"fill {name}" for name in OUTER if name != "bloom"} <= all_filled


def test_what_others_wrote_is_taken_over(bench: Bench) -> None:
    bench.apply(SPEC)
    with maps.open_id(InnerId(bench.ids("others")[b"\1\0\0\0"])) as fd:
        maps.update(fd, b"\7\0", b"\7" * 8)
    bench.apply(SPEC.replace("1: {entries: {1: 1}}, 2: {}}}\n  bloom", "1: {entries: {1: 2}}, 2: {}}}\n  bloom"))
    assert bench.tree("others")[b"\1\0\0\0"] == {b"\1\0": b"\2" + bytes(7), b"\7\0": b"\7" * 8}


def test_members_that_were_copied_are_not_written_over(bench: Bench) -> None:
    """What a new map takes over has the members of the spec already, and those of others."""
    text = """
types: {{limit: {{struct: {{limit: u32, hits: u32}}}}}}
inner_templates:
  rules: {{type: hash, key: u32, value: limit, max_entries: {room}, owned_members: [limit], set: {{hits: 1}}}}
outer_maps:
  rules:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: rules
    on_replace: copy
    inner_maps: {{1: {{entries: {{1: {{limit: 5}}}}}}}}
"""
    bench.apply(text.format(room=8))
    with maps.open_id(InnerId(bench.ids("rules")[b"\1\0\0\0"])) as fd:
        maps.update(fd, b"\1\0\0\0", b"\5\0\0\0\7\0\0\0")
    bench.apply(text.format(room=16))
    assert bench.tree("rules")[b"\1\0\0\0"] == {b"\1\0\0\0": b"\5\0\0\0\7\0\0\0"}


def table(*slots: list[int]) -> EntryTable:
    """Entries with these keys, whose values are ten times as much."""
    counts = np.array([len(keys) for keys in slots])
    keys = np.array([key for each in slots for key in each], np.uint32)
    values = (keys * 10).astype(np.uint64).view(np.uint8).reshape(-1, 8)
    return EntryTable(np.cumsum(counts) - counts, counts, keys.view(np.uint8).reshape(-1, 4), values)


def sizes(fds: FdSet[MapFd]) -> list[int]:
    return [len(reading.read_entries(fd, INNER, 1)[0]) for fd in fds]


@pytest.mark.parametrize("run", [1, 2, 100])
def test_entries_are_written_in_runs_up_to_a_map_that_is_full(run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order of slots. The map that is full, and those after it, are the caller's."""
    monkeypatch.setattr(new_maps, "_RUN_ENTRIES", run)
    new, entries = NewMaps(INNER, "some"), table([1, 2], [], [3], [4, 5, 6], [7])
    with FdSet[MapFd]() as fds:
        assert new.create(fds, np.full(5, 2, np.uint32), (None, 0, 0)) == 5
        assert new.fill(fds.numbers()[:4], np.array([2, 1, 0, 4]), entries) == 4
        assert sizes(fds) == [1, 0, 2, 1, 0]
    with FdSet[MapFd]() as fds:
        new.create(fds, np.full(5, 2, np.uint32), (None, 0, 0))
        assert new.fill(fds.numbers(), np.arange(5), entries) == 3
        assert sizes(fds) == [2, 0, 1, 2, 0]


def test_an_interrupt_is_answered_between_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_maps, "_RUN_ENTRIES", 1)
    runs = 0

    def pause() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            raise KeyboardInterrupt

    with FdSet[MapFd]() as fds:
        new = NewMaps(INNER, "some")
        new.create(fds, np.full(2, 2, np.uint32), (None, 0, 0))
        with pytest.raises(KeyboardInterrupt):
            new.fill(fds.numbers(), np.arange(2), table([1, 2], [3, 4]), pause)
        assert sizes(fds) == [2, 0]


def test_a_map_that_cannot_be_created_is_left_to_the_caller() -> None:
    """Whose system call says why."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with FdSet[MapFd]() as fds:
        try:
            opened = set(map(int, os.listdir("/proc/self/fd")))
            free = (number for number in range(limit[0]) if number not in opened)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, 8, None)), limit[1]))
            count = NewMaps(INNER, "some").create(fds, np.full(50, 2, np.uint32), (None, 0, 0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert 0 < count < 50
        assert len(fds.numbers()) == len(list(fds)) == count
    with FdSet[MapFd]() as fds:
        new = NewMaps(MapShape(MapType.HASH, 4, 8, 2, MapFlag.INNER_MAP), "some")
        assert new.create(fds, np.full(3, 2, np.uint32), (None, 0, 0)) == 0
        assert list(fds) == []


@pytest.mark.parametrize("raised", [KeyboardInterrupt, MemoryError])
def test_what_a_program_created_is_closed_whatever_happens_after_it(
    raised: type[BaseException], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kernel_calls.run_syscall_program

    def interrupted(number: int, _: object) -> int:
        run(number)
        raise raised

    monkeypatch.setattr(kernel_calls, "run_syscall_program", interrupted)
    with FdSet[MapFd]() as fds:
        with pytest.raises(raised):
            NewMaps(INNER, "some").create(fds, np.full(3, 2, np.uint32), (None, 0, 0))
        assert len(fds) == 3
    with pytest.raises((raised, ProvisionerError)):
        bench.apply(SPEC)
    monkeypatch.setattr(kernel_calls, "run_syscall_program", run)
    bench.settle(SPEC)


def test_where_a_batch_waits_for_each_slot_maps_are_filled_by_system_calls(
    bench: Bench, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "slots_batch_waits_once", lambda: False)
    bench.settle(SPEC)
    assert "fill hash" in calls


def failing(name: str) -> Callable[..., Any]:
    def fails(*_: Any, **__: Any) -> None:
        raise KernelError(name, errno.ENOMEM)

    return fails


@pytest.mark.parametrize(
    ("where", "missing"), [(kernel_calls, "run_syscall_program"), (syscalls, "memory_of"), (new_maps, "_put")]
)
def test_what_is_refused_to_programs_is_done_by_system_calls(
    where: ModuleType, missing: str, bench: Bench, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, missing, failing(missing))
    _, result = bench.settle(SPEC)
    assert result.status is Status.APPLIED
    assert "fill hash" in calls


PRIVILEGED = """
import numpy as np
from provisioner.kernel import batch, maps, new_maps
from provisioner.kernel.fd import FdSet
from tests.apply.test_staged import INNER, sizes, table
batch.slots_batch_waits_once = lambda: True
new, fds = new_maps.NewMaps(INNER, "some"), FdSet()
created = new.create(fds, np.full(2, 2, np.uint32), (None, 0, 0))
while len(fds) < 2:
    fds.add(maps.create(INNER, "some"))
print(created, new.fill(fds.numbers(), np.arange(2), table([1], [2, 3])), sizes(fds))
fds.close()
"""


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [("+bpf", "0 2 [1, 2]"), ("+bpf,+perfmon", "2 2 [1, 2]"), ("+sys_admin", "2 2 [1, 2]")],
)
def test_what_a_process_may(capabilities: str, expected: str) -> None:
    """A program calls bpf(2) with CAP_PERFMON only; CAP_BPF is enough to fill maps."""
    words = ["setpriv", f"--bounding-set=-all,{capabilities}", sys.executable, "-c", PRIVILEGED]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.stdout.strip(), done.stderr) == (expected, "")


COUNTED = """
inner_templates:
  hash: {type: hash, key: u32, value: u32, max_entries: 16}
shared_inner_maps:
  common: {inner: hash, entries: {1: 1, 2: 2}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: hash
    inner_maps:
      1: {entries: {1: 1, 2: 2, 3: 3}}
      2: {entries: {1: 1}}
      3: {shared: common}
      4: {shared: common}
      5: {}
"""


@pytest.mark.parametrize("switch", ["always", "off"])
def test_progress_within_a_wave(bench: Bench, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    """Entries of a shared inner map are written once."""
    monkeypatch.setenv(programs.SWITCH, switch)
    monkeypatch.setattr(progress, "_EVERY", 0)
    reports: list[tuple[str, int, int]] = []
    bench.options = Options(progress=lambda what, so_far: reports.append((what, so_far.done, so_far.total)))
    bench.apply(COUNTED)
    *within, published, compared = reports
    assert within[-1] == ("entries written: 6", 6, 6)
    assert (published[1:], compared[1:]) == ((5, 5), (0, 0))
    assert [done for _, done, _ in within] == sorted(done for _, done, _ in within)
