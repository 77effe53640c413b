"""Inner maps in other slots: the same maps, in one apply, and taken back if it fails."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from provisioner.apply import contents
from provisioner.desired.loading import SpecError
from provisioner.kernel import batch, maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import ApplyError, HostError, Problem, RefusedError
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.steps import MoveSlots
from provisioner.views.plan_report import report
from tests.apply.conftest import Bench

KINDS = ("hash_of_maps", "array_of_maps")
MOVED = 'moved: [{from: "tenants[2]", to: "tenants[3]"}]\n'


def spec(slots: str, moved: str = "", *, kind: str = "hash_of_maps", name: str = "tenants") -> str:
    return f"""
inner_templates: {{rules: {{type: hash, key: u32, value: u32, max_entries: 8, contents: present}}}}
outer_maps:
  {name}: {{type: {kind}, key: u32, max_entries: 8, inner: rules, inner_maps: {{{slots}}}}}
{moved}"""


BEFORE, AFTER = "1: {entries: {1: 1}}, 2: {entries: {2: 2}}", "1: {entries: {1: 1}}, 3: {entries: {2: 2}}"


def occupied(bench: Bench, name: str = "tenants") -> dict[int, int]:
    return {int.from_bytes(key, "little"): number for key, number in bench.ids(name).items() if number}


@pytest.fixture
def tenants(bench: Bench) -> Bench:
    bench.overrides = Overrides()
    return bench


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_inner_map_is_in_the_new_slot(kind: str, tenants: Bench) -> None:
    tenants.settle(spec(BEFORE, kind=kind))
    before = occupied(tenants)
    plan, _ = tenants.settle(spec(AFTER, MOVED, kind=kind))
    assert occupied(tenants) == {1: before[1], 3: before[2]}
    assert plan.maps["tenants"].action is Action.UNCHANGED
    assert [node.label for node in report(plan).nodes] == ["tenants[2] -> tenants[3]"]
    assert (plan.hazards, plan.blocked) == ((), ())


def test_a_moved_slot_of_a_renamed_and_larger_map_changes_in_place(tenants: Bench) -> None:
    tenants.settle(spec(BEFORE))
    before = occupied(tenants)
    moved = 'moved: [{from: tenants, to: customers}, {from: "tenants[2]", to: "customers[3]"}]\n'
    text = spec(AFTER.replace("2: 2", "2: 20"), moved, name="customers").replace(
        "max_entries: 8, inner:", "max_entries: 16, inner:"
    )
    tenants.settle(text)
    assert occupied(tenants, "customers") == {1: before[1], 3: before[2]}
    assert tenants.tree("customers")[b"\x03\0\0\0"] == {b"\x02\0\0\0": b"\x14\0\0\0"}


@pytest.mark.parametrize("fails_at", ["the old slot", "a later step"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_puts_it_back(kind: str, fails_at: str, tenants: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants.settle(spec(BEFORE, kind=kind))
    before = occupied(tenants)

    def fail(*_: object, **__: object) -> None:
        raise HostError(Problem("the test lets this fail", id="test"))

    if fails_at == "a later step":
        monkeypatch.setattr(contents, "publish", fail)
    else:
        unpublish, calls = batch.unpublish, iter([fail])
        monkeypatch.setattr(batch, "unpublish", lambda *a, **k: next(calls, unpublish)(*a, **k))
    with pytest.raises(ApplyError) as failed:
        tenants.apply(spec(AFTER + ", 4: {}", MOVED, kind=kind))
    assert failed.value.status == "rolled_back"
    assert occupied(tenants) == before


def test_killed_between_its_two_writes_the_next_apply_finishes(tenants: Bench) -> None:
    tenants.settle(spec(BEFORE))
    before = occupied(tenants)
    if (child := os.fork()) == 0:
        batch.unpublish = lambda *_, **__: os._exit(0)
        try:
            tenants.apply(spec(AFTER, MOVED))
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert occupied(tenants) == {1: before[1], 2: before[2], 3: before[2]}
    tenants.settle(spec(AFTER, MOVED))
    assert occupied(tenants) == {1: before[1], 3: before[2]}


@pytest.mark.parametrize("fails", [False, True])
def test_a_map_that_is_nearly_full_moves_slot_by_slot(
    fails: bool, tenants: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven of eight slots are taken, and three are moved."""
    slots, after = (
        ", ".join(f"{key}: {{}}" for key in range(1, 8)),
        "1: {}, 2: {}, 3: {}, 4: {}, 15: {}, 16: {}, 17: {}",
    )
    moved = ", ".join(f'{{from: "tenants[{key}]", to: "tenants[{key + 10}]"}}' for key in (5, 6, 7))
    tenants.settle(spec(slots))
    before = occupied(tenants)
    text = spec(after, f"moved: [{moved}]\n")
    if fails:
        monkeypatch.setattr("provisioner.project.project.remaining", lambda *_: (Problem("the test fails", id="test"),))
        with pytest.raises(ApplyError):
            tenants.apply(text)
        assert occupied(tenants) == before
        return
    tenants.settle(text)
    assert occupied(tenants) == {key + 10 * (key > 4): number for key, number in before.items()}


