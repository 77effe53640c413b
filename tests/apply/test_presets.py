"""Slots that an object fills with maps of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import maps
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench

Compile = Callable[[str], Path]


def spec(file: Path, inner_maps: str = "", policy: str = "") -> str:
    return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
objects: {{presets: {{file: {file}, programs: {{look: {{}}}}}}}}
outer_maps: {{colours: {{object: presets, inner: inner, {policy} inner_maps: {{{inner_maps}}}}}}}
"""


@pytest.fixture
def presets(bench: Bench) -> Bench:
    bench.allow_outside = True
    return bench


def pinned(bench: Bench, name: str) -> int:
    with maps.open_pin(bench.root / name) as fd:
        return maps.info(fd).id


def slots(bench: Bench) -> dict[int, int]:
    return {int.from_bytes(key, "little"): number for key, number in bench.ids("colours").items() if number}


@pytest.mark.parametrize(
    "policy", ["", "extra_inner_maps: delete,", "extra_inner_maps: fail,", "extra_inner_maps: keep,"]
)
def test_slots_that_the_object_fills_are_its_own(policy: str, presets: Bench, bpf_object: Compile) -> None:
    presets.settle(spec(bpf_object("presets"), policy=policy))
    assert slots(presets) == {0: pinned(presets, "red"), 2: pinned(presets, "blue")}


def test_a_listed_slot_replaces_the_preset_and_stays(presets: Bench, bpf_object: Compile) -> None:
    listed = "0: {entries: {0: 7}}, 1: {entries: {}}"
    presets.settle(spec(bpf_object("presets"), listed))
    before = slots(presets)
    assert before[0] != pinned(presets, "red")
    assert before[2] == pinned(presets, "blue")
    plan, _ = presets.settle(spec(bpf_object("presets_v2"), listed))
    assert [change.action for change in plan.objects.values()] == [Action.UPDATE]
    assert slots(presets) == before, "an upgrade does not write into slots that are carried over"


def test_other_slots_are_deleted_as_ever(presets: Bench, bpf_object: Compile) -> None:
    presets.settle(spec(bpf_object("presets"), "3: {entries: {1: 1}}"))
    plan, _ = presets.settle(spec(bpf_object("presets")))
    assert plan.maps["colours"].slots.where(Action.DELETE).tolist() == [2]
    assert set(slots(presets)) == {0, 2}
