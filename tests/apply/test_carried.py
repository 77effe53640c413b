"""What others change in an inner map while it is replaced: carried over by a program, and by system calls alike."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest

from provisioner.apply import as_planned, merge, waves
from provisioner.apply.outcome import open_fds
from provisioner.kernel import batch, cpus, maps, programs, reading
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.entry_table import Index
from provisioner.model.errors import ApplyError, InputError
from provisioner.model.map_shape import MapShape
from provisioner.planning.changes import MapChange
from tests import features
from tests.apply.conftest import Bench

KEY = (1).to_bytes(4, "little")

TEMPLATE = """
  {name}:
    type: {type}
    key: {key}
    value: u64
    max_entries: {room}
    contents: present
    on_replace: copy
    on_conflict: {policy}
"""

OUTER = """
  {name}: {{type: hash_of_maps, key: u32, max_entries: 4, inner: {name}, inner_maps: {{1: {{entries: {{{own}: 99}}}}}}}}
"""


def spec(*cases: tuple[str, str], room: int = 16) -> str:
    """A spec with an outer map for each case: the type of its inner maps, and the policy."""
    templates, outer = [], []
    for map_type, policy in cases:
        is_lpm = map_type == "lpm_trie"
        words = {
            "name": f"{map_type}_{policy}",
            "type": map_type,
            "policy": policy,
            "key": "cidr4" if is_lpm else "u32",
            "own": "10.0.0.8/32" if is_lpm else "8",
            "room": "1024" if map_type.startswith("lru") else str(room),
        }
        templates.append(TEMPLATE.format(**words))
        outer.append(OUTER.format(**words))
    return f"inner_templates: {''.join(templates)}outer_maps: {''.join(outer)}"


COPIED = {1: 10, 2: 10, 3: 10, 6: 10, 7: 10}
IN_THE_OLD_MAP = {2: 15, 3: 15, 4: 5, 5: 5, 6: 0, 7: 0, 8: 55}
"""Changes after the copy; 0 is a delete. The spec owns key 8."""

IN_THE_NEW_MAP = {3: 12, 5: 7, 7: 12}

EXPECTED = {
    "new": {1: 10, 2: 15, 3: 12, 4: 5, 5: 7, 7: 12, 8: 99},
    "old": {1: 10, 2: 15, 3: 15, 4: 5, 5: 5, 8: 99},
    "sum": {1: 10, 2: 15, 3: 17, 4: 5, 5: 12, 7: 2, 8: 99},
}

TYPES = ["hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash", "lpm_trie"]


def key_of(number: int, shape: MapShape) -> bytes:
    """A key, or of an LPM trie the prefix 10.0.0.number/32."""
    if shape.key_size == 8:
        return (32).to_bytes(4, "little") + bytes((10, 0, 0, number))
    return number.to_bytes(4, "little")


def write(fd: MapFd, changes: Mapping[int, int]) -> None:
    """Write the same value for each CPU."""
    shape = maps.info(fd).shape
    copies = reading.value_stride(shape, len(cpus.possible())) // 8
    for number, value in changes.items():
        if value or shape.is_array:
            maps.update(fd, key_of(number, shape), value.to_bytes(8, "little") * copies)
        else:
            maps.delete(fd, key_of(number, shape))


def inner(bench: Bench, name: str) -> InnerId:
    return InnerId(bench.ids(name)[KEY])


def read(number: InnerId) -> dict[int, Any]:
    """What is not zero, as one number where all CPUs have the same."""
    with maps.open_id(number) as fd:
        shape = maps.info(fd).shape
        keys, values = reading.read_entries(fd, shape, len(cpus.possible()))
    held = np.ascontiguousarray(values).view(np.uint64)
    numbers = keys[:, -1] if shape.key_size == 8 else keys[:, 0]
    entries = {number: set(row) for number, row in zip(numbers.tolist(), held.tolist(), strict=True)}
    return {number: row.pop() if len(row) == 1 else row for number, row in entries.items() if row != {0}}


def meanwhile(monkeypatch: pytest.MonkeyPatch, old: Mapping[int, int], new: Mapping[int, int]) -> None:
    """Have both maps changed while they are replaced: the old one after the copy, the new one once it is live."""
    keep, carry_over = waves.keep, merge.carry_over

    def keeping(outer: MapFd, change: MapChange, rows: Index, *others: Any) -> int:
        for number in as_planned.planned_ids(change, rows).tolist():
            with maps.open_id(InnerId(number)) as fd:
                write(fd, old)
        return keep(outer, change, rows, *others)

    def carrying(desired: Any, targets: list[MapFd], *others: Any) -> int:
        write(targets[0], new)
        return carry_over(desired, targets, *others)

    monkeypatch.setattr(waves, "keep", keeping)
    monkeypatch.setattr(merge, "carry_over", carrying)


@pytest.mark.parametrize("switch", ["on", "off"])
def test_each_side_changes(switch: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    if switch == "on":
        features.need_syscall_programs()
    monkeypatch.setenv(programs.SWITCH, switch)
    cases = list(product(TYPES, EXPECTED))
    names = [f"{map_type}_{policy}" for map_type, policy in cases]
    project = bench.load(spec(*cases))
    project.apply()
    for name in names:
        with maps.open_id(inner(bench, name)) as fd:
            write(fd, COPIED)
    meanwhile(monkeypatch, IN_THE_OLD_MAP, IN_THE_NEW_MAP)
    plan, _ = project.apply(recreate=[f"{name}[1]" for name in names])
    by_calls = {hazard.address for hazard in plan.hazards if hazard.id == "carried-by-calls"}
    assert by_calls == {f"{name}[1]" for name in names if switch == "off" or name.startswith("lpm")}
    assert {name: read(inner(bench, name)) for name in names} == {
        f"{map_type}_{policy}": EXPECTED[policy] for map_type, policy in cases
    }


def test_a_map_that_programs_only_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """System calls carry changes over, and no program writes to the new map meanwhile."""
    text = spec(("hash", "new")).replace("    contents:", "    flags: [rdonly_prog]\n    contents:")
    project = bench.load(text)
    project.apply()
    with maps.open_id(inner(bench, "hash_new")) as fd:
        write(fd, COPIED)
    meanwhile(monkeypatch, IN_THE_OLD_MAP, IN_THE_NEW_MAP)
    plan, _ = project.apply(recreate=["hash_new[1]"])
    assert [hazard.id for hazard in plan.hazards] == ["foreign-entries-replaced"]
    assert read(inner(bench, "hash_new")) == EXPECTED["new"]


@pytest.mark.parametrize("map_type", ["hash", "array", "percpu_hash", "lpm_trie"])
def test_counts_of_maps_that_become_one_are_added(map_type: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slots come to share an inner map, and had one each."""
    name = f"{map_type}_sum"
    own = f"inner_maps: {{1: {{entries: {{{'10.0.0.8/32' if map_type == 'lpm_trie' else '8'}: 99}}}}}}"
    separate = spec((map_type, "sum")).replace(own, "inner_maps: {1: {}, 2: {}}")
    bench.load(separate).apply()
    first, second = (InnerId(bench.ids(name)[number.to_bytes(4, "little")]) for number in (1, 2))
    for number, changes in ((first, {1: 10, 2: 20, 4: 7}), (second, {1: 100, 3: 30, 4: 70})):
        with maps.open_id(number) as fd:
            write(fd, changes)
    shared = separate.replace("{1: {}, 2: {}}", "{1: {shared: one}, 2: {shared: one}}")
    meanwhile(monkeypatch, {1: 15}, {1: 115})
    bench.load(f"{shared}shared_inner_maps: {{one: {{inner: {name}}}}}\n").apply()
    # Each of the two old maps has counted up to 15, and the new one 5 more.
    assert read(inner(bench, name)) == {1: 115 + (15 - 10) + (15 - 100), 2: 20, 3: 30, 4: 77}


