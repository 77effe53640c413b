"""What is read only where maps differ: frozen maps, and contents that a smaller map takes over."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Contents, OnReplace
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning import targets
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.comparison import compare
from provisioner.planning.hazards import Overrides
from tests.planning.build import HASH, State, desired, observed
from tests.planning.states import Held, ids, live, plan_of, record, wanted


def look(state: State, held: State, *, frozen_ids: tuple[int, ...] = (), frozen: bool = False, **how: Any) -> MapChange:
    map_ = desired(state, **how)
    seen = live(meta=record(), maps={"outer": replace(observed(held, inner=map_.entry_shape), frozen=frozen)})
    return plan_of(wanted(map_), seen, Held({"outer": held}, frozen_ids)).maps["outer"]


def rows(change: MapChange) -> list[tuple[int, int]]:
    return list(zip(change.slots.action.tolist(), change.slots.reason.tolist(), strict=True))


def test_frozen_inner_maps_that_differ_are_replaced() -> None:
    change = look({1: {1: 2}, 2: {1: 2}, 3: {}}, {1: {1: 1}, 2: {1: 1}, 3: {}}, frozen_ids=(1001, 1003))
    assert rows(change) == [
        (Action.REPLACE, Reason.FROZEN),
        (Action.UPDATE, Reason.ENTRIES),
        (Action.UNCHANGED, Reason.NONE),
    ]


def test_frozen_outer_maps_are_recreated_only_where_slots_change() -> None:
    assert look({1: {}, 2: {}}, {1: {}}, frozen=True).action is Action.REPLACE
    assert look({1: {1: 1}}, {1: {}}, frozen=True).action is Action.UPDATE
    assert look({1: {1: 1}}, {1: {}}, frozen=True, frozen_ids=(1001,)).action is Action.REPLACE, "its slot would change"
    assert look({1: {}}, {1: {}}, frozen=True).action is Action.UNCHANGED


def test_a_part_of_a_frozen_map_is_not_recreated() -> None:
    state = wanted(desired({1: {}, 2: {}}))
    seen = live(meta=record(), maps={"outer": replace(observed({1: {}}), frozen=True)})
    chosen = targets.find(["outer[2]"], state)
    plan = compare(state, seen, Overrides.force(), Held({"outer": {1: {}}}), check_points=True, targets=chosen)
    assert plan.maps["outer"].action is Action.UPDATE
    assert ids(plan.blocked) == [("frozen", "outer")]
    assert "--target" in plan.blocked[0].remedy


def test_a_frozen_plain_map_is_recreated_where_it_differs() -> None:
    plain = replace(desired({0: {1: 2}}, shape=HASH), outer=None)
    seen = live(meta=record(), maps={"outer": replace(observed({0: {}}, shape=HASH), frozen=True)})
    assert plan_of(wanted(plain), seen, Held({"outer": {0: {1: 1}}})).maps["outer"].action is Action.REPLACE
    assert plan_of(wanted(plain), seen, Held({"outer": {0: {1: 2}}})).maps["outer"].action is Action.UNCHANGED


COPIED: dict[str, Any] = {"contents": Contents.IGNORE, "on_replace": OnReplace.COPY}
ARRAY = MapShape(MapType.ARRAY, 4, 8, 64, MapFlag.INNER_MAP)


@pytest.mark.parametrize(
    ("inner", "room", "others"),
    [(HASH, 32, 3), (HASH, 64, 0), (HASH, 128, 0), (ARRAY, 32, 8), (MapShape(MapType.QUEUE, 0, 8, 64), 32, 0)],
)
def test_ignored_contents_are_counted_where_the_new_map_is_smaller(inner: MapShape, room: int, others: int) -> None:
    how: dict[str, Any] = {
        "inner": inner,
        "capacity": {1: room},
        "contents": Contents.IGNORE,
        "on_replace": OnReplace.COPY,
    }
    change = look({1: {}, 2: {}}, {1: {1: 1, 2: 1, 7: 1}, 2: {5: 5}}, **how)
    assert change.slots.others.tolist() == [others, 0]


def test_an_empty_array_takes_no_room() -> None:
    how: dict[str, Any] = {
        "inner": ARRAY,
        "capacity": {1: 32},
        "contents": Contents.IGNORE,
        "on_replace": OnReplace.COPY,
    }
    assert look({1: {}}, {1: {}}, **how).slots.others.tolist() == [0]


def test_what_is_dropped_is_not_counted() -> None:
    how: dict[str, Any] = {"capacity": {1: 1}, "contents": Contents.IGNORE, "on_replace": OnReplace.DROP}
    assert look({1: {}}, {1: {1: 1, 2: 1}}, **how).slots.others.tolist() == [0]
