"""What a migration carries over, what it refuses, and what it says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.owned import owned
from provisioner.model.desired import Constants, DesiredMap
from provisioner.model.spec import Contents, ExtraInnerMaps, OnReplace
from provisioner.model.types import Type
from provisioner.model.uapi import MapType
from provisioner.planning import counts
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.plan import Plan
from tests.codec.support import built, option, struct
from tests.planning.build import OUTER
from tests.planning.migrations import Kind, Live, entries, le, migration, plan_of, recorded_as, wish
from tests.planning.states import ids

ONE, TWO, THREE = le(1), le(2), le(3)


def change(map_: DesiredMap, held: Live, meta: Any = None) -> MapChange:
    return plan_of(map_, held, meta).maps["outer"]


def refused(map_: DesiredMap, held: Live, meta: Any = None) -> list[tuple[str, str]]:
    return ids(plan_of(map_, held, meta).blocked)


def carried(of: MapChange) -> int | None:
    assert of.migrated is not None
    return of.migrated.entries


# --- which maps --------------------------------------------------------------------------------------------------


def test_a_map_of_the_same_shape_is_not_migrated() -> None:
    done = change(wish({ONE: {}}), Live({ONE: entries({1: 1})}))
    assert (done.migrated, done.action) == (None, Action.UNCHANGED)


def test_entries_of_a_wider_value_are_carried_over() -> None:
    done = change(wish({ONE: entries({1: 5}, value=8)}, value="u64"), Live({ONE: entries({1: 1, 2: 2, 3: 3})}))
    assert (done.action, done.resized, done.keeps_contents) == (Action.REPLACE, False, True)
    assert done.reason == "inner maps: value_size 8 in the template, 4 live"
    assert done.slots.action.tolist() == [Action.REPLACE]
    assert done.slots.reason.tolist() == [Reason.TEMPLATE]
    assert (done.slots.updates.tolist(), done.slots.others.tolist()) == ([1], [2])
    assert done.entries.before.view("<u8").ravel().tolist() == [1]
    assert (done.desired.on_replace, carried(done)) == (OnReplace.COPY, 3)
    assert done.migrated is not None
    assert done.migrated.is_carried
    assert refused(wish({ONE: {}}, value="u64"), Live({ONE: entries({1: 1})})) == []


@pytest.mark.parametrize("policy", [None, migration(drop=True)])
def test_without_a_migration_the_loss_is_counted(policy: Any) -> None:
    map_ = replace(wish({ONE: {}}, value="u64"), migration=policy)
    done = change(map_, Live({ONE: entries({1: 1, 2: 2}), TWO: entries({3: 3})}))
    assert (done.action, carried(done), done.keeps_contents) == (Action.REPLACE, 3, False)
    assert done.migrated is not None
    assert done.migrated.drop is (policy is not None)
    assert carried(change(map_, Live({ONE: entries({1: 1})}, is_readable=False))) is None  # a snapshot
    assert carried(change(map_, Live({ONE: {}}, 0, 4, kind=MapType.QUEUE))) is None  # it cannot be listed
    assert carried(change(replace(map_, shape=OUTER.with_capacity(9)), Live({}, outer=8))) == 0


@pytest.mark.parametrize(
    "map_",
    [
        wish({ONE: {}}, value="u64", adopted="/sys/fs/bpf/theirs"),
        replace(wish({"": {}}, value="u64", outer=None)),  # which is no outer map any more
        replace(
            wish({"": {}}, value="u64", outer=None, inner=MapType.PERCPU_ARRAY),
            object="router",
            shape=replace(OUTER, map_type=MapType.STRUCT_OPS),
        ),
    ],
)
def test_maps_that_are_not_migrated(map_: DesiredMap) -> None:
    assert change(map_, Live({ONE: entries({1: 1})})).migrated is None


def test_a_map_without_slots_has_nothing_to_carry() -> None:
    meta = recorded_as("u32", "u32", templates={"outer": replace(OUTER, map_type=MapType.HASH)})
    done = change(wish({ONE: {}}, value="u64"), Live({}), meta)
    assert (done.action, done.migrated) == (Action.REPLACE, None)


# --- what stays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contents", "owned_keys", "left", "gone"),
    [
        (Contents.PRESENT, (), 2, 0),
        (Contents.EXACT, (), 0, 2),
        (Contents.EXACT, ((0, 5),), 1, 1),  # 9 is of another owner
    ],
)
def test_entries_that_the_spec_does_not_list(contents: Contents, owned_keys: Any, left: int, gone: int) -> None:
    map_ = wish({ONE: entries({1: 1}, value=8)}, value="u64", contents=contents, owned=owned_keys)
    done = change(map_, Live({ONE: entries({1: 1, 2: 2, 9: 9})}))
    assert (done.slots.others.tolist(), done.slots.deletes.tolist()) == ([left], [gone])
    assert carried(done) == 3 - gone


@pytest.mark.parametrize("room", [1, 77])
@pytest.mark.parametrize(
    ("how", "slots"),
    [
        ({"extra": ExtraInnerMaps.DELETE}, {1: Action.REPLACE, 2: Action.DELETE, 9: Action.DELETE}),
        ({"extra": ExtraInnerMaps.KEEP}, {1: Action.REPLACE, 2: Action.REPLACE, 9: Action.REPLACE}),
        ({"owned_slots": ((1, 5),)}, {1: Action.REPLACE, 2: Action.DELETE, 9: Action.REPLACE}),
        (
            {"owned_slots": ((1, 5),), "extra": ExtraInnerMaps.FAIL},
            {1: Action.REPLACE, 2: Action.KEEP, 9: Action.REPLACE},
        ),
    ],
)
def test_slots_that_policy_keeps_get_a_map_of_the_new_shape(how: Any, slots: dict[int, Action], room: int) -> None:
    held = Live({le(9): entries({1: 1}), ONE: {}, TWO: entries({5: 5, 6: 6})}, room=room)
    done = change(wish({ONE: {}}, value="u64", **how), held)
    keys = done.slots.keys.copy().view("<u4").ravel().tolist()
    assert {key: Action(each) for key, each in zip(keys, done.slots.action.tolist(), strict=True)} == slots
    rooms = done.desired.slots.max_entries[done.slots.desired[done.slots.desired >= 0]].tolist()
    assert rooms == [8] + [room] * (list(slots.values()).count(Action.REPLACE) - 1)
    contents = [done.desired.slots.policy(slot) for slot in range(len(rooms))]
    assert contents == [Contents.PRESENT] + [Contents.IGNORE] * (len(rooms) - 1)


def test_the_spec_itself_is_left_as_it_is() -> None:
    map_ = wish({ONE: {}}, value="u64", extra=ExtraInnerMaps.KEEP)
    change(map_, Live({ONE: {}, TWO: {}}, room=77))
    assert map_.slots.max_entries.tolist() == [8]
    assert len(map_.slots.keys) == 1


def test_a_new_slot_is_created_beside_those_that_are_carried_over() -> None:
    done = change(wish({ONE: {}, TWO: entries({1: 1}, value=8)}, value="u64"), Live({ONE: entries({1: 1})}))
    assert done.slots.action.tolist() == [Action.REPLACE, Action.CREATE]


def test_a_plain_map_is_migrated() -> None:
    done = change(wish({"": {}}, value="u64", outer=None), Live({"": entries({1: 1})}, outer=0))
    assert (done.action, carried(done), done.slots.others.tolist()) == (Action.REPLACE, 1, [1])


def test_a_changed_outer_map_alone_keeps_its_inner_maps() -> None:
    """Their outer keys are converted; the inner maps themselves go into the new map."""
    done = change(
        wish({le(1, 8): {}, le(2, 8): {}}, outer="u64"),
        Live({ONE: entries({1: 1}), THREE: {}}),
        recorded_as("u32", "u32"),
    )
    assert done.migrated is not None
    assert (done.resized, done.migrated.reshaping) == (True, None)
    assert done.migrated.outer is not None
    keys = done.slots.keys.copy().view("<u8").ravel().tolist()
    assert dict(zip(keys, done.slots.action.tolist(), strict=True)) == {
        1: Action.UNCHANGED,
        2: Action.CREATE,
        3: Action.DELETE,
    }


# --- what does not fit -------------------------------------------------------------------------------------------


SMALL = {1: 1, 2: 300}


@pytest.mark.parametrize(
    ("state", "how", "expected"),
    [
        ({}, {}, ["outer[1][2]"]),
        (entries({2: 7}, value=1), {}, []),  # the spec has another value
        ({}, {"contents": Contents.EXACT}, []),  # it goes
        ({}, {"contents": Contents.EXACT, "owned": ((2, 9),)}, []),
        ({}, {"contents": Contents.EXACT, "owned": ((3, 9),)}, ["outer[1][2]"]),
        ({}, {"contents": Contents.IGNORE}, ["outer[1][2]"]),
    ],
)
def test_a_value_that_does_not_fit(state: Any, how: Any, expected: list[str]) -> None:
    found = refused(wish({ONE: state}, value="u8", **how), Live({ONE: entries(SMALL)}))
    assert found == [("migrate-value", address) for address in expected]


@pytest.mark.parametrize(
    ("how", "is_refused"),
    [
        ({}, True),
        ({"contents": Contents.EXACT}, False),
        # 259 is not an u8, so it is not in the range either, although its lowest byte is.
        ({"contents": Contents.EXACT, "owned": ((3, 9),)}, True),
    ],
)
def test_a_key_that_does_not_fit(how: Any, is_refused: bool) -> None:
    found = refused(wish({ONE: {}}, key="u8", **how), Live({ONE: entries({1: 1, 259: 1})}))
    assert found == [("migrate-value", "outer[1][0x03010000]")] * is_refused


@pytest.mark.parametrize("how", [{}, {"contents": Contents.EXACT, "owned": ((3, 9),)}])
def test_only_entries_of_slots_that_stay_must_fit(how: Any) -> None:
    """Slot 3 goes, with all that it holds."""
    for key, value, entry, address in (("u8", "u32", {259: 1}, "[0x03010000]"), ("u32", "u8", {2: 300}, "[2]")):
        held = Live({slot: entries(entry) for slot in (ONE, TWO, THREE)})
        found = refused(wish({ONE: {}, TWO: {}}, key=key, value=value, **how), held)
        assert found == [("migrate-value", f"outer[{slot}]{address}") for slot in (1, 2)]


def test_what_does_not_fit_in_words() -> None:
    pair, narrow = struct(a="u32", b="u32"), struct(a="u32", b="u8")
    held = Live({ONE: {ONE: le(1) + le(300)}}, value=8)
    (refusal,) = plan_of(wish({ONE: {}}, value=narrow), held, recorded_as("u32", pair)).blocked
    assert refusal.message == "member `b`: 300 does not fit u8"
    (whole,) = plan_of(wish({ONE: {}}, value="u8"), Live({ONE: entries({1: 300})})).blocked
    assert whole.message == "300 does not fit u8"


@pytest.mark.parametrize(("part", "how"), [("key", {}), ("key", {"inner": MapType.ARRAY}), ("outer", {})])
def test_a_sensitive_key_is_not_shown(part: str, how: Any) -> None:
    """As it was, or as it would be."""
    narrow = "u32" if "inner" in how else "u8"
    types: dict[str, Any] = {part: option(narrow, sensitive=True), "extra": ExtraInnerMaps.KEEP}
    map_ = wish({}, **types, **how)
    blocked = plan_of(map_, Live({le(300): entries({300: 1})}), recorded_as("u32", "u32")).blocked
    said = " ".join(f"{each.address} {each.message}" for each in blocked)
    assert "(sensitive)" in said
    assert not any(text in said.replace("outer[300]", "") for text in ("300", "2c01"))


def test_a_sensitive_value_is_not_shown() -> None:
    (refusal,) = plan_of(wish({ONE: {}}, value=option("u8", sensitive=True)), Live({ONE: entries({1: 300})})).blocked
    assert "300" not in refusal.message


def test_many_entries_are_counted() -> None:
    held = Live({slot: entries(dict.fromkeys(range(15), 300)) for slot in (ONE, TWO)}, room=64)
    blocked = plan_of(wish({ONE: {}, TWO: {}}, value="u8", room=64), held).blocked
    listed = [*(f"outer[1][{key}]" for key in range(15)), *(f"outer[2][{key}]" for key in range(5))]
    assert [refusal.address for refusal in blocked] == [*listed, "outer"]
    assert blocked[-1].message == "10 more entries cannot be carried over"


@pytest.mark.parametrize(
    ("rooms", "how", "expected"),
    [
        ({}, {}, ["outer[1][8]", "outer[1][50]"]),
        ({ONE: 50}, {}, ["outer[1][50]"]),  # the slot has more room than the template
        ({ONE: 51}, {}, []),
        ({}, {"contents": Contents.EXACT}, []),
        ({}, {"contents": Contents.EXACT, "owned": ((0, 9),)}, ["outer[1][50]"]),
    ],
)
def test_a_key_that_is_no_index_of_the_new_array(rooms: Any, how: Any, expected: list[str]) -> None:
    map_ = wish({ONE: {}}, inner=MapType.ARRAY, rooms=rooms, **how)
    found = refused(map_, Live({ONE: entries({7: 1, 8: 1, 50: 1})}, room=64))
    assert found == [("migrate-value", address) for address in expected]


def test_a_kept_slot_has_the_room_that_it_had() -> None:
    map_ = wish({}, inner=MapType.ARRAY, extra=ExtraInnerMaps.KEEP)
    assert refused(map_, Live({ONE: entries({50: 1})}, room=64)) == []
    assert refused(map_, Live({ONE: entries({50: 1})}, room=50)) == [("migrate-value", "outer[1][50]")]


PAIR = built(struct(a="u32", b="u32"))


@pytest.mark.parametrize(
    ("state", "how", "lost"),
    [
        ({}, {}, 2),
        (entries({1: 1}), {}, 1),  # the spec has it
        ({}, {"contents": Contents.EXACT}, 0),
    ],
)
def test_a_member_that_goes_needs_consent(state: Any, how: Any, lost: int) -> None:
    held = Live({ONE: {ONE: le(1) + le(7), TWO: le(2) + le(8), THREE: le(3) + le(0)}}, value=8)
    meta = recorded_as("u32", PAIR)
    map_ = wish({ONE: state}, value=struct(a="u32"), **how)
    blocked = plan_of(map_, held, meta).blocked
    assert ids(blocked) == ([("migrate-loss", "outer")] if lost else [])
    if lost:
        count = "1 entry" if lost == 1 else "2 entries"
        assert blocked[0].message == f"the new value has no member `b`: its value in {count} would be lost"
        assert blocked[0].override == "--allow-recreate"
    assert plan_of(map_, held, meta, allow_recreate=True).blocked == ()


def test_a_member_that_is_set_although_it_is_live_needs_consent() -> None:
    policy = replace(migration(), value_constants=Constants(np.zeros(12, np.uint8), frozenset({"b"})))
    map_ = wish({ONE: {}}, value=struct(a="u32", b="u32", c="u32"), policy=policy)
    held = Live({ONE: {ONE: le(1) + le(7), TWO: le(2) + le(0)}}, value=8)
    (refusal,) = plan_of(map_, held, recorded_as("u32", PAIR)).blocked
    assert (refusal.rule, refusal.hint) == ("migrate-loss", "remove the member from `set`")
    assert refusal.message == "`set` gives member `b` a new value: the live one in 1 entry would be lost"


@pytest.mark.parametrize(
    ("how", "state", "expected"),
    [
        ({}, {}, [("migrate-value", "outer[1][1]"), ("migrate-loss", "outer")]),
        ({"contents": Contents.EXACT}, {}, []),  # both go
        ({}, entries({1: 9}), []),  # the spec decides
    ],
)
def test_keys_that_become_the_same(how: Any, state: Any, expected: list[tuple[str, str]]) -> None:
    held = Live({ONE: {le(1) + le(7): le(1), le(1) + le(8): le(2), le(2) + le(0): le(3)}}, key=8)
    map_ = wish({ONE: state}, key=struct(a="u32"), **how)
    map_ = replace(map_, key=built(struct(a="u32")))
    assert [
        (id_, address.replace("{a: 1}", "1")) for id_, address in refused(map_, held, recorded_as(PAIR, "u32"))
    ] == (expected)


def test_the_same_key_in_two_slots_is_no_collision() -> None:
    held = Live({slot: {le(1) + le(0): le(1)} for slot in (ONE, TWO)}, key=8)
    assert refused(wish({ONE: {}, TWO: {}}, key=struct(a="u32")), held, recorded_as(PAIR, "u32")) == []


def test_only_what_is_carried_over_is_counted() -> None:
    held = Live({ONE: entries({1: 1, 2: 300, 3: 3})})
    assert carried(change(wish({ONE: {}}, value="u8", contents=Contents.EXACT), held)) == 0
    exact = wish({ONE: entries({1: 1}, value=1)}, value="u8", contents=Contents.EXACT)
    assert carried(change(exact, held)) == 1


# --- members of other writers ------------------------------------------------------------------------------------


def half(theirs: str = "u8") -> Type:
    """`a` is ours."""
    value = built(struct(a="u8", b=theirs))
    return owned(value, [("a",)], np.zeros(value.size, np.uint8))


def of_halves(state: Any, held: dict[int, tuple[int, int]], **how: Any) -> list[tuple[str, str]]:
    live_map = Live(
        {ONE: {le(key): le(a) + le(b) for key, (a, b) in held.items()}}, value=8, kind=how.pop("live", MapType.HASH)
    )
    return refused(wish({ONE: state}, value=half(), **how), live_map, recorded_as("u32", PAIR))


@pytest.mark.parametrize("contents", [Contents.EXACT, Contents.PRESENT])
def test_members_of_others_must_fit_where_the_spec_lists_the_entry(contents: Contents) -> None:
    """The spec sets `a`, and another writer `b`."""
    state = {ONE: "0100"}
    assert of_halves(state, {1: (1, 1)}, contents=contents) == []
    assert of_halves(state, {1: (300, 1)}, contents=contents) == []
    assert of_halves(state, {1: (1, 300)}, contents=contents) == [("migrate-value", "outer[1][1]")]


def test_entries_that_the_spec_does_not_list_are_as_contents_say() -> None:
    assert of_halves({}, {1: (1, 300)}, contents=Contents.EXACT) == []  # it goes
    assert of_halves({}, {1: (1, 300)}, contents=Contents.PRESENT) == [("migrate-value", "outer[1][1]")]
    assert of_halves({}, {1: (300, 1)}, contents=Contents.PRESENT) == [("migrate-value", "outer[1][1]")]


def test_elements_of_an_array_never_go() -> None:
    """Ours is set to zero in those that the spec does not list, and theirs stays."""
    array = {"live": MapType.ARRAY, "inner": MapType.ARRAY, "contents": Contents.EXACT}
    assert of_halves({}, {1: (1, 300)}, **array) == [("migrate-value", "outer[1][1]")]
    assert of_halves({}, {1: (300, 1)}, **array) == []


def test_a_member_of_others_that_goes_is_lost_in_listed_entries_too() -> None:
    value = built(struct(a="u8", c="u8"))
    map_ = wish({ONE: {ONE: "0100"}}, value=owned(value, [("a",)], np.zeros(2, np.uint8)))
    held = Live({ONE: {ONE: le(1) + le(7)}}, value=8)
    assert refused(map_, held, recorded_as("u32", PAIR)) == [("migrate-loss", "outer")]


# --- outer keys --------------------------------------------------------------------------------------------------


def of_outer(keys: list[str], outer: Kind, before: Kind = "u32", **how: Any) -> Plan:
    return plan_of(
        wish(how.pop("state", {}), outer=outer, **how),
        Live({key: {} for key in keys}, outer=len(keys[0]) // 2),
        recorded_as("u32", "u32", before),
    )


@pytest.mark.parametrize(
    ("how", "stays"),
    [
        ({}, False),
        ({"extra": ExtraInnerMaps.KEEP}, True),
        ({"extra": ExtraInnerMaps.FAIL}, True),
        ({"owned_slots": ((0, 9),)}, True),  # 300 is in no range of ours
    ],
)
def test_outer_keys_that_do_not_fit(how: Any, stays: bool) -> None:
    plan = of_outer([ONE, le(300)], "u8", **how)
    refusals = [each for each in plan.blocked if each.rule == "migrate-value"]
    assert [(each.address, each.message) for each in refusals] == [
        ("outer[0x2c010000]", "the outer key does not fit u8: 300")
    ] * stays
    assert plan.maps["outer"].unfit.addresses == (() if stays else ("outer[0x2c010000]",))
    many = of_outer([le(300 + each) for each in range(30)], "u8", **how).blocked
    assert len([each for each in many if each.rule == "migrate-value"]) == 20 * stays


def test_a_slot_that_goes_with_its_key_is_counted() -> None:
    held = Live({ONE: entries({1: 1}), le(300): entries({1: 1, 2: 2})})
    plan = plan_of(wish({"01": {}}, outer="u8"), held, recorded_as("u32", "u32"))
    assert plan.blocked == ()
    assert (counts.summary(plan).inner_maps.delete, counts.summary(plan).entries.delete) == (1, 2)
    other = plan_of(wish({"01": {}}, outer="u8"), Live({ONE: entries({1: 1})}), recorded_as("u32", "u32"))
    assert other.digest != plan.digest


def test_limits_count_slots_that_go_with_their_keys() -> None:
    keys = [le(300 + each) for each in range(11)]
    assert ids(of_outer(keys, "u8").blocked) == [("delete_percent", "outer")]
    assert ids(of_outer(keys[1:], "u8").blocked) == []


PAIR_OF_KEYS = struct(a="u32", b="u32")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, []),
        ({"state": {ONE: {}}}, [("migrate-value", "outer[{a: 1}]"), ("migrate-loss", "outer")]),
        ({"extra": ExtraInnerMaps.KEEP}, [("migrate-value", "outer[{a: 1}]"), ("migrate-loss", "outer")]),
    ],
)
def test_outer_keys_that_become_the_same(how: Any, expected: list[tuple[str, str]]) -> None:
    keys = [le(1) + le(7), le(1) + le(8)]
    plan = of_outer(keys, struct(a="u32"), PAIR_OF_KEYS, **how)
    refused_ = ids(plan.blocked)
    assert refused_ == expected[:1]  # the loss is counted where nothing else is wrong
    assert ids(of_outer([le(1) + le(0)], struct(a="u32"), PAIR_OF_KEYS, **how).blocked) == []
    assert len(plan.maps["outer"].unfit.addresses) == (0 if expected else 1)


def test_a_member_of_outer_keys_that_goes_needs_consent() -> None:
    keys = [le(1) + le(7), le(2) + le(8), le(3) + le(0)]
    plan = of_outer(keys, struct(a="u32"), PAIR_OF_KEYS, state={ONE: {}, THREE: {}})
    assert ids(plan.blocked) == [("migrate-loss", "outer")]
    assert plan.blocked[0].message == "the new outer key has no member `b`: its value in 1 slot would be lost"
    assert of_outer(keys, struct(a="u32"), PAIR_OF_KEYS).blocked == (), "all of these slots go"


def test_outer_keys_that_are_no_index_of_the_new_array() -> None:
    array = replace(OUTER, map_type=MapType.ARRAY_OF_MAPS, max_entries=4)
    map_ = replace(wish({}, outer="u32", extra=ExtraInnerMaps.KEEP), shape=array)
    held = Live({le(key, 8): {} for key in (0, 3, 4, 9)}, outer=8)
    blocked = plan_of(map_, held, recorded_as("u32", "u32", "u64")).blocked
    assert [refusal.address for refusal in blocked if refusal.rule == "no-room"] == ["outer[4]", "outer[9]"]
    going = plan_of(replace(wish({}, outer="u32"), shape=array), held, recorded_as("u32", "u32", "u64"))
    assert (going.blocked, len(going.maps["outer"].slots.where(Action.DELETE))) == ((), 4)