def test_what_has_no_room_is_rolled_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old map comes back with all that it holds."""
    project = bench.load(spec(("hash", "new"), room=8))
    project.apply()
    before = inner(bench, "hash_new")
    meanwhile(monkeypatch, {1: 1, 2: 2, 3: 3}, dict.fromkeys(range(10, 15), 9))
    with pytest.raises(ApplyError) as failed:
        project.apply(recreate=["hash_new[1]"])
    assert failed.value.status == "rolled_back"
    assert inner(bench, "hash_new") == before
    assert read(before) == {1: 1, 2: 2, 3: 3, 8: 99}


def test_large_copies_are_waves_of_their_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for copies limits a wave; every slot is replaced."""
    text = spec(("hash", "new")).replace("inner_maps: {1:", "inner_maps: {2: {}, 3: {}, 1:")
    project = bench.load(text)
    project.apply()
    before = bench.ids("hash_new")
    monkeypatch.setattr(merge, "COPIES_BYTES", 1)
    sizes: list[int] = []
    publish = batch.publish

    def publishing(outer: MapFd, keys: Any, fds: Any, **how: Any) -> int:
        sizes.append(len(keys))
        return publish(outer, keys, fds, **how)

    monkeypatch.setattr(batch, "publish", publishing)
    project.apply(recreate=[f"hash_new[{slot}]" for slot in (1, 2, 3)])
    assert set(sizes) == {1}
    after = bench.ids("hash_new")
    assert all(before[key] != after[key] for key in before)


def test_only_counters_have_a_sum(bench: Bench) -> None:
    text = spec(("hash", "sum")).replace("value: u64", "value: {struct: {count: u64, port: be16, rest: u16}}")
    with pytest.raises(InputError) as refused:
        bench.load(text.replace("8: 99", "8: {count: 99, port: 1, rest: 1}"))
    assert [problem.id for problem in refused.value.problems] == ["sum-without-counters"]
    assert "`port` is be16, `rest` is u16" in refused.value.problems[0].what


@pytest.mark.parametrize("call", ["run", "load"])
def test_a_program_that_fails(call: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not loaded is done without. One that is refused when it runs has the apply rolled back."""
    features.need_syscall_programs()
    project = bench.load(spec(("hash", "sum")))
    project.apply()
    before = inner(bench, "hash_sum")
    with maps.open_id(before) as fd:
        write(fd, COPIED)
    meanwhile(monkeypatch, IN_THE_OLD_MAP, IN_THE_NEW_MAP)
    if call == "load":
        monkeypatch.setattr(programs, "load", lambda *_: None)
        project.apply(recreate=["hash_sum[1]"])
        assert read(inner(bench, "hash_sum")) == EXPECTED["sum"]
        return

    def fails(*_: object) -> int:
        raise KernelError("BPF_PROG_TEST_RUN", errno.ENOMEM)

    monkeypatch.setattr(programs, "run", fails)
    open_before = open_fds()
    with pytest.raises(ApplyError) as failed:
        project.apply(recreate=["hash_sum[1]"])
    assert failed.value.status == "rolled_back"
    assert open_fds() == open_before
    assert inner(bench, "hash_sum") == before
    assert read(before) == EXPECTED["old"] | {8: 55}
