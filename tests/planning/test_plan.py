"""The order of steps, what is recorded, and how long publishing waits."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.access import Access
from provisioner.model.grace_periods import Batches
from provisioner.model.record import RecordedTypes
from provisioner.model.spec import ExtraInnerMaps
from provisioner.model.uapi import MapType
from provisioner.planning import targets
from provisioner.planning.comparison import compare
from provisioner.planning.grace_periods import grace_periods
from provisioner.planning.hazards import Overrides
from provisioner.planning.ordering import publishing_order
from provisioner.planning.plan import Plan
from provisioner.planning.steps import ClaimPinRoot, DeleteSlots, PinInnerMaps, PublishSlots, RecordMeta, SetAccess
from provisioner.planning.wanted_record import wanted_meta
from tests.planning.build import HASH, OUTER, State, desired, observed
from tests.planning.states import (
    ETH0,
    Held,
    an_object,
    attached,
    ids,
    kinds,
    live,
    pinned,
    plan_of,
    program,
    record,
    steps,
    unattached,
    wanted,
)

ALL = Overrides(approve_deletes=True, allow_recreate=True)


def settled(plan: Plan) -> Any:
    """The record that the plan would leave."""
    (step,) = (step for step in plan.steps if isinstance(step, RecordMeta))
    return step.meta


# --- order -------------------------------------------------------------------------------------------------------


def test_maps_come_after_those_that_they_name() -> None:
    maps = [
        desired({}, name="a", after=("c", "elsewhere")),
        desired({}, name="b"),
        desired({}, name="c", after=("b",)),
        replace(desired({}, name="0"), outer=None),
    ]
    assert publishing_order(maps) == ["b", "c", "a", "0"]
    assert publishing_order(maps[::-1]) == ["b", "c", "a", "0"], "the order of the spec does not matter"


def test_deletes_come_last_and_in_the_reverse_order() -> None:
    parts = (desired({1: {}}, name="a", after=("b",)), desired({1: {}}, name="b"))
    before: State = {1: {1: 1}, 2: {}}
    seen = live(meta=record(), maps={"a": observed(before), "b": replace(observed(before, ids={1: 1, 2: 2}), id=8)})
    held = Held({"a": {1: {1: 1}, 2: {}}, "b": {1: {1: 1}, 2: {}}})
    assert steps(plan_of(wanted(*parts), seen, held, ALL)) == [
        "write entries of b in place",
        "write entries of a in place",
        "delete 1 inner map from a",
        "delete 1 inner map from b",
        "record what the kernel cannot return",
    ]


def test_deletes_come_first_where_there_is_no_room_otherwise() -> None:
    def of(room: int) -> list[str]:
        shape = OUTER.with_capacity(room)
        seen = live(meta=record(), maps={"outer": observed({1: {}}, shape=shape)})
        return kinds(plan_of(wanted(desired({3: {}}, shape=shape)), seen, Held({"outer": {1: {}}}), ALL).steps)

    assert of(1) == ["DeleteSlots", "PublishSlots", "RecordMeta"]
    assert of(2) == ["PublishSlots", "DeleteSlots", "RecordMeta"]


def test_nothing_is_deleted_first_where_nothing_goes() -> None:
    map_ = desired({3: {}}, shape=OUTER.with_capacity(1), extra=ExtraInnerMaps.KEEP)
    seen = live(meta=record(), maps={"outer": observed({1: {}}, shape=OUTER.with_capacity(1))})
    assert "DeleteSlots" not in kinds(plan_of(wanted(map_), seen, Held({"outer": {1: {}}})).steps)


def test_an_object_is_loaded_before_its_maps_are_filled_and_pinned_after_its_links_are_made() -> None:
    load = an_object(program("first"), maps={"outer": OUTER, "zz": HASH})
    outer = replace(desired({1: {}}), object="router")
    plain = replace(desired({0: {1: 1}}, name="zz", shape=HASH), outer=None, object="router")
    plan = plan_of(wanted(load, outer, plain), live(points={ETH0: 3}))
    assert kinds(plan.steps) == [
        "ClaimPinRoot",
        "LoadObject",
        "PublishSlots",
        "WriteEntries",
        "Attach",
        "CommitObject",
        "RecordMeta",
    ]
    assert steps(plan)[1] == "load router"
    claim = plan.steps[0]
    assert isinstance(claim, ClaimPinRoot)
    assert (claim.pending, claim.pins) == (("router",), ("first", "outer", "zz"))


def test_an_upgrade_carries_maps_over_and_switches_the_link() -> None:
    load = an_object(program("first"), maps={"hidden": HASH})
    hidden = observed({}, shape=HASH)
    seen = live(
        meta=record(objects={"router": "old"}),
        object_maps={"hidden": hidden},
        programs=pinned("first"),
        links={**attached("first"), "_link_old": next(iter(attached("old").values()))},
        points={ETH0: 3},
    )
    assert steps(plan_of(wanted(load), seen)) == [
        "claim the pin root",
        "load router, carrying over hidden",
        "switch the link to the new first",
        "pin the new router",
        "detach _link_old",
        "record what the kernel cannot return",
    ]


def test_leftovers_are_swept_first_and_pruned_pins_go_last() -> None:
    seen = live(meta=record(), leftovers=("_new_a",), other_pins=("b", "a"))
    swept = plan_of(wanted(), seen)
    assert kinds(swept.steps) == ["Sweep"]
    pruned = plan_of(wanted(), seen, overrides=Overrides(prune=True))
    assert steps(pruned)[1:-1] == ["unpin b", "unpin a"]


def test_nothing_is_done_where_nothing_differs() -> None:
    first = plan_of(wanted(desired({1: {1: 1}})), live())
    seen = live(meta=settled(first), maps={"outer": observed({1: {1: 1}})})
    again = plan_of(wanted(desired({1: {1: 1}})), seen, Held({"outer": {1: {1: 1}}}))
    assert (again.steps, again.changed, first.changed) == ((), False, True)


def test_a_pin_root_without_a_record_is_claimed_only_if_something_gets_a_pin() -> None:
    assert plan_of(wanted(), live()).steps == ()
    adopted = desired({}, adopted="/sys/fs/bpf/theirs")
    assert plan_of(wanted(adopted), live(maps={"outer": observed({})})).steps == ()
    protected = plan_of(wanted(replace(adopted, prevent_destroy=True)), live(maps={"outer": observed({})}))
    assert kinds(protected.steps) == ["ClaimPinRoot", "RecordMeta"]


# --- pins --------------------------------------------------------------------------------------------------------


def test_inner_maps_get_the_pins_that_they_lack() -> None:
    state = {1: {1: 1}, 2: {}, 3: {}}
    seen = live(meta=record(), maps={"outer": observed(state)}, inner_pins={"outer": frozenset({1002})})
    held = Held({"outer": {1: {1: 2}, 2: {}, 3: {}}})
    map_ = desired(state, extra=ExtraInnerMaps.KEEP)
    beside = replace(seen, maps={"outer": observed({**state, 4: {}})})
    plan = plan_of(wanted(map_, pin_inner_maps=True), beside, Held({"outer": {1: {1: 2}, 2: {}, 3: {}, 4: {}}}))
    (pin,) = (step for step in plan.steps if isinstance(step, PinInnerMaps))
    assert pin.slots.tolist() == [0, 2], "the map of others gets no pin"
    assert kinds(plan_of(wanted(map_), seen, held).steps) == ["WriteEntries", "UnpinInnerMaps", "RecordMeta"]


def test_pins_that_others_may_open_are_closed() -> None:
    seen = live(meta=record(), access={"outer": Access(0o666, None), ".": Access(0o700, None)}, gid=None)
    plan = plan_of(wanted(pin_mode=0o600), seen)
    (step,) = (step for step in plan.steps if isinstance(step, SetAccess))
    assert step.pins == ("outer",)
    wider = plan_of(wanted(pin_mode=0o600), replace(seen, access={"outer": Access(0o644, None)}))
    assert wider.digest != plan.digest


# --- the record --------------------------------------------------------------------------------------------------


def test_what_is_recorded() -> None:
    load = an_object(program("first"), unattached("second"), digest="d1", maps={"hidden": HASH})
    before = record(used_maps={"first": (9,)}, maps={"outer": 4}, pins=("gone", "kept"))
    seen = live(meta=before, other_pins=("kept",))
    meta = wanted_meta(wanted(load, desired({}, prevent_destroy=True)), seen)
    assert (meta.project, meta.objects, list(meta.templates)) == ("edge", {"router": "d1"}, ["outer"])
    assert meta.attachments == {"_link_first": {"kind": "xdp", "interface": "eth0", "mode": "auto"}}
    assert (meta.used_maps, meta.maps, meta.protected) == ({"first": (9,)}, {"outer": 4}, ("outer",))
    assert meta.pins == ("first", "hidden", "kept", "outer", "second")
    assert wanted_meta(wanted(), seen, prune=True).pins == ()


def test_types_are_recorded_and_a_record_that_has_none_is_no_change() -> None:
    map_, state = desired({1: {1: 1}}), {1: {1: 1}}
    meta = wanted_meta(wanted(map_), live())
    assert meta.types == {"outer": RecordedTypes("u32", "u32", "u64")}
    held = Held({"outer": {1: {1: 1}}})
    other = {"outer": RecordedTypes("u32", "be32", "u64")}
    for types, expected in ((meta.types, []), ({}, []), (other, ["RecordMeta"])):
        seen = live(meta=replace(meta, types=types), maps={"outer": observed(state)})
        assert kinds(plan_of(wanted(map_), seen, held).steps) == expected, types


def test_a_limited_plan_records_the_rest_as_it_was() -> None:
    mine = {"kind": "xdp", "interface": "eth0", "mode": "auto"}
    before = record(
        objects={"router": "new", "other": "x"},
        attachments={"_link_first": {"mode": "stale"}, "_link_theirs": mine},
        protected=("a", "gone"),
        pins=("gone",),
        templates={"b": HASH},
        maps={"a": 4, "b": 5},
    )
    load = an_object(unattached("first"))
    state = wanted(load, desired({}, name="a"), desired({}, name="b"))
    chosen = targets.find(["a", "router"], state)
    seen = live(meta=before, maps={"b": observed({})})
    plan = compare(state, seen, Overrides(), Held(), check_points=True, targets=chosen)
    meta = settled(plan)
    assert meta.attachments == {"_link_theirs": mine}, "a program that is no longer attached has no settings"
    assert meta.objects == {"router": "new", "other": "x"}
    assert (meta.protected, meta.pins, meta.maps) == (("gone",), ("a", "first", "gone"), {"a": 4, "b": 5})
    assert sorted(meta.templates) == ["a", "b"]
    assert plan.targets == ("a", "router")


def test_a_first_limited_plan_records_its_part() -> None:
    state = wanted(desired({}, name="a"), desired({}, name="b"))
    plan = compare(state, live(), Overrides(), Held(), check_points=True, targets=targets.find(["a"], state))
    assert settled(plan).pins == ("a",)


# --- waits -------------------------------------------------------------------------------------------------------


def waits(state: State, held: State | None, wave: int, batches: Batches = Batches.CHEAP, **how: Any) -> int:
    map_ = desired(state, **how)
    seen = live(meta=record(), maps={"outer": observed(held, shape=map_.shape)} if held is not None else {})
    return grace_periods(plan_of(wanted(map_), seen, Held({"outer": held or {}}), ALL), wave, batches)


def test_publishing_waits_once_a_wave() -> None:
    three = {1: {1: 1}, 2: {1: 1}, 3: {1: 1}}
    assert waits(three, None, 2) == 2
    assert waits(three, {}, 2) == 2
    assert waits(three, three, 2) == 0
    assert waits({}, three, 2) == 1 + 2, "the deletes are one batch, and what they delete is stashed"
    array = replace(OUTER, map_type=MapType.ARRAY_OF_MAPS)
    many: State = {number: {} for number in range(900)}
    assert waits({}, many, 1000, shape=array) > waits({}, many, 1000), "an array of maps has no batch that deletes"


# --- a slot that vanishes ----------------------------------------------------------------------------------------


def test_a_slot_that_vanishes_while_it_is_read_is_replaced() -> None:
    map_, seen = desired({1: {1: 1}}), live(meta=record(), maps={"outer": observed({1: {}})})
    plan = plan_of(wanted(map_), seen, Held({"outer": {1: None}}))
    assert [step.slots.tolist() for step in plan.steps if isinstance(step, PublishSlots)] == [[0]]


def test_steps_of_a_delete_name_its_rows() -> None:
    seen = live(meta=record(), maps={"outer": observed({1: {}, 2: {}})})
    plan = plan_of(wanted(desired({2: {}})), seen, Held({"outer": {1: {}, 2: {}}}))
    assert [step.slots.tolist() for step in plan.steps if isinstance(step, DeleteSlots)] == [[0]]
    assert ids(plan.blocked) == []


@pytest.mark.parametrize("limit", [None, "outer"])
def test_the_changes_of_a_plan_by_name(limit: str | None) -> None:
    state = wanted(an_object(program("first")), desired({}))
    chosen = targets.find([limit], state) if limit else None
    plan = compare(state, live(points={ETH0: 3}), Overrides(), Held(), check_points=True, targets=chosen)
    assert list(plan.maps) == ["outer"]
    assert list(plan.objects) == ([] if limit else ["router"])
    assert [change.pin for change in plan.links] == ([] if limit else ["_link_first"])


def test_a_map_of_another_process_is_not_taken_over() -> None:
    """It was pinned in the place of the recorded one, and has another type."""
    one, state = desired({1: {1: 1}}), {1: {1: 1}}
    theirs = observed(state, shape=replace(OUTER, map_type=MapType.ARRAY_OF_MAPS))
    for number, taken_over in ((theirs.id, True), (theirs.id + 1, False)):
        seen = live(meta=record(maps={"outer": number}), maps={"outer": theirs})
        plan = plan_of(wanted(one), seen, Held({"outer": state}))
        assert plan.maps["outer"].resized is taken_over
        assert bool(plan.blocked) is not taken_over
