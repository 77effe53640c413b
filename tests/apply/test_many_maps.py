"""The work of a plan grows with the number of maps, not with its square: calls are counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from provisioner.kernel.programs import SWITCH
from provisioner.views import plan_report
from tests.apply.conftest import Bench

FEW, MANY = 3, 30


def spec(maps: int, head: str) -> str:
    outer = "{type: hash_of_maps, key: u32, max_entries: 4, inner: one, inner_maps: {1: {entries: {1: 1}}}}"
    plain = "{type: hash, key: u32, value: u32, max_entries: 4, entries: {1: 1}}"
    return "\n".join(
        (
            head,
            "inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 8}}",
            "outer_maps:",
            *(f"  outer{number}: {outer}" for number in range(maps)),
            "maps:",
            *(f"  plain{number}: {plain}" for number in range(maps)),
        )
    )


def calls_of(work: Callable[[], object]) -> int:
    """How many functions `work` calls, those of C among them."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("head", ["", "pin_inner_maps: true"])
def test_ten_times_the_maps_are_ten_times_the_work(bench: Bench, head: str) -> None:
    counts = {}
    for maps in (FEW, MANY):
        text = spec(maps, head)
        bench.apply(text)
        project = bench.load(text)
        project.plan()  # what is imported once is not counted
        counts[maps] = calls_of(lambda: plan_report.report(project.plan()))  # noqa: B023
        empty = project.plan(against="empty")
        counts[-maps] = calls_of(lambda: [empty.maps[step.map] for step in empty.steps if hasattr(step, "map")])  # noqa: B023
        bench.destroy(text)
    for few, many in ((counts[FEW], counts[MANY]), (counts[-FEW], counts[-MANY])):
        assert many < 13 * few, f"{many / few:.1f} times the calls for {MANY // FEW} times the maps"


@pytest.mark.parametrize("digests", [True, False])
def test_a_comparison_tells_how_many_slots_it_has_read(
    bench: Bench, digests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "always")
    text = spec(FEW, "")
    bench.apply(text)
    calls: list[tuple[int, int]] = []
    bench.load(text).plan(digests=digests, compared=lambda *numbers: calls.append(numbers))
    assert calls[-1] == (2 * FEW, 2 * FEW), "a plain map counts as one"
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
