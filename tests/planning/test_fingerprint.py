"""A digest binds a saved plan to both states: whatever matters changes it, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.spec import Contents, OnConflict, OnReplace, Update
from provisioner.model.uapi import MapFlag
from provisioner.planning.plan import Plan
from tests.planning.build import HASH, OUTER, State, desired, observed
from tests.planning.states import ETH0, Held, an_object, attached, live, pinned, plan_of, program, record, wanted

STATE: State = {1: {1: 1}, 2: {1: 1}}
LIVE: State = {1: {1: 9}, 2: {1: 1}}


def plan(map_: Any = None, held: State = LIVE, **seen: Any) -> Plan:
    fields = {"meta": record(), "maps": {"outer": observed(held)}, **seen}
    return plan_of(wanted(map_ or desired(STATE)), live(**fields), Held({"outer": held}))


def test_equal_states_have_equal_digests() -> None:
    assert plan().digest == plan().digest


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
