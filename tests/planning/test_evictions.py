"""LRU maps that are listed nearly full: certain evictions are refused, possible ones are hazards."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Contents, OnReplace
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning import evictions
from provisioner.planning.changes import Action
from provisioner.planning.diff import diff_map
from provisioner.planning.hazards import Severity
from tests.planning.build import HERE, blocks, desired, observed

Judgement = tuple[list[str], list[str]]
"""The addresses of hazards and of refusals."""


def lru(room: int, flags: MapFlag = MapFlag(0), kind: MapType = MapType.LRU_HASH) -> MapShape:
    return MapShape(kind, 4, 8, room, flags)


def listed(count: int) -> dict[int, dict[int, int]]:
    return {1: dict.fromkeys(range(count), 1)}


def judged(count: int, shape: MapShape, cpus: int = 2) -> Judgement:
    """The addresses of hazards and of refusals."""
    change = diff_map(desired(listed(count), inner=shape, contents=Contents.PRESENT), None, (), None)
    hazards, refusals = evictions.hazards([change], cpus), evictions.refusals([change], cpus)
    return [one.address for one in hazards], [one.address for one in refusals]


NOTHING: Judgement = ([], [])
HAZARD: Judgement = (["outer[1]"], [])
REFUSAL: Judgement = ([], ["outer[1]"])


@pytest.mark.parametrize(
    ("count", "room", "cpus", "expected"),
    [
        (746, 1000, 2, NOTHING),
        (747, 1000, 2, HAZARD),
        (896, 1000, 2, HAZARD),
        (897, 1000, 2, REFUSAL),
        (1000, 1000, 1, REFUSAL),
        (873, 1000, 1, NOTHING),
        (874, 1000, 1, HAZARD),
        (6, 8, 2, NOTHING),
        (7, 8, 2, HAZARD),
        (8, 8, 2, HAZARD),
        (1, 1, 2, NOTHING),
        (128, 128, 2, HAZARD),
        (0, 8, 2, NOTHING),
    ],
)
def test_thresholds(count: int, room: int, cpus: int, expected: Judgement) -> None:
    assert judged(count, lru(room), cpus) == expected


@pytest.mark.parametrize(("count", "expected"), [(50, NOTHING), (51, HAZARD), (100, HAZARD), (101, REFUSAL)])
def test_without_a_common_list_each_cpu_has_its_share(count: int, expected: Judgement) -> None:
    assert judged(count, lru(100, MapFlag.NO_COMMON_LRU)) == expected


def test_other_flags_change_nothing() -> None:
    assert judged(746, lru(1000, MapFlag.NUMA_NODE)) == NOTHING
    assert judged(897, lru(1000, MapFlag.NUMA_NODE)) == REFUSAL


def test_other_types_evict_nothing() -> None:
    assert judged(1000, lru(1000, kind=MapType.HASH)) == NOTHING


def test_a_refusal_says_what_to_write_and_that_is_enough() -> None:
    change = diff_map(desired(listed(900), inner=lru(1000), contents=Contents.PRESENT), None, (), None)
    (refusal,) = evictions.refusals([change], 2)
    assert (refusal.rule, refusal.where) == ("lru-eviction", HERE)
    enough = int(refusal.remedy.partition("max_entries: ")[2].partition("`")[0])
    assert judged(900, lru(enough)) == NOTHING


@pytest.mark.parametrize(
    ("before", "count", "expected"),
    [
        (MapType.HASH, 745, []),
        (MapType.HASH, 746, [Severity.DANGER]),
        (MapType.HASH, 895, [Severity.DANGER]),
        (MapType.HASH, 896, ["refused"]),
        (MapType.LRU_HASH, 745, []),
        (MapType.LRU_HASH, 896, [Severity.NOTICE]),  # they could be evicted where they are
    ],
)
def test_entries_that_are_copied_count_too(before: MapType, count: int, expected: list[object]) -> None:
    """One entry is listed; the live map has as many of others as `count` says."""
    live = {1: {-1 % 2**32: 1} | dict.fromkeys(range(count), 1)}
    wish = desired({1: {-1 % 2**32: 1}}, inner=lru(1000), contents=Contents.PRESENT, on_replace=OnReplace.COPY)
    change = diff_map(wish, observed(live, inner=lru(999)), blocks(live, capacity=999), None)
    assert change.slots.action.tolist() == [Action.REPLACE]
    change = replace(change, observed=observed(live, inner=lru(999, kind=before)))
    judged = [one.severity for one in evictions.hazards([change], 2)]
    assert [*judged, *("refused" for _ in evictions.refusals([change], 2))] == expected
    dropped = replace(change, desired=replace(change.desired, on_replace=OnReplace.DROP))
    assert not [*evictions.hazards([dropped], 2), *evictions.refusals([dropped], 2)]


def test_a_map_to_which_nothing_is_written_is_not_judged() -> None:
    live = listed(900)
    shape = lru(1000)
    change = diff_map(
        desired(live, inner=shape, contents=Contents.PRESENT),
        observed(live, inner=shape),
        blocks(live, capacity=1000),
        None,
    )
    assert not [*evictions.hazards([change], 2), *evictions.refusals([change], 2)]
