"""What a destroy does, in which order, what it leaves, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.desired import DesiredState
from provisioner.model.observed import ObservedState
from provisioner.model.spec import ExtraInnerMaps
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides, Severity
from provisioner.planning.plan import Plan
from provisioner.planning.steps import DeleteSlots
from provisioner.planning.teardown import plan_destroy
from tests.planning.build import HASH, OUTER, desired, observed
from tests.planning.states import an_object, attached, ids, live, pinned, record, steps, unattached, wanted

ROOT = "/sys/fs/bpf/edge"


def destroy(desired: DesiredState, seen: ObservedState, **allowed: bool) -> Plan:
    return plan_destroy(desired, seen, Overrides(**allowed))


def test_nothing_is_done_where_nothing_is() -> None:
    plan = destroy(wanted(desired({})), ObservedState.nothing())
    assert (plan.steps, plan.changes, plan.hazards, plan.blocked) == ((), (), (), ())


def test_links_go_first_and_the_record_and_the_directory_last() -> None:
    load = an_object(unattached("first"), maps={"hidden": HASH})
    seen = live(
        meta=record(pins=("older",)),
        maps={"outer": observed({1: {}})},
        object_maps={"hidden": observed({}, shape=HASH)},
        programs=pinned("first"),
        links={**attached("z"), **attached("a")},
        leftovers=("_new_a",),
        other_pins=("older",),
    )
    plan = destroy(wanted(load, desired({1: {}})), seen)
    assert steps(plan) == [
        "remove what a killed apply left behind",
        "detach _link_a",
        "detach _link_z",
        "unpin first",
        "unpin hidden",
        "unpin older",
        "unpin outer",
        "unpin _meta",
        "remove the pin root",
    ]
    assert plan.blocked == ()


def test_maps_go_in_the_reverse_order() -> None:
    state = wanted(desired({}, name="a", after=("b",)), desired({}, name="b"), desired({}, name="c"))
    seen = live(meta=record(), maps={"a": observed({}), "b": observed({})})
    assert list(destroy(state, seen).maps) == ["a", "b"]
    assert all(change.action is Action.DELETE for change in destroy(state, seen).maps.values())


def test_an_unrecorded_root_has_no_record_to_remove() -> None:
    assert "unpin _meta" not in steps(destroy(wanted(), live()))


# --- adopted maps ------------------------------------------------------------------------------------------------


def adopted(state: dict[int, dict[int, int]], pin: str = "/sys/fs/bpf/theirs/outer", **how: Any) -> DesiredState:
    return wanted(desired(state, adopted=pin, **how))


def taken(plan: Plan) -> list[int]:
    keys = plan.maps["outer"].slots.keys
    rows = [row for step in plan.steps if isinstance(step, DeleteSlots) for row in step.slots.tolist()]
    return [int.from_bytes(keys[row].tobytes(), "little") for row in rows]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [1, 2, 20]),
        ({"extra": ExtraInnerMaps.KEEP}, [1]),
        ({"extra": ExtraInnerMaps.FAIL}, [1]),
        ({"owned_slots": ((1, 9),)}, [1, 2]),
    ],
)
def test_slots_of_an_adopted_map_are_taken_back(how: Any, expected: list[int]) -> None:
    seen = live(meta=record(), maps={"outer": observed({1: {}, 2: {}, 20: {}})})
    plan = destroy(adopted({1: {}}, **how), seen)
    assert taken(plan) == expected
    assert "unpin outer" not in steps(plan)


def test_an_adopted_map_of_another_shape_is_refused() -> None:
    seen = live(meta=record(), maps={"outer": observed({1: {}}, shape=OUTER.with_capacity(7))})
    plan = destroy(adopted({1: {}}), seen)
    assert ids(plan.blocked) == [("adopted-shape", "outer")]
    assert taken(plan) == []


def test_a_directory_in_which_adopted_maps_are_pinned_stays() -> None:
    seen = live(
        meta=record(pins=("mine",)),
        maps={"outer": observed({})},
        other_pins=("mine", "theirs"),
        directories=("sub",),
        inner_pins={"outer": frozenset({1})},
    )
    plan = destroy(adopted({}, pin=f"{ROOT}/outer"), seen)
    assert steps(plan) == ["unpin mine", "unpin _meta", "unpin inner maps"]
    (hazard,) = plan.hazards
    assert (hazard.id, hazard.severity) == ("pin-root-stays", Severity.NOTICE)
    assert "outer, theirs" in hazard.message
    assert plan.blocked == ()
    without = destroy(adopted({}, pin=f"{ROOT}/outer"), replace(seen, inner_pins={}))
    assert steps(without) == ["unpin mine", "unpin _meta"]


# --- what it refuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", ["approve_deletes", "allow_recreate", "prune", "allow_overcommit"])
def test_pins_of_others_are_refused_whatever_is_allowed(allowed: str) -> None:
    seen = live(meta=record(pins=("mine",)), other_pins=("mine", "theirs"))
    plan = destroy(wanted(), seen, **{allowed: True})
    assert ids(plan.blocked) == [("foreign-pins", "")]
    assert "theirs" in plan.blocked[0].message
    assert "mine" not in plan.blocked[0].message
    assert ids(destroy(wanted(), seen, take_over=True).blocked) == [("foreign-pins", "")]


def test_directories_of_others_are_refused() -> None:
    assert ids(destroy(wanted(), live(meta=record(), directories=("sub",))).blocked) == [("foreign-directories", "")]


@pytest.mark.parametrize(
    ("seen", "refused"),
    [
        (live(meta=record("other")), True),
        (live(maps={"outer": observed({})}), True),
        (live(), False),
        (live(meta=record(), maps={"outer": observed({})}), False),
    ],
)
def test_another_owner(seen: ObservedState, refused: bool) -> None:
    state = wanted(desired({}))
    assert ids(destroy(state, seen).blocked) == ([("ownership", "")] if refused else [])
    assert not destroy(state, seen, take_over=True).blocked


@pytest.mark.parametrize(("in_spec", "in_record"), [(True, False), (False, True), (True, True)])
def test_protected_maps(in_spec: bool, in_record: bool) -> None:
    meta = record(protected=("outer",) if in_record else ())
    plan = destroy(wanted(desired({}, prevent_destroy=in_spec)), live(meta=meta, maps={"outer": observed({})}))
    assert ids(plan.blocked) == [("prevent_destroy", "outer")]


def test_protected_maps_that_left_the_spec() -> None:
    seen = live(meta=record(pins=("gone", "old"), protected=("gone",)), other_pins=("gone", "old"))
    assert ids(destroy(wanted(), seen).blocked) == [("prevent_destroy", "gone")]


# --- hazards and digest ------------------------------------------------------------------------------------------


def test_programs_of_others_are_named() -> None:
    old = observed({})
    users = {7: ("first", "reader (id 9)")}
    seen = live(meta=record(), maps={"outer": old}, programs=pinned("first", maps={"first": (7,)}), users=users)
    (hazard,) = destroy(wanted(desired({})), seen).hazards
    assert (hazard.id, hazard.severity, hazard.address) == ("map-in-use", Severity.DANGER, "outer")
    assert hazard.message.endswith(": reader (id 9)")
    assert not destroy(adopted({}), seen).hazards


def test_the_digest_is_that_of_what_is_live() -> None:
    def digest(**fields: Any) -> str:
        state = {"meta": record(), "maps": {"outer": observed({1: {}})}, "links": attached("a"), **fields}
        return destroy(wanted(desired({})), live(**state)).digest

    assert digest() == digest()
    assert digest(maps={"outer": observed({2: {}})}) != digest()
    assert digest(maps={"outer": replace(observed({1: {}}), id=8)}) != digest()
    assert digest(links=attached("a", program_id=52)) != digest()
    assert digest(links={}) != digest()


# --- frozen maps and places outside of the pin root ---------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
def test_slots_of_a_frozen_map_of_another_owner_stay(frozen: bool) -> None:
    seen = live(meta=record(), maps={"outer": replace(observed({1: {}}), frozen=frozen)})
    assert ids(destroy(adopted({1: {}}), seen).blocked) == ([("frozen", "outer")] if frozen else [])
    assert ids(destroy(adopted({}, extra=ExtraInnerMaps.KEEP), seen).blocked) == []  # none of them goes
    assert ids(destroy(wanted(desired({1: {}})), seen).blocked) == []  # the whole map goes


def test_directories_that_were_created_go_after_the_pins_in_them() -> None:
    state = wanted(replace(desired({}), place="/sys/fs/bpf/shared/outer"))
    meta = record(pins=("outer",), places={"outer": "/sys/fs/bpf/shared/outer"}, directories=("/sys/fs/bpf/shared",))
    assert steps(destroy(state, live(meta=meta, maps={"outer": observed({})}))) == [
        "unpin outer",
        "remove /sys/fs/bpf/shared if empty",
        "unpin _meta",
        "remove the pin root",
    ]
