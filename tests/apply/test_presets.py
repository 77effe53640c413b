"""Slots that an object fills with maps of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.apply import programs
from provisioner.kernel import bpffs, maps
from provisioner.model.errors import ApplyError, HostError, InputError, Problem
from provisioner.planning.changes import Action, Reason
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


def put(bench: Bench, slot: int, name: str) -> None:
    """What another process does: put another map into a slot."""
    with maps.open_pin(bench.root / "colours") as outer, maps.open_pin(bench.root / name) as inner:
        maps.insert_inner(outer, slot.to_bytes(4, "little"), inner)


@pytest.mark.parametrize("policy", ["", "extra_inner_maps: fail,"])
def test_a_preset_that_another_process_overwrote_comes_back(policy: str, presets: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("presets"), policy=policy)
    presets.settle(text)
    put(presets, 0, "blue")
    with maps.open_pin(presets.root / "colours") as outer:
        maps.delete(outer, (2).to_bytes(4, "little"))
    plan, _ = presets.settle(text)
    change = plan.maps["colours"]
    assert [(change.slot_address(row), Reason(int(change.slots.reason[row]))) for row in range(2)] == [
        ("colours[0]", Reason.OBJECT_MAP),
        ("colours[2]", Reason.NEW),
    ]
    assert slots(presets) == {0: pinned(presets, "red"), 2: pinned(presets, "blue")}


def test_slots_can_name_maps_of_the_object(presets: Bench, bpf_object: Compile) -> None:
    listed = "0: {object_map: blue}, 1: {object_map: red}"
    presets.settle(spec(bpf_object("presets"), listed))
    red, blue = pinned(presets, "red"), pinned(presets, "blue")
    assert slots(presets) == {0: blue, 1: red, 2: blue}
    presets.settle(spec(bpf_object("presets_v2"), listed))
    assert slots(presets) == {0: blue, 1: red, 2: blue}
    presets.settle(spec(bpf_object("presets_v2"), "1: {entries: {0: 7}}"))
    after = slots(presets)
    assert after == {0: red, 1: after[1], 2: blue}
    assert after[1] not in (red, blue), "it is not written into the object's own map"


def test_a_listed_slot_with_ignored_contents_needs_no_on_replace(presets: Bench, bpf_object: Compile) -> None:
    presets.settle(spec(bpf_object("presets")))
    plan, _ = presets.settle(spec(bpf_object("presets"), "0: {}", "contents: ignore,"))
    assert plan.blocked == ()
    assert slots(presets)[0] != pinned(presets, "red")


def test_an_object_map_that_is_created_again_goes_into_its_slots(presets: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("presets"))
    presets.settle(text)
    bpffs.unpin(presets.root / "red")
    presets.settle(text)
    assert slots(presets) == {0: pinned(presets, "red"), 2: pinned(presets, "blue")}


def test_a_rollback_puts_the_slots_back(presets: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    presets.settle(spec(bpf_object("presets")))
    before = slots(presets)

    def fails(*_: object) -> None:
        raise HostError(Problem("injected"))

    monkeypatch.setattr(programs, "commit", fails)
    with pytest.raises(ApplyError):
        presets.apply(spec(bpf_object("presets_v2"), "0: {object_map: blue}, 3: {object_map: red}"))
    assert slots(presets) == before


@pytest.mark.parametrize(
    ("slot", "id_"),
    [
        ("object_map: reb", "unknown-map"),
        ("object_map: colours", "object-mismatch"),
        ("object_map: red, entries: {1: 1}", "conflicting-fields"),
    ],
)
def test_what_cannot_be_in_a_slot(slot: str, id_: str, presets: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as caught:
        presets.load(spec(bpf_object("presets"), f"0: {{{slot}}}"))
    assert [problem.id for problem in caught.value.problems] == [id_]


def test_other_slots_are_deleted_as_ever(presets: Bench, bpf_object: Compile) -> None:
    presets.settle(spec(bpf_object("presets"), "3: {entries: {1: 1}}"))
    plan, _ = presets.settle(spec(bpf_object("presets")))
    assert plan.maps["colours"].slots.where(Action.DELETE).tolist() == [2]
    assert set(slots(presets)) == {0, 2}
