"""What a plan changes, in numbers: maps, inner maps, entries and programs by what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.spec import ExtraInnerMaps
from provisioner.planning.changes import Action
from provisioner.planning.counts import (
    NOTHING,
    Counts,
    EntryCounts,
    Summary,
    entry_counts,
    map_action,
    summary,
    with_unchanged,
)
from provisioner.planning.hazards import Overrides
from provisioner.planning.teardown import plan_destroy
from tests.planning.build import HASH, OUTER, desired, observed
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


def test_slots_and_entries_by_what_becomes_of_them() -> None:
    map_ = desired({1: {1: 1, 2: 2}, 2: {5: 5}, 4: {1: 1}})
    seen = live(meta=record(), maps={"outer": observed({1: {}, 2: {}, 3: {}})})
    held = {"outer": {1: {1: 1, 2: 9, 3: 3}, 2: {5: 5}, 3: {7: 7}}}
    plan = plan_of(wanted(map_), seen, Held(held))
    counted = summary(plan)
    assert counted.outer_maps == Counts(update=1)
    assert counted.inner_maps == Counts(create=1, update=1, delete=1, unchanged=1)
    assert counted.entries == EntryCounts(insert=1, update=1, delete=2, unchanged=2)
    assert counted.entries == entry_counts(plan.maps["outer"])
    assert (counted.maps, counted.programs) == (Counts(), Counts())


def test_plain_maps_are_not_outer_maps() -> None:
    plain = replace(desired({0: {}}, shape=HASH), outer=None)
    counted = summary(plan_of(wanted(plain), live(meta=record())))
    assert (counted.maps, counted.outer_maps) == (Counts(create=1), Counts())


def test_inner_maps_that_policy_keeps_are_in_no_count() -> None:
    map_ = desired({1: {}}, extra=ExtraInnerMaps.KEEP)
    seen = live(meta=record(), maps={"outer": observed({1: {}, 2: {}})})
    assert summary(plan_of(wanted(map_), seen, Held({"outer": {1: {}, 2: {}}}))).inner_maps == Counts(unchanged=1)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, Counts(create=2)),
        ({"programs": pinned("first", "second"), "links": attached("first")}, Counts(unchanged=2)),
        ({"programs": pinned("first", "second")}, Counts(update=1, unchanged=1)),
        ({"programs": pinned("first"), "links": attached("first")}, Counts(create=1, update=1)),
        (
            {"programs": pinned("first", "second"), "links": attached("first") | attached("gone")},
            Counts(unchanged=2, delete=1),
        ),
    ],
    ids=["nothing", "all", "not attached", "one is missing", "one attachment too many"],
)
def test_programs(seen: dict[str, Any], expected: Counts) -> None:
    load = an_object(program("first"), unattached("second"))
    state = live(meta=record(objects={"router": "new"}), points={ETH0: 3}, **seen)
    assert summary(plan_of(wanted(load), state)).programs == expected


def test_a_destroy_counts_each_program_once() -> None:
    """By its link, by its own pin, or by both."""
    state = live(meta=record(), programs=pinned("first", "second"), links=attached("first") | attached("third"))
    plan = plan_destroy(wanted(), state, Overrides())
    assert summary(plan, destroy=True).programs == Counts(delete=3)


@pytest.mark.parametrize(
    ("adopted", "slots", "expected"),
    [(None, {1: {}}, Action.DELETE), ("/there", {1: {}}, Action.UPDATE), ("/there", {}, Action.UNCHANGED)],
)
def test_an_adopted_map_is_never_deleted(adopted: str | None, slots: Any, expected: Action) -> None:
    map_ = desired(slots, adopted=adopted)
    seen = live(meta=record(), maps={"outer": observed(slots)})
    change = plan_of(wanted(map_), seen, Held({"outer": slots})).maps["outer"]
    assert map_action(replace(change, action=Action.DELETE)) is expected


def test_an_adopted_plain_map_stays_as_it_is() -> None:
    map_ = replace(desired({0: {1: 1}}, shape=HASH, adopted="/there"), outer=None)
    change = plan_of(wanted(map_), live(meta=record(), maps={"outer": observed({0: {}}, shape=OUTER)})).maps["outer"]
    assert map_action(replace(change, action=Action.DELETE)) is Action.UNCHANGED


def test_what_a_partial_plan_leaves_counts_as_unchanged() -> None:
    """All that the spec has, less what the plan creates or changes; what goes is not in the spec."""
    plain = replace(desired({0: {1: 1, 2: 2}}, name="plain", shape=HASH), outer=None)
    state = wanted(
        an_object(program("first"), unattached("second")),
        desired({1: {1: 1}, 2: {2: 2, 3: 3}, 3: {}}),
        desired({1: {}}, name="other"),
        plain,
    )
    done = Counts(create=1, delete=5)
    part = Summary(Counts(update=1), Counts(create=1, update=1, replace=1, delete=7), done, EntryCounts(2, 1, 9), done)
    assert with_unchanged(part, state) == Summary(
        outer_maps=Counts(update=1, unchanged=1),
        inner_maps=Counts(create=1, update=1, replace=1, delete=7, unchanged=1),
        maps=Counts(create=1, delete=5, unchanged=0),
        entries=EntryCounts(2, 1, 9, 2),
        programs=Counts(create=1, delete=5, unchanged=1),
    )
    assert with_unchanged(NOTHING, wanted()) == NOTHING
    more = Summary(Counts(create=3), Counts(create=9), Counts(update=3), EntryCounts(9, 9), Counts(create=3))
    assert with_unchanged(more, state) == more, "an entry of a map that is recreated is written although it was there"
