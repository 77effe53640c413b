"""`--replace ADDRESS`: a map or an inner map is recreated although nothing differs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from provisioner.model.errors import InputError, RefusedError
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from tests import pages
from tests.apply.conftest import Bench
from tests.cli.support import run

SPEC = """
inner_templates: {inner: {type: hash, key: u32, value: u32, max_entries: 8}}
shared_inner_maps: {common: {inner: inner, entries: {9: 9}}}
maps: {plain: {type: hash, key: u32, value: u32, max_entries: 4, entries: {1: 1}}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: inner
    inner_maps: {1: {entries: {1: 1}}, 2: {entries: {2: 2}}, 3: {shared: common}, 4: {shared: common}}
"""


def ids(bench: Bench) -> dict[int, int]:
    return {int.from_bytes(key, "little"): number for key, number in bench.ids("tenants").items()}


def test_one_inner_map(bench: Bench) -> None:
    project = bench.load(SPEC)
    project.apply()
    before = ids(bench)
    plan, _ = project.apply(recreate=["tenants[1]"])
    assert plan.maps["tenants"].slots.where(Action.REPLACE).tolist() == [0]
    after = ids(bench)
    assert {slot for slot in before if before[slot] != after[slot]} == {1}
    assert bench.tree("tenants")[(1).to_bytes(4, "little")] == {(1).to_bytes(4, "little"): (1).to_bytes(4, "little")}
    assert project.plan().steps == ()


def test_a_shared_inner_map_is_replaced_in_all_its_slots(bench: Bench) -> None:
    project = bench.load(SPEC)
    project.apply()
    before = ids(bench)
    project.apply(recreate=["tenants[3]"])
    after = ids(bench)
    assert {slot for slot in before if before[slot] != after[slot]} == {3, 4}
    assert after[3] == after[4]


def test_a_whole_map_needs_an_option(bench: Bench) -> None:
    project = bench.load(SPEC)
    project.apply()
    with pytest.raises(RefusedError) as refused:
        project.apply(recreate=["plain"])
    assert [problem.id for problem in refused.value.problems] == ["recreate"]
    plan, _ = project.apply(Overrides(allow_recreate=True), recreate=["plain"])
    assert plan.maps["plain"].action is Action.REPLACE


@pytest.mark.parametrize("address", ["tenants[7]", "none", "tenants[1][1]"])
def test_what_cannot_be_recreated(address: str, bench: Bench) -> None:
    project = bench.load(SPEC)
    project.apply()
    with pytest.raises(InputError):
        project.plan(recreate=[address])


def test_a_map_of_which_one_slot_is_the_target_keeps_the_others(bench: Bench) -> None:
    project = bench.load(SPEC)
    project.apply()
    before = ids(bench)
    with pytest.raises(InputError) as refused:
        project.apply(Overrides(allow_recreate=True), recreate=["tenants"], targets=["tenants[1]"])
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("invalid-target", "tenants")]
    assert ids(bench) == before


def test_a_saved_plan_keeps_it(bench: Bench, tmp_path: Path) -> None:
    bench.load(SPEC).apply()
    spec, saved = str(tmp_path / "spec.yaml"), str(tmp_path / "saved.plan")
    root = ["--pin-root", str(bench.root)]
    before = ids(bench)
    assert run("plan", spec, *root, "--replace", "tenants[2]", "--out", saved).status == 2
    assert run("apply", spec, *root, "--plan", saved).status == 0
    after = ids(bench)
    assert {slot for slot in before if before[slot] != after[slot]} == {2}


def test_the_command_on_the_page(bench: Bench, tmp_path: Path) -> None:
    (command,) = pages.fences(__file__, "targets.md")
    text = SPEC.replace("inner_maps: {1:", "inner_maps: {42: {entries: {4: 2}}, 1:")
    bench.load(text).apply()
    before = ids(bench)
    (tmp_path / "spec.yaml").rename(tmp_path / "edge.yaml")
    name, verb, *rest = shlex.split(command.text.removeprefix("$ "))
    assert name == "provisioner"
    arguments = [str(tmp_path / word) if word == "edge.yaml" else word for word in rest]
    assert run(verb, *arguments, "--yes", "--pin-root", str(bench.root)).status == 0
    after = ids(bench)
    assert {slot for slot in before if before[slot] != after[slot]} == {42}
