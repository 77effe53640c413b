"""How full maps are, by the plan of the moment."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Contents, ExtraInnerMaps
from provisioner.model.uapi import MapType
from provisioner.planning.usage import Usage, usage
from tests.planning.build import HASH, OUTER, State, desired, observed
from tests.planning.states import Held, live, plan_of, record, wanted

ROOMY = HASH.with_capacity(10)


def used(state: State, held: State | None, **how: Any) -> list[tuple[str, int, int]]:
    """What is said of a map whose inner maps have room for 10 entries; without `held`, it is not live."""
    how = {"inner": ROOMY, **how}
    map_ = desired(state, **how)
    maps = {} if held is None else {"outer": observed(held, shape=map_.shape, inner=map_.entry_shape)}
    plan = plan_of(wanted(map_), live(meta=record(), maps=maps), Held({"outer": held or {}}, capacity=10))
    assert {each.map for each in usage(plan)} <= {"outer"}
    return [(each.kind, each.used, each.maximum) for each in usage(plan)]


def entries(count: int, start: int = 0) -> dict[int, int]:
    return dict.fromkeys(range(start, start + count), 1)


@pytest.mark.parametrize(
    ("state", "held", "how", "expected"),
    [
        ({1: {}, 2: {}}, None, {}, 2),
        ({1: {}, 2: {}}, {2: {}, 3: {}}, {}, 2),  # one goes
        ({1: {}, 2: {}}, {2: {}, 3: {}}, {"extra": ExtraInnerMaps.KEEP}, 3),
        ({1: {}}, {2: {}, 3: {}}, {"owned_slots": ((1, 2),)}, 2),
    ],
)
def test_slots(state: State, held: State | None, how: dict[str, Any], expected: int) -> None:
    assert used(state, held, **how)[0] == ("slots", expected, OUTER.max_entries)


@pytest.mark.parametrize("contents", [Contents.EXACT, Contents.PRESENT])
@pytest.mark.parametrize(
    ("ours", "theirs", "exact", "present"),
    [
        (entries(3), {}, 3, 3),
        (entries(3), entries(3), 3, 3),
        (entries(3), {0: 9, 1: 9, 2: 9}, 3, 3),
        ({}, entries(4), 4, 4),  # they go, or are another writer's
        (entries(3), entries(5), 5, 5),
        (entries(2), entries(5, start=2), 5, 7),
        (entries(5), entries(2, start=4), 5, 6),
    ],
)
def test_entries_that_are_live_or_come(
    contents: Contents, ours: dict[int, int], theirs: dict[int, int], exact: int, present: int
) -> None:
    expected = exact if contents is Contents.EXACT else present
    assert used({1: ours}, {1: theirs}, contents=contents)[1:] == [("entries", expected, 10)]


def test_the_fullest_inner_map_counts() -> None:
    """By its share, not by its number of entries, or by those that it has room for."""
    state = {1: entries(16), 2: entries(15), 3: entries(3)}
    assert used(state, None, capacity={1: 40, 2: 20, 3: 5})[1:] == [("entries", 15, 20)]


def test_inner_maps_that_go_or_are_not_read_do_not_count() -> None:
    assert used({1: entries(2)}, {1: entries(2), 2: entries(9)})[1:] == [("entries", 2, 10)]
    assert used({1: {}}, {1: entries(9)}, contents=Contents.IGNORE)[1:] == []
    assert used({}, {1: entries(9)})[1:] == []


@pytest.mark.parametrize(
    ("outer", "inner", "kinds"),
    [
        (MapType.HASH_OF_MAPS, MapType.HASH, ["slots", "entries"]),
        (MapType.ARRAY_OF_MAPS, MapType.HASH, ["entries"]),
        (MapType.HASH_OF_MAPS, MapType.ARRAY, ["slots"]),
        (MapType.HASH_OF_MAPS, MapType.LRU_HASH, ["slots"]),
        (MapType.HASH_OF_MAPS, MapType.QUEUE, ["slots"]),
        (MapType.HASH_OF_MAPS, MapType.PERCPU_HASH, ["slots", "entries"]),
    ],
)
def test_only_what_can_become_full(outer: MapType, inner: MapType, kinds: list[str]) -> None:
    found = used({1: entries(1)}, None, shape=replace(OUTER, map_type=outer), inner=MapShape(inner, 4, 8, 10))
    assert [kind for kind, _, _ in found] == kinds


def test_a_plain_map_has_no_slots() -> None:
    plain = replace(desired({0: entries(3)}, shape=ROOMY, inner=ROOMY), outer=None)
    assert list(usage(plan_of(wanted(plain), live(meta=record())))) == [Usage("outer", "entries", 3, 10)]


def test_an_inner_map_without_room_has_one() -> None:
    """Of which the capacity is not known: a share of it is never infinite."""
    assert used({1: entries(1)}, None, capacity={1: 0})[1:] == [("entries", 1, 1)]
