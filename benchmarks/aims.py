"""What we want to reach, and whether a run did. Nothing fails because of it: machines differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.data import Case
from benchmarks.suite import CREATE, NO_CHANGES, Measured, StartUp


@dataclass(frozen=True, slots=True)
class Aim:
    """`what` was measured as `value`, which should be at most `limit` (at least, where `at_least`)."""

    what: str
    value: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "missed"
        sign = ">=" if self.at_least else "<="
        return f"{verdict:6}  {self.value:8.2f} {self.unit:2} ({sign} {self.limit:g})  {self.what}"


def judge(results: Mapping[Case, Measured], start: StartUp) -> Iterator[Aim]:
    """The aims that a run has measurements for."""
    yield Aim("start-up: --version / a bare interpreter", start.version.wall / start.bare.wall, 2)
    yield Aim("start-up: a plan of the example without changes, CPU time", start.plan.cpu, 0.3, "s")
    many = results.get(Case(10_000, 100))
    if many is not None:
        yield from _of_many(many)
    for case, measured in results.items():
        if (case.slots, case.entries, case.source) == (10_000, 100, "csv"):
            create, read = (
                measured.limits[CREATE.name].median_of("seconds"),
                measured.limits[NO_CHANGES.name].median_of("seconds"),
            )
            steps = measured.inside.median_of("steps")
            yield Aim(f"{case.name}: kernel part of create / C", steps / create, 0.7 if case.inner == "array" else 0.6)
            yield Aim(f"{case.name}: observe and diff / C reading", measured.inside.median_of("observe") / read, 2)
            if case.inner != "lpm_trie":  # which no program walks
                verify = measured.inside.median_of("verify") / read
                yield Aim(f"{case.name}: verification by digests / C reading", verify, 0.4)
        if case.total == 1_000_000:
            yield Aim(f"{case.name}: peak memory", measured.verbs[CREATE.name].peak, 250, "MB")
            if case.source == "yaml":
                yield Aim(f"{case.name}: CPU time of a plan", measured.verbs[NO_CHANGES.name].cpu, 15, "s")
    thousand = results.get(Case(1_000, 100))
    if thousand is not None:
        created = thousand.verbs[CREATE.name]
        yield Aim("1,000 slots visible within: grace periods", created.median_of("result", "grace_periods"), 1, "")
        window = created.median_of("result", "window_seconds") * 1000
        yield Aim("1,000 slots: all visible after the first may be", window, 50, "ms")
    ten, hundred = results.get(Case(10_000, 10)), results.get(Case(100_000, 10))
    if ten is not None and hundred is not None:
        each = hundred.verbs[CREATE.name].wall / 100_000 / (ten.verbs[CREATE.name].wall / 10_000)
        yield Aim("time per inner map: 100,000 of them / 10,000", each, 1.5)


def _of_many(measured: Measured) -> Iterator[Aim]:
    name, whole = measured.case.name, measured.verbs[CREATE.name].wall
    limit = measured.limits[CREATE.name].median_of("seconds") + measured.reading.wall
    yield Aim(f"{name}: create, whole process / (C + reading the file)", whole / limit, 4)
    yield Aim(f"{name}: create, whole process / C", whole / measured.limits[CREATE.name].median_of("seconds"), 2)
    yield Aim(f"{name}: the tutorials' way / create", tutorial_seconds(measured) / whole, 40, at_least=True)
    yield Aim(f"{name}: bpftool batch / create", bpftool_seconds(measured) / whole, 40, at_least=True)


def tutorial_seconds(measured: Measured) -> float:
    """The tutorials' way for the whole case, extrapolated."""
    return measured.tutorial.median_of("seconds") * measured.tutorial_scale


def bpftool_seconds(measured: Measured) -> float:
    """What bpftool batch takes for the whole case, extrapolated."""
    return measured.bpftool.wall * measured.bpftool_scale


def growth(results: Mapping[Case, Measured]) -> Iterator[tuple[str, str, str]]:
    """Entries, microseconds and bytes for each, by size: creating hash maps from CSV."""
    cases = [case for case in results if (case.inner, case.outer, case.source) == ("hash", "hash_of_maps", "csv")]
    for case in sorted((case for case in cases if case.entries in (100, 1_000)), key=lambda case: case.total):
        series = results[case].verbs[CREATE.name]
        yield f"{case.total:,}", f"{series.wall / case.total * 1e6:.2f}", f"{series.peak * 2**20 / case.total:.0f}"
