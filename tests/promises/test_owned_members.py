"""A program counts in members that are not ours, while ours are written: with a lock and without, no count is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from provisioner.apply import Status
from provisioner.kernel import host, maps, programs, reading
from provisioner.kernel.fd import InnerId
from provisioner.kernel.members import MemberWriter
from tests.apply.conftest import Bench, bench
from tests.promises.test_torn_reads import running, u32

__all__ = ["bench"]

KEYS = 4
OUTER = ("hashes", "arrays", "locked_hashes", "locked_arrays", "percpu_hashes", "percpu_arrays")
CPUS = host.possible_cpus()


def map_type(name: str) -> str:
    return f"{'percpu_' if 'percpu' in name else ''}{'array' if name.endswith('arrays') else 'hash'}"


def spec(file: Path, limit: int) -> str:
    """`burst` is `limit + 1`: a reader that holds the lock sees both of one version."""
    template = "key: u32, max_entries: 16, owned_members: [limit, burst], on_replace: copy"
    entries = ", ".join(f"{key}: {{limit: {limit}, burst: {limit + 1}}}" for key in range(KEYS))
    templates = [
        f"  {name}: {{type: {map_type(name)}, {template}, "
        f"value: {'locked_quota' if 'locked' in name else 'quota, on_conflict: sum'}}}"
        for name in OUTER
    ]
    outer = [
        f"  {name}: {{object: quotas, inner: {name}, inner_maps: {{1: {{entries: {{{entries}}}}}}}}}" for name in OUTER
    ]
    return "\n".join(
        (
            "types:",
            "  quota: {btf: struct quota}",
            "  locked_quota: {btf: struct locked_quota}",
            "inner_templates:",
            *templates,
            f"objects: {{quotas: {{file: {file}, programs: {{meter: {{pin: meter}}}}}}}}",
            "outer_maps:",
            *outer,
        )
    )


@pytest.fixture
def quotas(bench: Bench, bpf_object: Callable[[str], Path]) -> Path:
    bench.allow_outside = True
    return bpf_object("quotas")


def counted(bench: Bench, name: str) -> int:
    """The sum of the counts in the live inner map."""
    with maps.open_id(InnerId(bench.ids(name)[u32(1)])) as inner:
        _, values = reading.read_entries(inner, maps.info(inner).shape, CPUS)
    return int(np.ascontiguousarray(values).view(np.uint64)[:, 2::3].sum())


def figure(bench: Bench, number: int) -> int:
    """The runs of the program (0), or the values with a lock that were of two versions (1)."""
    return int.from_bytes(bench.entries("figures")[u32(number)], "little")


def changed_while_it_counts(bench: Bench, file: Path, applies: int) -> set[str]:
    """Change both members of all entries again and again; gives the ids of hazards."""
    hazards: set[str] = set()
    with running(bench, "meter", 20_000):
        for number in range(applies):
            plan, result = bench.apply(spec(file, 10 + number))
            assert result.status is Status.APPLIED
            hazards |= {hazard.id for hazard in plan.hazards}
    return hazards


def test_no_count_is_lost(bench: Bench, quotas: Path, full_sweep: bool, figures: list[str]) -> None:
    bench.apply(spec(quotas, 1))
    applies = 500 if full_sweep else 5
    hazards = changed_while_it_counts(bench, quotas, applies)
    runs = figure(bench, 0)
    for name in OUTER:
        assert counted(bench, name) == runs, name
    assert figure(bench, 1) == 0, "under the lock, limit and burst are of one version"
    assert hazards == {"members-not-atomic"}
    writes = applies * KEYS * len(OUTER)
    figures.append(
        f"lost counts beside owned members: 0 of {runs * len(OUTER):,} while {writes:,} entries were changed"
    )


@pytest.mark.parametrize("in_kernel", [True, False])
def test_thousands_of_writes(
    bench: Bench, quotas: Path, monkeypatch: pytest.MonkeyPatch, figures: list[str], full_sweep: bool, in_kernel: bool
) -> None:
    """The same by many writes of each map alone: by system calls, counts are lost, as the plan says."""
    writes = 3000 if full_sweep else 300
    bench.apply(spec(quotas, 1))
    if not in_kernel:
        monkeypatch.setenv(programs.SWITCH, "off")
    desired = bench.load(spec(quotas, 1)).desired
    keys = np.arange(KEYS, dtype=np.uint32).view(np.uint8).reshape(KEYS, 4)
    lost: dict[str, int] = {}
    with running(bench, "meter", 20_000):
        for name in OUTER:
            owned = desired.maps[name].value.owned.mask()
            with (
                maps.open_id(InnerId(bench.ids(name)[u32(1)])) as inner,
                MemberWriter([inner], desired.maps[name].entry_shape, owned, KEYS) as writer,
            ):
                writer.load()
                assert writer.runs_in_kernel is in_kernel
                for limit in range(writes):
                    values = np.zeros((KEYS, len(owned) // 4), np.uint32)
                    values[:, 0::6], values[:, 3::6] = limit, limit + 1
                    writer.write(0, keys, values.view(np.uint8))
    runs = figure(bench, 0)
    for name in OUTER:
        lost[name] = runs - counted(bench, name)
    how = "by a program" if in_kernel else "by system calls"
    figures.append(f"lost counts of {runs:,} in each map, {writes * KEYS:,} writes {how}: {lost}")
    if in_kernel:
        assert not any(lost.values())
        assert figure(bench, 1) == 0
    else:
        assert sum(lost.values()) > 0, lost


def test_one_program_writes_into_many_maps(bench: Bench, quotas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[int, bool]] = []
    load = MemberWriter.load

    def noted(writer: MemberWriter) -> None:
        load(writer)
        loaded.append((len(writer._targets), writer.runs_in_kernel))

    def many(limit: int) -> str:
        text = spec(quotas, limit).replace("object: quotas, ", "object: quotas, max_entries: 16, ")
        return text.replace("inner_maps: {1:", "inner_maps: {1..12:")

    bench.apply(many(1))
    monkeypatch.setattr(MemberWriter, "load", noted)
    bench.settle(many(2))
    assert [each for each in loaded if each[0] > 1] == [(12, True)] * len(OUTER)


def test_the_plan_says_what_is_lost_by_system_calls(
    bench: Bench, quotas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.apply(spec(quotas, 1))
    monkeypatch.setenv(programs.SWITCH, "off")
    plan, _ = bench.settle(spec(quotas, 2))
    noted = {hazard.address for hazard in plan.hazards if hazard.id == "members-by-calls"}
    assert noted == {f"{name}[1]" for name in OUTER}
