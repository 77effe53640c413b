"""A digest binds a saved plan to both states: whatever matters changes it, and nothing else does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.layouts import layout_of
from provisioner.codec.owned import owned
from provisioner.model.desired import Constants, Migration
from provisioner.model.spec import Contents, OnConflict, OnReplace, Update
from provisioner.model.uapi import MapFlag
from provisioner.model.variables import DataSection, Variable
from provisioner.planning.plan import Plan
from tests.codec.support import built, struct
from tests.planning.build import ARRAY, HASH, HERE, OUTER, U32, State, desired, observed
from tests.planning.states import (
    ETH0,
    Held,
    an_object,
    attached,
    live,
    pinned,
    plan_of,
    program,
    record,
    unattached,
    wanted,
)

STATE: State = {1: {1: 1}, 2: {1: 1}}
LIVE: State = {1: {1: 9}, 2: {1: 1}}


def plan(map_: Any = None, held: State = LIVE, **seen: Any) -> Plan:
    fields = {"meta": record(), "maps": {"outer": observed(held)}, **seen}
    return plan_of(wanted(map_ or desired(STATE)), live(**fields), Held({"outer": held}))


def test_equal_states_have_equal_digests() -> None:
    assert plan().digest == plan().digest
    for half in plan().fingerprints["outer"]:
        assert re.fullmatch("[0-9a-f]{32}", half), "a saved plan has it in this form"


@pytest.mark.parametrize(
    "map_",
    [
        desired({1: {1: 2}, 2: {1: 1}}),
        desired({1: {1: 1}, 3: {1: 1}}),
        desired(STATE, shared={1: 0, 2: 0}),
        desired(STATE, capacity={2: 65}),
        desired(STATE, inner=replace(HASH, map_flags=MapFlag.NO_PREALLOC)),
        desired(STATE, shape=OUTER.with_capacity(9)),
        replace(desired(STATE), object="router"),
        desired(STATE, adopted="/sys/fs/bpf/theirs"),
    ],
)
def test_what_the_spec_wants_is_bound(map_: Any) -> None:
    assert plan(map_).digest != plan().digest
    assert plan(map_).fingerprints["outer"][0] != plan().fingerprints["outer"][0]


def test_what_becomes_of_others_entries_is_bound_where_they_are_replaced() -> None:
    """A saved plan does not apply a policy that nobody reviewed; where the policy decides nothing, it stays valid."""
    for update, is_bound in ((Update.REPLACE, True), (Update.IN_PLACE, False)):
        shared = desired(STATE, contents=Contents.PRESENT, update=update, on_replace=OnReplace.COPY)
        parts = plan(shared).fingerprints["outer"]
        for other in (replace(shared, on_replace=OnReplace.DROP), replace(shared, on_conflict=OnConflict.SUM)):
            assert (plan(other).digest != plan(shared).digest) is is_bound
            assert (plan(other).fingerprints["outer"][0] != parts[0]) is is_bound


@pytest.mark.parametrize(
    "seen",
    [
        {"held": {1: {1: 8}, 2: {1: 1}}},
        {"held": {1: {1: 9, 2: 2}, 2: {1: 1}}},
        {"maps": {"outer": replace(observed(LIVE), id=8)}},
        {"maps": {"outer": observed(LIVE, ids={1: 5})}},
        {"maps": {"outer": observed(LIVE, ids={2: 5})}},
    ],
)
def test_what_is_live_is_bound(seen: Any) -> None:
    other = plan(**seen)
    assert other.digest != plan().digest
    assert other.fingerprints["outer"][0] == plan().fingerprints["outer"][0], "the spec is the same"
    assert other.fingerprints["outer"][1] != plan().fingerprints["outer"][1]


def test_project_pin_root_and_record_are_bound() -> None:
    state = wanted(desired(STATE))
    seen, held = live(meta=record(), maps={"outer": observed(LIVE)}), Held({"outer": LIVE})
    digests = {
        plan_of(each, seen, held).digest
        for each in (
            state,
            replace(state, project="other"),
            replace(state, pin_root="/sys/fs/bpf/other"),
            replace(state, maps={"outer": desired(STATE, prevent_destroy=True)}),
        )
    }
    assert len(digests) == 4


def test_objects_and_links_are_bound() -> None:
    def of(digest: str = "new", **fields: Any) -> Plan:
        seen: dict[str, Any] = {
            "meta": record(objects={"router": "old"}),
            "programs": pinned("first"),
            "points": {ETH0: 3},
        } | fields
        return plan_of(wanted(an_object(program("first"), digest=digest)), live(**seen))

    assert list(of().fingerprints) == ["object router", "_link_first"]
    plans = [of(), of("newer"), of(programs={})]
    plans += [of(links=attached("first")), of(links=attached("first", program_id=60))]
    assert len({each.digest for each in plans}) == len(plans)


def test_pins_of_inner_maps_are_bound() -> None:
    def of(pins: frozenset[int]) -> str:
        seen = live(meta=record(), maps={"outer": observed(STATE)}, inner_pins={"outer": pins})
        return plan_of(wanted(desired(STATE), pin_inner_maps=True), seen, Held({"outer": STATE})).digest

    assert len({of(frozenset()), of(frozenset({1001})), of(frozenset({1002}))}) == 3


def test_variables_are_bound() -> None:
    def of(data: bytes, live_data: bytes) -> Plan:
        assert U32 is not None
        section = DataSection(".data", "router.data", ARRAY, False, (Variable("debug", 0, U32, data, HERE),))
        object_ = replace(an_object(unattached("first"), maps={"router.data": ARRAY}), variables=(section,))
        meta = record(objects={"router": "new"}, settings={"router": object_.recorded_settings})
        maps = {"router.data": observed({}, shape=ARRAY)}
        seen = live(meta=meta, programs=pinned("first"), object_maps=maps, variables={"router.data": live_data})
        return plan_of(wanted(object_), seen)

    base, other, later = of(b"\1\0\0\0", b"\0" * 4), of(b"\2\0\0\0", b"\0" * 4), of(b"\1\0\0\0", b"\3\0\0\0")
    parts = [each.fingerprints["object router"] for each in (base, other, later)]
    assert [part[0] == parts[0][0] for part in parts] == [True, False, True]
    assert [part[1] == parts[0][1] for part in parts] == [True, True, False]
    assert len({each.digest for each in (base, other, later)}) == 3


def test_how_a_map_is_migrated_is_bound() -> None:
    assert U32 is not None
    none, seven = (Constants(np.full(4, number, np.uint8), frozenset()) for number in (0, 7))
    layout = layout_of(U32)
    base = Migration(False, {}, none, none, None, None, None, HERE)
    changes: list[dict[str, Any]] = [
        {"drop": True},
        {"rename": {"a": "b"}},
        {"key_constants": seven},
        {"value_constants": seven},
        {"key": layout},
        {"value": layout},
        {"outer_key": layout},
    ]
    maps = [replace(desired(STATE), migration=replace(base, **each)) for each in changes]
    maps += [desired(STATE), replace(desired(STATE), migration=base)]
    assert len({plan(each).fingerprints["outer"][0] for each in maps}) == len(maps)
    one, two = (replace(base, rename=dict(pairs)) for pairs in ((("a", "b"), ("c", "d")), (("c", "d"), ("a", "b"))))
    first, second = (plan(replace(desired(STATE), migration=each)).digest for each in (one, two))
    assert first == second, "the order of names decides nothing"


def test_the_members_that_are_ours_are_bound() -> None:
    pair = built(struct(a="u32", b="u32"))
    none = np.zeros(8, np.uint8)
    values = [pair, owned(pair, [("a",)], none), owned(pair, [("b",)], none)]
    assert len({plan(replace(desired(STATE), value=value)).fingerprints["outer"][0] for value in values}) == 3


def test_the_maps_of_an_object_in_slots_are_bound() -> None:
    def of(*members: str, slot: int = 0) -> tuple[str, str]:
        map_ = desired(STATE)
        assert map_.outer is not None
        number = np.array([-1, slot], np.int32)
        slots = replace(map_.slots, members=number)
        return plan(replace(map_, slots=slots, outer=replace(map_.outer, members=members))).fingerprints["outer"]

    assert len({of("one", "two")[0], of("one", "other")[0], of("one", "two", slot=1)[0]}) == 3
