"""What it costs to change the shape of live maps: an outer map that grows, and entries that get another value type.

`python -m benchmarks.shapes FOLDER [SLOTS [ENTRIES]]`, as root, with a directory on a bpffs. It prints the rows of the
table in docs/benchmarks.md: medians of a few rounds of the steps of an apply, beside `c/reference.c`, which makes the
same system calls in one thread; then what a migration spends on reading and on converting.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

import provisioner
from benchmarks.contenders import Contenders
from benchmarks.data import Case
from provisioner.apply import Options
from provisioner.apply.run import apply_plan
from provisioner.kernel import batch, host, locking, maps, reading
from provisioner.kernel.fd import InnerId
from provisioner.planning.plan import Plan
from provisioner.project import Project

HEAD: Final = "| what | provisioner s | C s | ratio |"
PARTS: Final = "| a migration of | reading s | converting s | ratio |"
_ROUNDS: Final = 3
_SPEC: Final = """version: 1
name: shapes
inner_templates:
  inner: {{type: hash, key: u32, value: {value}, max_entries: {entries}, contents: ignore, migrate: auto}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: {size}, inner: inner, inner_maps: {{0..{last}: {{}}}}}}
"""
_NARROW: Final = "{struct: {hits: u64}}"
_WIDE: Final = "{struct: {hits: u64, since: u64}}"


def main(folder: Path, slots: int, entries: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(Path(scratch), folder)
        print(HEAD)
        print(bench.grown(slots))
        print(bench.migrated(entries))
        print()
        print(PARTS)
        print(bench.parts(entries))


class _Bench:
    """The rounds of one run; specs are in `scratch`, pins below `folder`."""

    def __init__(self, scratch: Path, folder: Path) -> None:
        self._scratch = scratch
        self._root = folder / "shapes"
        self._contenders = Contenders(scratch, folder)

    def grown(self, slots: int) -> str:
        """An outer map that is twice as large afterwards, with all its inner maps."""
        small, large = self._project(_NARROW, 4, slots, slots), self._project(_NARROW, 4, slots, 2 * slots)
        ours = [self._changed(small, large, lambda _: None) for _ in range(_ROUNDS)]
        limit = self._limit(Case(slots, 1), "grow")
        return _row(f"{slots:,} slots of an outer map that grows", ours, limit)

    def migrated(self, entries: int) -> str:
        """One inner map with a longer value."""
        before, after = self._project(_NARROW, entries, 1, 1), self._project(_WIDE, entries, 1, 1)
        ours = [self._changed(before, after, lambda plan: _fill(plan, entries)) for _ in range(_ROUNDS)]
        return _row(f"{entries:,} entries migrated", ours, self._limit(Case(1, entries), "migrate"))

    def parts(self, entries: int) -> str:
        """Reading and converting alone, of all entries."""
        before, after = self._project(_NARROW, entries, 1, 1), self._project(_WIDE, entries, 1, 1)
        plan, _ = before.apply()
        _fill(plan, entries)
        done = after.plan().maps["outer"].migrated
        assert done is not None
        assert done.reshaping is not None
        how, times = done.reshaping, []
        with maps.open_id(_inner(before)) as fd:
            for _ in range(_ROUNDS):
                started = time.perf_counter()
                keys, values = reading.read_entries(fd, maps.info(fd).shape, host.read_host().possible_cpus)
                read = time.perf_counter()
                how.keys(keys), how.values(values)
                times.append((read - started, time.perf_counter() - read))
        before.destroy()
        reads, conversions = zip(*times, strict=True)
        return _cells(f"{entries:,} entries", median(reads), median(conversions), median(conversions) / median(reads))

    def _project(self, value: str, entries: int, slots: int, size: int) -> Project:
        spec = self._scratch / "shapes.yaml"
        spec.write_text(_SPEC.format(value=value, entries=entries, size=size, last=slots - 1), encoding="ascii")
        return provisioner.load([spec], pin_root=str(self._root))

    def _changed(self, before: Project, after: Project, prepare: Callable[[Plan], None]) -> float:
        """The seconds that the steps of an apply take, without the plan and the comparison afterwards."""
        plan, _ = before.apply()
        prepare(plan)
        changed = after.plan()
        with locking.lock(self._root, 0):
            started = time.perf_counter()
            apply_plan(changed, Options(), tuple)
            took = time.perf_counter() - started
        after.destroy()
        return took

    def _limit(self, case: Case, verb: str) -> list[float]:
        return list(self._limits(case, verb))

    def _limits(self, case: Case, verb: str) -> Iterator[float]:
        for _ in range(_ROUNDS):
            self._contenders.reference(case, "create")
            yield float(self._contenders.reference(case, verb).output["seconds"])
            self._contenders.reference(case, "destroy")


def _inner(project: Project) -> InnerId:
    plan = project.plan()
    observed = plan.maps["outer"].observed
    assert observed is not None
    return InnerId(int(observed.slots.inner_ids[0]))


def _fill(plan: Plan, entries: int) -> None:
    """Write entries as a data plane would."""
    with maps.open_pin(Path(plan.desired.pin_root) / "outer") as outer:
        _, ids = reading.read_slots(outer, maps.info(outer).shape)
    numbers = np.arange(entries, dtype=np.uint64)
    with maps.open_id(InnerId(int(ids[0]))) as fd:
        batch.write_batch(fd, numbers.astype(np.uint32), numbers)


def _row(what: str, ours: list[float], limit: list[float]) -> str:
    return _cells(what, median(ours), median(limit), median(ours) / median(limit))


def _cells(what: str, *numbers: float) -> str:
    return f"| {what} | {numbers[0]:.3f} | {numbers[1]:.3f} | {numbers[2]:.1f} |"


if __name__ == "__main__":
    sizes = [int(text) for text in sys.argv[2:]]
    main(Path(sys.argv[1]), *(sizes + [100_000, 1_000_000][len(sizes) :]))
