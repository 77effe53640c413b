"""An inner map that an outer map holds too which the spec does not declare: it is replaced, not written in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import InnerId
from provisioner.observed.snapshot_format import from_bytes, to_bytes
from provisioner.observed.snapshot_take import take
from provisioner.planning.changes import Action, Reason
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from tests.apply import live
from tests.apply.conftest import Bench
from tests.conftest import remove_tree

INNER = "inner_templates: {inner: {type: hash, key: u32, value: u32, max_entries: 8}}\nouter_maps:\n"
SHAPE = "type: hash_of_maps, key: u32, max_entries: 8, inner: inner"
OLD = f"  old: {{{SHAPE}, inner_maps: {{7: {{}}}}}}\n"
KEPT, CHANGED = (
    f"{INNER}  kept: {{{SHAPE}, inner_maps: {{1: {{entries: {{1: {value}}}}}, 2: {{entries: {{1: {value}}}}}}}}}\n"
    for value in (1, 2)
)
ONE, TWO = (number.to_bytes(4, "little") for number in (1, 2))


def share(bench: Bench, outer: Path) -> int:
    """Another process puts an inner map of `kept` into another outer map as well."""
    number = bench.ids("kept")[ONE]
    with maps.open_pin(outer) as fd, maps.open_id(InnerId(number)) as inner:
        maps.insert_inner(fd, ONE, inner)
    return number


@pytest.fixture(params=["own", "foreign", "elsewhere"])
def undeclared(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where the outer map is pinned: a pin of the project's, in the pin root or not, or of another process."""
    path: Path = bench.root / "old"
    if request.param == "own":
        bench.apply(KEPT + OLD)
    elif request.param == "elsewhere":
        path = bench.root.parent / "elsewhere" / "old"
        bench.apply(KEPT + OLD.replace("{type", f"{{own: true, pin: {path}, type"))
    else:
        bench.apply(KEPT)
        path = bench.root / "foreign"
        with maps.open_pin(bench.root / "kept") as kept, maps.open_id(InnerId(bench.ids("kept")[ONE])) as inner:
            shape = maps.info(kept).shape
            with maps.create(shape, "foreign", inner=inner) as outer:
                bpffs.pin(outer, path)
    bench.apply(KEPT)
    yield path
    if request.param == "elsewhere":
        remove_tree(path.parent)


def decided(plan: Plan) -> list[tuple[Action, Reason]]:
    slots = plan.maps["kept"].slots
    return [(Action(action), Reason(reason)) for action, reason in zip(slots.action, slots.reason, strict=True)]


def test_its_other_reader_sees_no_change(bench: Bench, undeclared: Path) -> None:
    number = share(bench, undeclared)
    plan, _ = bench.settle(CHANGED)
    assert decided(plan) == [(Action.REPLACE, Reason.UNDECLARED_SHARE), (Action.UPDATE, Reason.ENTRIES)]
    assert bench.tree("kept") == {ONE: {ONE: TWO}, TWO: {ONE: TWO}}
    assert live.entries(map_id=number) == {ONE: ONE}


def test_another_pin_of_a_declared_map_holds_nothing_more(bench: Bench) -> None:
    bench.apply(KEPT)
    with maps.open_pin(bench.root / "kept") as fd:
        bpffs.pin(fd, bench.root / "again")
    bench.overrides = Overrides()
    plan, _ = bench.settle(CHANGED)
    assert decided(plan) == [(Action.UPDATE, Reason.ENTRIES)] * 2


def test_a_snapshot_plans_the_same(bench: Bench, undeclared: Path) -> None:
    share(bench, undeclared)
    snapshot = from_bytes(to_bytes(take(bench.load(KEPT).desired)), "snapshot")
    there, here = bench.load(CHANGED).plan(against=snapshot), bench.plan(CHANGED)
    assert decided(there) == decided(here)
    assert there.digest == here.digest


def test_a_session_replaces_it_too(bench: Bench, undeclared: Path) -> None:
    number = share(bench, undeclared)
    with bench.load(KEPT).session() as session:
        for value in (2, 3):  # the first apply compares all, the second only what changes
            session.update({"kept[1][1]": value, "kept[2][1]": value})
            session.apply()
    assert bench.tree("kept") == {slot: {ONE: (3).to_bytes(4, "little")} for slot in (ONE, TWO)}
    assert live.entries(map_id=number) == {ONE: ONE}
