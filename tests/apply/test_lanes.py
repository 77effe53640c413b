"""Outer maps are published side by side, so that they share grace periods; `after` and rollback stay as they are."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.apply import Status
from provisioner.kernel import batch
from provisioner.model.errors import ApplyError, Problem
from provisioner.planning import lanes
from provisioner.views import plan_report
from tests.apply.conftest import Bench

MAPS = 24


def spec(value: int = 1, slots: str = "0..3", after: str = "") -> str:
    maps = "\n".join(
        f"  m{number:02}: {{type: hash_of_maps, key: u32, max_entries: 8, inner: acl, "
        f"inner_maps: {{{slots}: {{entries: {{1: {value}}}}}}}{after if number else ''}}}"
        for number in range(MAPS)
    )
    return f"""
inner_templates: {{acl: {{type: hash, key: u32, value: u32, max_entries: 4}}}}
outer_maps:
{maps}
"""


def live(bench: Bench) -> dict[str, dict[bytes, dict[bytes, bytes]]]:
    return {f"m{number:02}": bench.tree(f"m{number:02}") for number in range(0, MAPS, 7)}


def test_maps_share_the_grace_periods_that_they_wait_for(bench: Bench) -> None:
    plan, created = bench.settle(spec())
    assert [len(units) for units in lanes.groups(plan)] == [1, MAPS, 1]
    assert plan_report.report(plan).grace_periods == 1
    assert created.grace_periods < MAPS
    plan, changed = bench.settle(spec(slots="2..5"))
    assert [len(units) for units in lanes.groups(plan)] == [MAPS, MAPS, 1], "new slots first, then those that go"
    assert changed.grace_periods < 3 * MAPS
    assert {len(each) for each in live(bench).values()} == {4}


def test_maps_that_are_ordered_are_published_one_after_the_other(bench: Bench) -> None:
    plan, result = bench.settle(spec(after=", after: [m00]"))
    first, *rest = [[unit[0].map for unit in units] for units in lanes.groups(plan)[1:-1]]  # type: ignore[union-attr]
    assert (first, [len(each) for each in rest]) == (["m00"], [MAPS - 1])
    assert result.status is Status.APPLIED
    plan = bench.plan(spec(slots="0..2", after=", after: [m00]"))
    deletes = [[unit[0].map for unit in units] for units in lanes.groups(plan)[:-1]]  # type: ignore[union-attr]
    assert (len(deletes[0]), deletes[1]) == (MAPS - 1, ["m00"])


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_map_that_fails_takes_all_others_back(bench: Bench, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """Whatever the other lanes have done by then; the same inner maps come back."""
    bench.apply(spec())
    before = {name: bench.ids(name) for name in live(bench)}
    original = batch.publish
    calls: list[str] = []

    def failing(*arguments: Any, name: str = "", **others: Any) -> int:
        calls.append(name)
        if name == "m09" and calls.count(name) == 1:
            raise ApplyError(Problem("refused", id="kernel-refused"))
        return original(*arguments, name=name, **others)

    changed = spec(value=2).replace("max_entries: 4}", "max_entries: 4, update: replace}")
    with monkeypatch.context() as patch:
        patch.setattr(batch, "publish", failing)
        patch.setattr(lanes, "LANES", kept + 1)
        with pytest.raises(ApplyError) as caught:
            bench.apply(changed)
    assert caught.value.status in ("rolled_back", "refused")
    assert {name: bench.ids(name) for name in before} == before
    bench.settle(changed)
    assert all(bench.ids(name) != ids for name, ids in before.items())
