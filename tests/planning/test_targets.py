"""What a limited plan looks at, of states that are made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

import provisioner
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import InputError
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.moved import Move
from provisioner.model.observed import ObservedState
from provisioner.model.spec import ExtraInnerMaps
from provisioner.model.types import Bytes
from provisioner.observed.sources import Depth
from provisioner.planning import targets
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.diff import diff_map
from provisioner.planning.diff_slots import slots_to_read
from tests.planning.build import State, blocks, desired, observed, table

states = st.dictionaries(
    st.integers(0, 40), st.dictionaries(st.integers(0, 9), st.integers(0, 3), max_size=6), min_size=1, max_size=8
)


def limited(map_: DesiredMap, *slots: int) -> DesiredMap:
    """`one` as a plan sees it that is limited to these slots of it."""
    whole = DesiredState("edge", "/sys/fs/bpf/edge", Host("little", 2), {}, {"outer": map_}, None)
    chosen = targets.find([f"outer[{slot}]" for slot in slots], whole)
    live = replace(ObservedState.nothing(), maps={"outer": observed({})})
    return targets.scope(chosen, whole, live, {}).maps["outer"]


def contents(map_: DesiredMap) -> dict[int, dict[int, int]]:
    by_slot = {}
    for number, key in enumerate(map_.slots.keys.copy().view("<u4").ravel().tolist()):
        keys, values = map_.entries.slot(number)
        pairs = zip(keys.copy().view("<u4").ravel().tolist(), values.copy().view("<u8").ravel().tolist(), strict=True)
        by_slot[key] = dict(pairs)
    return by_slot


@given(states, st.data())
def test_a_cut_map_holds_its_slots_as_they_were(state: State, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(state)), min_size=1))
    map_ = limited(desired(state), *chosen)
    assert contents(map_) == {key: dict(state[key]) for key in set(chosen)}
    assert len(map_.entries.keys) == len(map_.sources.line) == sum(len(state[key]) for key in set(chosen))


@given(states, states, st.integers(0, 40), st.sampled_from(ExtraInnerMaps))
def test_nothing_but_the_target_differs(wanted: State, live: State, slot: int, extra: ExtraInnerMaps) -> None:
    whole = desired(wanted, extra=extra)
    seen = observed(live)
    everything = diff_map(whole, seen, blocks(live), None)
    part = diff_map(limited(whole, slot), seen, blocks(live), None)
    decisions = {key.tobytes(): (int(a), int(r)) for key, a, r in zip(*_rows(everything), strict=True)}
    for key, action, reason in zip(*_rows(part), strict=True):
        if int(key.copy().view("<u4")[0]) == slot:
            assert (action, reason) == decisions[key.tobytes()]
        else:
            assert (action, reason) == (Action.KEEP, Reason.NOT_TARGETED)


def _rows(change: MapChange) -> tuple[Bytes, NDArray[np.uint8], NDArray[np.uint8]]:
    return change.slots.keys, change.slots.action, change.slots.reason


def test_what_is_not_targeted_is_not_read() -> None:
    live = {1: {1: 1}, 2: {2: 2}, 3: {3: 3}}
    assert slots_to_read(limited(desired({1: {}}), 1, 3), observed(live)).tolist() == [
        Depth.ENTRIES,
        Depth.NOTHING,
        Depth.ENTRIES,
    ]


def test_a_slot_brings_those_that_share_its_inner_map() -> None:
    map_ = limited(desired({1: {}, 2: {5: 5}, 3: {5: 5}}, shared={2: 0, 3: 0}), 3)
    assert sorted(contents(map_)) == [2, 3]


def test_slots_that_share_a_slice_go_on_sharing_it() -> None:
    whole = table({1: {1: 1}, 2: {2: 2, 3: 3}})
    shared = entry_table.EntryTable(whole.starts[[0, 1, 1]], whole.counts[[0, 1, 1]], whole.keys, whole.values)
    part, rows = entry_table.part(shared, np.array([1, 2]))
    assert (part.starts.tolist(), part.counts.tolist(), rows.tolist()) == ([0, 0], [2, 2], [1, 2])


SPEC = """\
version: 1
name: edge
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 8}
  quiet: {type: hash, key: u32, value: u32, max_entries: 8}
