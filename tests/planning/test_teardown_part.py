"""What `destroy --target` takes away, in which order, what stays, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, Moves
from provisioner.model.observed import ObservedState
from provisioner.model.record import Meta, RecordedTypes
from provisioner.planning.changes import Action, Reason
from provisioner.planning.hazards import Overrides, Severity
from provisioner.planning.plan import Plan
from provisioner.planning.steps import RecordMeta
from provisioner.planning.teardown_part import find_destroyed, plan_destroy_part, without
from tests.planning.build import HASH, HERE, OUTER, desired, observed
from tests.planning.states import an_object, attached, ids, live, pinned, record, steps, unattached, wanted

RECORD = "record what the kernel cannot return"


def destroy(state: DesiredState, seen: ObservedState, *addresses: str, **allowed: bool) -> Plan:
    return plan_destroy_part(state, seen, Overrides(**allowed), find_destroyed(addresses, state))


def of_object(name: str, owner: str, *also: str, **how: Any) -> Any:
    return replace(desired({}, name=name, **how), object=owner, also=also)


# --- what can go alone -------------------------------------------------------------------------------------------


def test_a_map_of_an_object_goes_with_the_object_only() -> None:
    state = wanted(an_object(maps={"held": OUTER}), of_object("held", "router"))
    with pytest.raises(InputError) as refused:
        find_destroyed(["held"], state)
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("invalid-target", "held")]
    assert find_destroyed(["held", "router"], state).addresses == ("held", "router")
    assert find_destroyed(["held[1]"], state).addresses == ("held[1]",)


def test_an_adopted_map_of_an_object_goes_alone() -> None:
    state = wanted(an_object(maps={"held": OUTER}), of_object("held", "router", adopted="/sys/fs/bpf/theirs"))
    assert find_destroyed(["held"], state).addresses == ("held",)


@pytest.mark.parametrize(("key", "ours"), [(1, True), (5, True), (6, False)])
def test_a_slot_of_another_owner_cannot_be_destroyed(key: int, ours: bool) -> None:
    state = wanted(desired({1: {}}, owned_slots=((1, 5),)))
    if ours:
        assert find_destroyed([f"outer[{key}]"], state).addresses == (f"outer[{key}]",)
        return
    with pytest.raises(InputError) as refused:
        find_destroyed([f"outer[{key}]"], state)
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("invalid-target", "outer[6]")]


# --- what goes, and in which order -------------------------------------------------------------------------------


def test_nothing_is_done_where_nothing_is() -> None:
    plan = destroy(wanted(desired({})), ObservedState.nothing(), "outer")
    assert (plan.steps, plan.changes, plan.hazards, plan.blocked) == ((), (), (), ())
    assert plan.targets == ("outer",)


def test_slots_go_and_their_map_stays() -> None:
    seen = live(meta=record(pins=("outer",)), maps={"outer": observed({1: {}, 2: {}, 3: {}})})
    plan = destroy(wanted(desired({1: {}, 2: {}})), seen, "outer[1]", "outer[3]", "outer[9]")
    change = plan.maps["outer"]
    assert change.action is Action.UPDATE
    assert change.slots.action.tolist() == [Action.DELETE, Action.KEEP, Action.DELETE]
    assert change.slots.reason.tolist() == [Reason.DESTROYED, Reason.NOT_TARGETED, Reason.DESTROYED]
    assert steps(plan) == ["delete 2 inner maps from outer"]
    assert plan.targets == ("outer[1]", "outer[3]", "outer[9]")
    assert plan.blocked == ()


def test_slots_of_several_maps_go() -> None:
    state = wanted(desired({1: {}, 2: {}}, name="a"), desired({1: {}, 2: {}}, name="b"))
    seen = live(meta=record(pins=("a", "b")), maps={name: observed({1: {}, 2: {}}) for name in "ab"})
    plan = destroy(state, seen, "a[1]", "b[2]")
    assert plan.maps["a"].slots.action.tolist() == [Action.DELETE, Action.KEEP]
    assert plan.maps["b"].slots.action.tolist() == [Action.KEEP, Action.DELETE]


def test_a_vacant_slot_changes_nothing() -> None:
    seen = live(meta=record(protected=("outer",)), maps={"outer": observed({1: {}})})
    plan = destroy(wanted(desired({1: {}}, prevent_destroy=True)), seen, "outer[2]")
    assert (plan.maps["outer"].action, plan.maps["outer"].reason) == (Action.UNCHANGED, "")
    assert (plan.steps, plan.blocked) == ((), ())
    assert [(hazard.id, hazard.address) for hazard in plan.hazards] == [("target-vacant", "outer[2]")]


def test_what_is_not_live_is_vacant() -> None:
    load = an_object(unattached("first"), maps={"inside": HASH})
    state = wanted(load, desired({1: {}}, name="a"), desired({1: {}}, name="b"))
    seen = live(meta=record(pins=("b",)), maps={"b": observed({1: {}})})
    plan = destroy(state, seen, "a", "b", "router")
    assert [(hazard.id, hazard.address) for hazard in plan.hazards] == [
        ("target-vacant", "a"),
        ("target-vacant", "router"),
    ]


def test_maps_go_in_the_reverse_order_and_the_record_follows() -> None:
    state = wanted(
        desired({1: {}}, name="a", after=("b",)), desired({1: {}}, name="b"), desired({1: {}}, name="c"),
    )  # fmt: skip
    maps = {name: observed({1: {}}) for name in "abc"}
    seen = live(meta=record(pins=("a", "b", "c")), maps=maps, leftovers=("_new_a",))
    plan = destroy(state, seen, "a", "b", "c[1]")
    assert list(plan.maps) == ["c", "a", "b"]
    assert steps(plan) == [
        "remove what a killed apply left behind",
        "delete 1 inner map from c",
        "unpin a",
        "unpin b",
        RECORD,
    ]
    (last,) = (step for step in plan.steps if isinstance(step, RecordMeta))
    assert last.meta.pins == ("c",)


def test_what_is_not_live_or_not_named_is_not_touched() -> None:
    state = wanted(desired({}, name="a"), desired({}, name="b"))
    plan = destroy(state, live(meta=record(), maps={"b": observed({})}), "a")
    assert (list(plan.maps), plan.steps) == ([], ())


def test_an_object_goes_with_its_programs_links_and_maps() -> None:
    """A map that another object has too stays until the last of them."""
    first = an_object(unattached("first"), name="one", maps={"mine": HASH, "both": HASH})
    second = an_object(unattached("second"), name="two", maps={"both": HASH})
    state = wanted(first, second, of_object("outer", "one"))
    seen = live(
        meta=record(pins=("first", "second", "mine", "both"), objects={"one": "1", "two": "2"}),
        object_maps={"mine": observed({}, shape=HASH), "both": observed({}, shape=HASH)},
        programs=pinned("first", "second"),
        links={**attached("second"), **attached("first")},
    )
    plan = destroy(state, seen, "one")
    assert steps(plan) == ["detach _link_first", "unpin first", "unpin mine", RECORD]
    assert [(link.pin, link.action) for link in plan.links] == [("_link_first", Action.DELETE)]
    (kept,) = (step.meta for step in plan.steps if isinstance(step, RecordMeta))
    assert (kept.objects, kept.pins) == ({"two": "2"}, ("second", "both"))
    assert steps(destroy(state, seen, "one", "two")) == [
        "detach _link_first",
        "detach _link_second",
        "unpin both",
        "unpin first",
        "unpin mine",
        "unpin second",
        RECORD,
    ]


def test_an_adopted_map_loses_its_slots_and_keeps_its_pin() -> None:
    state = wanted(desired({1: {}}, adopted="/sys/fs/bpf/theirs/outer", owned_slots=((1, 5),)))
    seen = live(meta=record(), maps={"outer": observed({1: {}, 9: {}})})
    assert steps(destroy(state, seen, "outer")) == ["delete 1 inner map from outer"]


def test_the_slots_of_a_map_that_goes_are_not_deleted_first() -> None:
    seen = live(maps={"outer": observed({1: {}})})
    assert steps(destroy(wanted(desired({1: {}})), seen, "outer", take_over=True)) == ["unpin outer"]


def test_a_record_with_old_names_is_written_with_the_new_ones() -> None:
    now = record(pins=("outer",))
    seen = live(meta=now, stored=record(pins=("older",)), maps={"outer": observed({1: {}})})
    assert steps(destroy(wanted(desired({1: {}})), seen, "outer[9]")) == [RECORD]
    assert steps(destroy(wanted(desired({1: {}})), replace(seen, stored=now), "outer[9]")) == []


# --- the record of what is left ----------------------------------------------------------------------------------


def test_the_record_without_what_went() -> None:
    types = RecordedTypes("", "u32", "u32")
    meta = Meta(
        project="edge",
        objects={"one": "1", "two": "2"},
        templates={"gone": HASH, "left": HASH},
        attachments={"_link_gone": {"kind": "xdp"}, "_link_gone@x": {"kind": "xdp"}, "_link_left": {"kind": "xdp"}},
        used_maps={"gone": (1,), "left": (2,)},
        protected=("gone", "left"),
        pins=("gone", "left"),
        settings={"one": {}, "two": {}},
        maps={"gone": 1, "left": 2},
        types={"gone": types, "left": types},
        places={"gone": "/a", "left": "/b"},
        directories=("/d",),
        revision="r",
        approvals=("k",),
    )
    assert without(meta, ["gone"], ["one"]) == Meta(
        project="edge",
        objects={"two": "2"},
        templates={"left": HASH},
        attachments={"_link_left": {"kind": "xdp"}},
        used_maps={"left": (2,)},
        protected=("left",),
        pins=("left",),
        settings={"two": {}},
        maps={"left": 2},
        types={"left": types},
        places={"left": "/b"},
        directories=("/d",),
        revision="r",
        approvals=("k",),
    )


# --- hazards and refusals ----------------------------------------------------------------------------------------


def test_programs_that_stay_are_named() -> None:
    state = wanted(an_object(unattached("mine"), maps={"own": HASH}), desired({}))
    seen = live(
        meta=record(),
        maps={"outer": observed({})},
        object_maps={"own": replace(observed({}, shape=HASH), id=8)},
        programs=pinned("mine", "other", maps={"mine": (7, 8), "other": (8,)}),
    )
    (used,) = destroy(state, seen, "outer").hazards
    assert (used.id, used.severity, used.address) == ("map-in-use", Severity.DANGER, "outer")
    assert used.message.endswith(": mine")
    (hazard,) = destroy(state, seen, "outer", "router").hazards
    assert hazard.address == "own"
    assert hazard.message.endswith(": other")  # the program of the object goes with its map


@pytest.mark.parametrize(("in_spec", "in_record"), [(True, False), (False, True)])
def test_a_protected_map_stays_and_its_slots_can_go(in_spec: bool, in_record: bool) -> None:
    meta = record(protected=("outer",) if in_record else ())
    state, seen = wanted(desired({1: {}}, prevent_destroy=in_spec)), live(meta=meta, maps={"outer": observed({1: {}})})
    assert ids(destroy(state, seen, "outer").blocked) == [("prevent_destroy", "outer")]
    assert ids(destroy(state, seen, "outer[1]").blocked) == []


@pytest.mark.parametrize("address", ["outer", "outer[1]"])
@pytest.mark.parametrize("shape", [OUTER.with_capacity(7), replace(OUTER, key_size=8)])
def test_an_adopted_map_of_another_shape_is_refused(address: str, shape: MapShape) -> None:
    seen = live(meta=record(), maps={"outer": observed({1: {}}, shape=shape)})
    plan = destroy(wanted(desired({1: {}}, adopted="/sys/fs/bpf/theirs")), seen, address)
    assert ids(plan.blocked) == [("adopted-shape", "outer")]
    assert plan.steps == ()


def test_the_pin_root_of_another_project_is_refused() -> None:
    seen = live(meta=record("other"), maps={"outer": observed({})})
    assert ids(destroy(wanted(desired({})), seen, "outer").blocked) == [("ownership", "")]
    assert destroy(wanted(desired({})), seen, "outer", take_over=True).blocked == ()


def test_moves_are_made_and_judged() -> None:
    move = Move("older", "outer", HERE)
    seen = live(meta=record(), maps={"outer": observed({})}, moves=Moves(conflicts=(move,)))
    assert ids(destroy(wanted(desired({})), seen, "outer").blocked) == [("moved-both-live", "outer")]


def test_the_digest_is_that_of_what_goes() -> None:
    def digest(*addresses: str, **fields: Any) -> str:
        state = wanted(desired({1: {}}), desired({}, name="else"))
        parts = {"maps": {"outer": observed({1: {}}), "else": observed({})}, **fields}
        return destroy(state, live(meta=record(), **parts), *addresses).digest

    assert digest("outer") == digest("outer") == digest("outer", maps={"outer": observed({1: {}})})
    assert digest("outer") != digest("outer", "else")
    assert digest("outer") != digest("outer", maps={"outer": observed({1: {}, 2: {}})})


@pytest.mark.parametrize("frozen", [False, True])
def test_slots_of_a_frozen_map_stay_unless_the_map_goes(frozen: bool) -> None:
    seen = live(meta=record(pins=("outer",)), maps={"outer": replace(observed({1: {}}), frozen=frozen)})
    state = wanted(desired({1: {}}))
    assert ids(destroy(state, seen, "outer[1]").blocked) == ([("frozen", "outer")] if frozen else [])
    assert ids(destroy(state, seen, "outer").blocked) == []
