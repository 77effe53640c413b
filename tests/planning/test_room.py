"""What a plan inserts has room beside what stays, or is refused with the figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Contents, ExtraInnerMaps, OnReplace
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning.changes import MapChange
from provisioner.planning.diff import diff_map
from provisioner.planning.hazards import Refusal
from provisioner.planning.room import entries_need_deletes, no_room, slots_need_deletes
from tests.planning.build import ARRAY, HASH, HERE, OUTER, State, blocks, desired, observed

FOUR = HASH.with_capacity(4)


def change(wanted: State, live: State, **how: Any) -> MapChange:
    inner = how.setdefault("inner", FOUR)
    map_ = desired(wanted, **how)
    capacity = 4 if inner is FOUR else 64
    return diff_map(map_, observed(live, inner=inner, shape=map_.shape), blocks(live, capacity=capacity), None)


def refused(*args: State, **how: Any) -> list[Refusal]:
    return list(no_room([change(*args, **how)]))


THREE_OTHERS = {10: 9, 11: 9, 12: 9}


@pytest.mark.parametrize(
    ("wanted", "deletes_first", "fits"),
    [({1: 1, 2: 2}, True, False), ({1: 1}, False, True), ({3: 3}, True, True), ({1: 2}, False, True)],
)
def test_own_keys_in_a_map_that_others_fill(wanted: dict[int, int], deletes_first: bool, fits: bool) -> None:
    made = change({1: wanted}, {1: {1: 1, **THREE_OTHERS}}, owned=((1, 9),))
    assert made.slots.others.tolist() == [3]
    assert entries_need_deletes(made, 0) == deletes_first
    assert [one.address for one in no_room([made])] == ([] if fits else ["outer[1]"])


def test_a_refusal_has_the_figures_the_key_and_the_line() -> None:
    (refusal,) = refused({1: {1: 1, 3: 3}}, {1: {1: 1, **THREE_OTHERS}}, contents=Contents.PRESENT)
    assert (refusal.rule, refusal.address, refusal.where) == ("no-room", "outer[1]", HERE)
    for figure in ("key 3", "5 entries are needed", "max_entries is 4", "4 are in use", "3 of them stay"):
        assert figure in refusal.message
    assert "`max_entries: 5`" in refusal.remedy


def test_the_key_is_the_first_that_has_no_room() -> None:
    (refusal,) = refused({1: {1: 1, 2: 2, 3: 3}}, {1: {10: 1, 11: 1}}, contents=Contents.PRESENT)
    assert "for key 3:" in refusal.message


def test_updates_of_other_keys_take_no_room() -> None:
    (refusal,) = refused({1: {1: 2, 3: 3, 4: 4}}, {1: {1: 1, 10: 1, 11: 1}}, contents=Contents.PRESENT)
    assert "for key 4:" in refusal.message


def test_nothing_has_room_where_the_others_alone_exceed_it() -> None:
    how: dict[str, Any] = {"contents": Contents.PRESENT, "on_replace": OnReplace.COPY, "inner": HASH}
    (refusal,) = refused({1: {1: 1, 2: 2}}, {1: THREE_OTHERS}, capacity={1: 2}, **how)
    assert "for key 1:" in refusal.message


def test_present_entries_are_not_deleted_for_room() -> None:
    assert refused({1: {3: 3}}, {1: {1: 1, **THREE_OTHERS}}, contents=Contents.PRESENT)
    assert not refused({1: {3: 3}}, {1: {1: 1, **THREE_OTHERS}}, contents=Contents.EXACT)


def test_a_slot_without_inserts_is_never_refused() -> None:
    live = {1: {1: 1, 13: 1, **THREE_OTHERS}}
    assert not refused({1: {1: 2}}, live, contents=Contents.PRESENT)


def test_an_lru_evicts_instead() -> None:
    lru = FOUR.with_capacity(64)
    lru = type(lru)(MapType.LRU_HASH, 4, 8, 4)
    live = {1: {1: 1, **THREE_OTHERS}}
    map_ = desired({1: {3: 3}}, inner=lru, contents=Contents.PRESENT)
    made = diff_map(map_, observed(live, inner=lru), blocks(live, capacity=4), None)
    assert not list(no_room([made]))


@pytest.mark.parametrize(("room", "fits"), [(4, False), (5, True)])
def test_a_copy_has_room_for_the_entries_of_others(room: int, fits: bool) -> None:
    made = change(
        {1: {1: 1, 2: 2}},
        {1: THREE_OTHERS},
        contents=Contents.PRESENT,
        on_replace=OnReplace.COPY,
        inner=HASH,
        capacity={1: room},
    )
    assert [one.rule for one in no_room([made])] == ([] if fits else ["no-room"])


def test_what_is_dropped_takes_no_room() -> None:
    how: dict[str, Any] = {
        "contents": Contents.PRESENT,
        "on_replace": OnReplace.DROP,
        "inner": HASH,
        "capacity": {1: 2},
    }
    assert not refused({1: {1: 1, 2: 2}}, {1: THREE_OTHERS}, **how)


@pytest.mark.parametrize(("room", "fits"), [(12, False), (13, True)])
def test_an_array_has_room_up_to_the_highest_index(room: int, fits: bool) -> None:
    array = type(ARRAY)(MapType.ARRAY, 4, 8, 64, MapFlag.INNER_MAP)
    made = change(
        {1: {1: 1}},
        {1: THREE_OTHERS},
        contents=Contents.PRESENT,
        on_replace=OnReplace.COPY,
        inner=array,
        capacity={1: room},
    )
    assert made.slots.others.tolist() == [13]
    refusals = list(no_room([made]))
    assert not refusals if fits else "index 12" in refusals[0].message


TWO = OUTER.with_capacity(2)


def test_slots_that_stay_leave_no_room() -> None:
    (refusal,) = refused({5: {}}, {3: {}, 4: {}}, shape=TWO, extra=ExtraInnerMaps.KEEP)
    assert (refusal.rule, refusal.address, refusal.where) == ("no-room", "outer[5]", HERE)
    for figure in ("3 slots are needed", "max_entries is 2", "2 are in use", "2 of them stay"):
        assert figure in refusal.message


def test_the_slot_is_the_first_that_has_no_room() -> None:
    (refusal,) = refused({5: {}, 6: {}}, {3: {}}, shape=TWO, extra=ExtraInnerMaps.KEEP)
    assert refusal.address == "outer[6]"


def test_slots_that_fill_the_map_leave_no_room_for_any() -> None:
    full: State = {1: {}, 2: {}, 3: {}}
    (refusal,) = refused({5: {}, 6: {}}, full, shape=OUTER.with_capacity(3), extra=ExtraInnerMaps.KEEP)
    assert refusal.address == "outer[5]"


@pytest.mark.parametrize(("live", "needed"), [([3], False), ([3, 4], True)])
def test_slots_are_deleted_first_only_for_room(live: list[int], needed: bool) -> None:
    made = change({5: {}}, {key: {} for key in live}, shape=TWO)
    assert slots_need_deletes(made) == needed
    assert not list(no_room([made]))


def test_an_array_of_maps_always_has_its_slots() -> None:
    array = type(OUTER)(MapType.ARRAY_OF_MAPS, 4, 4, 2)
    made = change({0: {}, 1: {}}, {0: {}}, shape=array, extra=ExtraInnerMaps.KEEP)
    assert not slots_need_deletes(made)
    assert not list(no_room([made]))


def test_a_new_map_and_one_that_is_recreated_are_not_looked_at() -> None:
    assert not refused({1: {1: 1}}, {9: THREE_OTHERS}, shape=TWO, inner=HASH, name="outer")
    other = MapShape(MapType.HASH_OF_MAPS, 8, 4, 1000)
    recreated = diff_map(desired({5: {}}, shape=TWO), observed({1: {}, 2: {}}, shape=other), (), None)
    assert not list(no_room([recreated]))
    assert np.array_equal(recreated.slots.others, [0])


def test_what_stays_must_fit_into_a_smaller_map() -> None:
    keep = ExtraInnerMaps.KEEP
    live: State = {1: {}, 2: {}, 3: {}}
    smaller = diff_map(desired({1: {}}, shape=TWO, extra=keep), observed(live, shape=OUTER), blocks({1: {}}), None)
    assert [(refusal.rule, refusal.address) for refusal in no_room([smaller])] == [("no-room", "outer")]
    fits = diff_map(desired({1: {}}, shape=TWO), observed(live, shape=OUTER), blocks(live), None)
    assert not list(no_room([fits])), "the others are deleted"


def test_slots_that_a_smaller_array_does_not_have() -> None:
    """Those that stay are refused; those that the spec deletes are not."""
    array = type(OUTER)(MapType.ARRAY_OF_MAPS, 4, 4, 9)
    live: State = {number: {} for number in range(9)}
    for keep, expected in ((ExtraInnerMaps.KEEP, [("no-room", "outer")]), (ExtraInnerMaps.DELETE, [])):
        smaller = desired({0: {}}, shape=array.with_capacity(2), extra=keep)
        made = diff_map(smaller, observed(live, shape=array), blocks(live), None)
        assert made.resized
        assert [(each.rule, each.address) for each in no_room([made])] == expected


def test_entries_that_are_copied_into_a_smaller_inner_map() -> None:
    (refusal,) = refused(
        {1: {}}, {1: THREE_OTHERS}, capacity={1: 2}, contents=Contents.PRESENT, on_replace=OnReplace.COPY
    )
    assert (refusal.rule, refusal.address, refusal.where) == ("no-room", "outer[1]", HERE)
