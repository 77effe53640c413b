"""`--replace ADDRESS`: what is recreated although nothing differs, and what cannot be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.model.desired import DesiredMap
from provisioner.model.errors import InputError
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.diff import diff_map
from provisioner.planning.requested import WHY, requested, with_requested
from provisioner.planning.targets import find
from tests.planning.build import HASH, State, blocks, desired, observed
from tests.planning.states import an_object, unattached, wanted

STATE: State = {1: {1: 1}, 2: {5: 5}, 3: {5: 5}}


def change(map_: DesiredMap, state: State | None = None) -> MapChange:
    held = STATE if state is None else state
    return diff_map(map_, observed(held), blocks(held), None)


def recreated(map_: DesiredMap, *texts: str, state: State | None = None) -> MapChange:
    targets = requested(texts, wanted(map_))
    assert targets is not None
    return with_requested(change(map_, state), targets)


def test_nothing_is_asked_for() -> None:
    assert requested((), wanted(desired(STATE))) is None


@pytest.mark.parametrize(
    ("texts", "id_", "address"),
    [
        (("router",), "invalid-target", "router"),
        (("outer",), "invalid-target", "outer"),
        (("theirs",), "invalid-target", "theirs"),
        (("outer[9]",), "unknown-slot", "outer[9]"),
    ],
)
def test_what_cannot_be_recreated_alone(texts: tuple[str, ...], id_: str, address: str) -> None:
    load = an_object(unattached("first"), maps={"outer": HASH})
    ours, theirs = replace(desired(STATE), object="router"), desired({}, name="theirs", adopted="/there")
    with pytest.raises(InputError) as caught:
        requested(texts, wanted(load, ours, theirs))
    assert [(problem.id, problem.address) for problem in caught.value.problems] == [(id_, address)]


def test_all_problems_are_reported_at_once() -> None:
    load = an_object(unattached("first"), maps={})
    with pytest.raises(InputError) as caught:
        requested(("router", "outer[8]", "outer[9]"), wanted(load, desired(STATE)))
    assert sorted(problem.address for problem in caught.value.problems) == ["outer[8]", "outer[9]", "router"]


@pytest.mark.parametrize(
    ("texts", "limits", "outside"),
    [
        (("outer",), ("outer[1]",), ["outer"]),
        (("outer[2]", "other"), ("outer[1]",), ["other", "outer[2]"]),
        (("outer[1]",), ("outer[1]",), []),
        (("outer[1]", "outer"), ("outer",), []),
        (("outer[3]",), ("outer[2]",), []),
    ],
)
def test_targets_include_what_is_recreated(texts: tuple[str, ...], limits: tuple[str, ...], outside: list[str]) -> None:
    """Of a map with one slot as its target, the others would be lost. Slots 2 and 3 share an inner map."""
    both = wanted(desired(STATE, shared={2: 0, 3: 0}), desired(STATE, name="other"))
    problems = []
    try:
        requested(texts, both, find(limits, both))
    except InputError as error:
        problems = [(problem.id, problem.address) for problem in error.problems]
    assert problems == [("invalid-target", address) for address in outside]


def test_slots_of_a_map_of_an_object_can_be() -> None:
    load = an_object(unattached("first"), maps={"outer": HASH})
    targets = requested(("outer[1]",), wanted(load, replace(desired(STATE), object="router")))
    assert targets is not None
    assert [slot.address for slot in targets.slots] == ["outer[1]"]


def test_a_map() -> None:
    made = recreated(desired(STATE), "outer")
    assert (made.action, made.reason, made.resized) == (Action.REPLACE, WHY, False)
    assert made.slots.action.tolist() == [Action.CREATE] * 3


def test_a_slot() -> None:
    unasked = change(desired(STATE))
    made = recreated(desired(STATE), "outer[1]")
    assert made.action is Action.UPDATE
    assert made.slots.action.tolist() == [Action.REPLACE, Action.UNCHANGED, Action.UNCHANGED]
    assert made.slots.reason[0] == Reason.REQUESTED
    assert unasked.slots.action.tolist() == [Action.UNCHANGED] * 3, "the change itself is a value"


def test_a_shared_inner_map_is_recreated_in_all_its_slots() -> None:
    made = recreated(desired(STATE, shared={2: 0, 3: 0}), "outer[3]")
    assert made.slots.action.tolist()[1:] == [Action.REPLACE] * 2
    assert made.slots.action[0] == Action.UNCHANGED


def test_a_slot_that_is_not_live_is_created() -> None:
    made = recreated(desired(STATE), "outer[3]", state={1: {1: 1}, 2: {5: 5}})
    assert made.slots.action.tolist() == [Action.UNCHANGED, Action.UNCHANGED, Action.CREATE]


def test_another_map_stays() -> None:
    targets = requested(("other[1]",), wanted(desired(STATE), desired(STATE, name="other")))
    assert targets is not None
    unasked = change(desired(STATE))
    assert with_requested(unasked, targets) is unasked


def test_a_slot_that_is_nowhere_changes_nothing() -> None:
    targets = requested(("outer[3]",), wanted(desired(STATE)))
    assert targets is not None
    unasked = change(desired({1: {1: 1}}), {1: {1: 1}})
    assert with_requested(unasked, targets) is unasked


def test_a_map_that_is_created_or_recreated_anyway() -> None:
    targets = requested(("outer",), wanted(desired(STATE)))
    assert targets is not None
    for made in (
        diff_map(desired(STATE), None, (), None),
        diff_map(desired(STATE), observed(STATE, shape=HASH), (), None),
    ):
        assert with_requested(made, targets) is made