maps:
  active: {type: array, key: u32, value: u32, max_entries: 4}
outer_maps:
  tenants: {type: hash_of_maps, key: u32, max_entries: 8, inner: rules, inner_maps: {42: {}}}
  tokens:
    type: hash_of_maps
    key: {type: u32, sensitive: true}
    max_entries: 8
    inner: quiet
    inner_maps: {77: {}}
"""


@pytest.fixture
def project(tmp_path: Path) -> provisioner.Project:
    (tmp_path / "edge.yaml").write_text(SPEC)
    return provisioner.load(tmp_path / "edge.yaml")


def test_a_slot_has_one_name_however_its_key_is_spelled(project: provisioner.Project) -> None:
    given = ["tenants[0x2a]", "tenants[ 42 ]", "active", "tenants[42]"]
    assert project.targets(given) == ("active", "tenants[42]")


def test_a_sensitive_key_is_not_reported(project: provisioner.Project) -> None:
    plan = project.plan(against="empty", targets=["tokens[77]"])
    assert [len(change.slots.keys) for change in plan.maps.values()] == [1]
    assert "77" not in "".join(plan.targets)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("tenant", "no map or object `tenant`", "did you mean `tenants`?"),
        ("tenants[42", "invalid address", "write a map"),
        ("tenants[ten]", "not an integer", ""),
        ("tenants[42][7]", "an entry cannot be targeted", "target tenants[42]"),
        ("active[0]", "an entry cannot be targeted", "target active"),
    ],
)
def test_what_is_no_target(project: provisioner.Project, text: str, what: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        project.plan(against="empty", targets=[text, "tenants"])
    (problem,) = error.value.problems
    assert what in problem.what
    assert hint in problem.hint


def test_a_limited_plan_is_another_one(project: provisioner.Project) -> None:
    every = ["active", "tenants", "tokens"]
    whole, named = project.plan(against="empty"), project.plan(against="empty", targets=every)
    assert [step.describe() for step in whole.steps] == [step.describe() for step in named.steps]
    assert whole.digest != named.digest
    assert named.digest == project.plan(against="empty", targets=reversed(every)).digest  # type: ignore[arg-type]


def test_a_slot_that_nobody_has_is_a_notice(project: provisioner.Project) -> None:
    plan = project.plan(against="empty", targets=["tenants[42]", "tenants[43]"])
    assert [(one.id, one.address) for one in plan.hazards] == [("target-vacant", "tenants[43]")]


def test_a_slot_that_the_spec_does_not_have_creates_no_map(project: provisioner.Project) -> None:
    plan = project.plan(against="empty", targets=["tenants[43]"])
    assert (plan.steps, plan.changes) == ((), ())
    assert [(one.id, one.address) for one in plan.hazards] == [("target-vacant", "tenants[43]")]


def test_a_slot_that_the_spec_does_not_have_adds_nothing_to_one_that_it_has(project: provisioner.Project) -> None:
    plan = project.plan(against="empty", targets=["tenants[43]", "tenants[42]", "tokens[1]"])
    assert {name: len(change.slots.keys) for name, change in plan.maps.items()} == {"tenants": 1}


@pytest.mark.parametrize("address", ["tenants", "tenants[1]"])
def test_an_old_name_names_the_new_one(address: str) -> None:
    map_, move = desired({1: {}}), Move("tenants", "outer", Location("edge.yaml", 9))
    whole = DesiredState("edge", "/sys/fs/bpf/edge", Host("little", 2), {}, {"outer": map_}, None, moved=(move,))
    with pytest.raises(InputError) as caught:
        targets.find([address], whole)
    assert [(problem.id, problem.hint) for problem in caught.value.problems] == [
        ("unknown-reference", "`moved` gives it the name outer")
    ]
