"""A program counts in inner maps while applies replace them: no count is lost, and no entry that it made is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from provisioner.kernel import cpus, maps, programs, reading
from provisioner.kernel.fd import InnerId
from tests.apply.conftest import Bench, bench
from tests.promises.test_torn_reads import running, u32

__all__ = ["bench"]

FLOW_RUNS = 0x4000
COUNTED = ("hashes", "arrays", "percpu_hashes", "percpu_arrays", "lrus")
OUTER = (*COUNTED, "flows")


def spec(file: Path) -> str:
    template = "key: u32, value: u64, contents: ignore, on_replace: copy"
    types = {"hashes": "hash", "arrays": "array", "percpu_hashes": "percpu_hash", "percpu_arrays": "percpu_array"}
    types |= {"lrus": "lru_hash"}
    templates = [
        f"  {name}: {{type: {kind}, {template}, on_conflict: sum, max_entries: {1024 if name == 'lrus' else 16}}}"
        for name, kind in types.items()
    ]
    templates.append(f"  flows: {{type: hash, {template}, max_entries: 200000}}")
    outer = [f"  {name}: {{object: counting, key: u32, inner: {name}, inner_maps: {{1: {{}}}}}}" for name in OUTER]
    return "\n".join(
        (
            "inner_templates:",
            *templates,
            f"objects: {{counting: {{file: {file}, programs: {{counter: {{pin: counter}}}}}}}}",
            "outer_maps:",
            *outer,
        )
    )


@pytest.fixture
def counting(bench: Bench, bpf_object: Callable[[str], Path]) -> str:
    bench.allow_outside = True
    text = spec(bpf_object("counting"))
    bench.apply(text)
    return text


def values(bench: Bench, name: str) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """The keys of the live inner map, and the sum of its values over all CPUs."""
    with maps.open_id(InnerId(bench.ids(name)[u32(1)])) as inner:
        keys, held = reading.read_entries(inner, maps.info(inner).shape, len(cpus.possible()))
    return keys.view(np.uint32).ravel(), np.ascontiguousarray(held).view(np.uint64).sum(axis=1)


def replaced_while_it_counts(bench: Bench, text: str, applies: int) -> tuple[int, set[str]]:
    """Replace all inner maps again and again; gives the runs of the program, and the ids of hazards."""
    project = bench.load(text)
    hazards: set[str] = set()
    with running(bench, "counter", 20_000) as runs:
        for _ in range(applies):
            plan, _ = project.apply(bench.overrides, recreate=[f"{name}[1]" for name in OUTER])
            hazards |= {hazard.id for hazard in plan.hazards}
    return sum(runs), hazards


def flows(bench: Bench) -> list[int]:
    return sorted(values(bench, "flows")[0].tolist())


def test_no_count_is_lost(bench: Bench, counting: str, full_sweep: bool, figures: list[str]) -> None:
    applies = 167 if full_sweep else 5
    runs, hazards = replaced_while_it_counts(bench, counting, applies)
    for name in COUNTED:
        assert int(values(bench, name)[1].sum()) == runs, name
    assert flows(bench) == list(range(-(-runs // FLOW_RUNS))), "each entry that the program made"
    assert "carried-by-calls" not in hazards
    replacements = applies * len(OUTER)
    figures.append(f"lost counts: 0 of {runs * len(COUNTED):,} over {replacements:,} replacements of inner maps")


def test_counts_are_lost_by_system_calls(bench: Bench, counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says so. Entries that the program makes are not lost, for BPF_NOEXIST needs no program."""
    monkeypatch.setenv(programs.SWITCH, "off")
    runs, hazards = replaced_while_it_counts(bench, counting, 1)
    assert "carried-by-calls" in hazards
    assert flows(bench) == list(range(-(-runs // FLOW_RUNS)))


def test_counts_are_lost_where_the_new_map_wins(bench: Bench, counting: str) -> None:
    """The other tests could see a loss: with `on_conflict: new`, what both maps counted is not added."""
    text = counting.replace("on_conflict: sum", "on_conflict: new")
    lost = 0
    for _ in range(50):  # whether both maps count is a matter of microseconds
        before = int(values(bench, "hashes")[1].sum())
        runs, _ = replaced_while_it_counts(bench, text, 1)
        lost = before + runs - int(values(bench, "hashes")[1].sum())
        if lost:
            break
    assert lost > 0