def test_a_full_map_is_refused(tenants: Bench) -> None:
    tenants.settle(spec(BEFORE).replace("max_entries: 8, inner:", "max_entries: 2, inner:"))
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec(AFTER, MOVED).replace("max_entries: 8, inner:", "max_entries: 2, inner:"))
    assert [(each.id, each.address) for each in refused.value.problems] == [("no-room", "tenants")]


def test_a_frozen_map_is_refused(tenants: Bench) -> None:
    tenants.settle(spec(BEFORE))
    with maps.open_pin(tenants.root / "tenants") as fd:
        maps.freeze(fd)
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec(AFTER, MOVED))
    assert [(each.id, each.address) for each in refused.value.problems] == [("frozen", "tenants")]


def test_two_different_inner_maps_are_refused(tenants: Bench) -> None:
    tenants.settle(spec(BEFORE + ", 3: {}"))
    before = occupied(tenants)
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec(AFTER, MOVED))
    assert [(each.id, each.address) for each in refused.value.problems] == [("moved-both-live", "tenants[3]")]
    assert occupied(tenants) == before


def test_a_slot_that_changed_after_the_plan_is_left(tenants: Bench) -> None:
    tenants.settle(spec(BEFORE))
    before = occupied(tenants)
    tenants.planned = lambda _: write_slot(tenants.root / "tenants", 3, before[1])
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec(AFTER, MOVED))
    assert [(each.id, each.address) for each in refused.value.problems] == [("changed-since-plan", "tenants[3]")]
    assert occupied(tenants) == before | {3: before[1]}


def write_slot(pin: Path, slot: int, number: int) -> None:
    with maps.open_pin(pin) as outer, maps.open_id(InnerId(number)) as inner:
        fds = np.array([inner.number], np.uint32)
        batch.publish(outer, np.array([slot], np.uint32), fds)


def test_a_snapshot_knows_the_move_and_a_fresh_host_needs_none(tenants: Bench) -> None:
    tenants.settle(spec(AFTER, MOVED))
    tenants.destroy(spec(AFTER, MOVED))
    tenants.settle(spec(BEFORE))
    loaded = tenants.load(spec(AFTER, MOVED))
    offline, online = loaded.plan(against=loaded.snapshot()), loaded.plan()
    assert offline.digest == online.digest
    assert {"moved_from": "tenants[2]"} in [fact.data for fact in loaded.explain("tenants[3]")]
    assert {"moved_from": "tenants[2]"} not in [fact.data for fact in loaded.explain("tenants[1]")]
    assert [type(step) for step in offline.steps[:1]] == [MoveSlots]


@pytest.mark.parametrize(
    ("moved", "id_"),
    [
        ('{from: "tenants[1]", to: "tenants[3]"}', "moved-declared"),
        ('{from: "tenants[2]", to: "tenants[4]"}', "moved-unknown"),
        ('{from: "tenants[2]", to: "others[3]"}', "moved-mismatch"),
        ('{from: "tenants[2]", to: tenants}', "moved-mismatch"),
        ('{from: "tenants[99]", to: "tenants[3]"}', "moved-mismatch"),
        ('{from: "tenants[x]", to: "tenants[3]"}', "invalid-number"),
        ('{from: "tenants[2", to: "tenants[3]"}', "invalid-address"),
        ('{from: "tenants[2]", to: "tenants[3]"}, {from: "tenants[0x2]", to: "tenants[1]"}', "duplicate-key"),
    ],
)
def test_a_move_that_names_nothing_is_an_error_at_its_place(moved: str, id_: str, bench: Bench) -> None:
    with pytest.raises(SpecError) as wrong:
        bench.load(spec(AFTER, f"moved: [{moved}]\n").replace("inner: rules,", "inner: rules, owned_keys: [0..50],"))
    problem = wrong.value.problems[0]
    assert (problem.id, problem.where is not None and problem.where.line) == (id_, 7)
