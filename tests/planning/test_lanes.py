"""Which steps are done side by side, and how long a plan waits for the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.model.desired import DesiredMap
from provisioner.model.grace_periods import Batches
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, Moves, PendingSlot, SlotMove
from provisioner.model.observed import ObservedMap
from provisioner.model.uapi import MapType
from provisioner.planning.grace_periods import grace_periods
from provisioner.planning.hazards import Overrides
from provisioner.planning.lanes import LANES, groups, lanes, slots_of
from provisioner.planning.plan import Plan
from provisioner.planning.steps import CarryChanges, CreateMap, DeleteSlots, PublishSlots
from tests.planning.build import HASH, HERE, OUTER, State, desired, observed
from tests.planning.migrations import Live, entries, le, wish
from tests.planning.migrations import plan_of as migrating
from tests.planning.states import Held, live, plan_of, record, wanted

ALL = Overrides(approve_deletes=True, allow_recreate=True)


def plan(
    maps: list[DesiredMap], held: dict[str, State], live_maps: Mapping[str, ObservedMap] | None = None, **fields: Any
) -> Plan:
    """What is live has the shape that the spec wants, unless it is in `live_maps`; no two maps have an inner one."""
    shapes = {map_.name: map_.shape for map_ in maps}
    seen = {
        name: replace(observed(state, shape=shapes[name], ids={key: 1000 * at + key for key in state}), id=at)
        for at, (name, state) in enumerate(held.items(), 1)
    }
    return plan_of(wanted(*maps), live(meta=record(), maps={**seen, **(live_maps or {})}, **fields), Held(held), ALL)


def grouped(plan: Plan) -> list[list[list[str]]]:
    return [[[step.describe() for step in unit] for unit in group] for group in groups(plan)]


def count(number: int, begin: int = 0) -> dict[int, dict[int, int]]:
    return {key: {} for key in range(begin, begin + number)}


def maps_of(plan: Plan) -> list[list[str]]:
    """The maps of the groups that publish or delete, each once."""
    slots = [[[step for step in unit if isinstance(step, PublishSlots | DeleteSlots | CreateMap)] for unit in group]
             for group in groups(plan)]  # fmt: skip
    return [names for group in slots if (names := [unit[0].map for unit in group if unit])]


# --- side by side ------------------------------------------------------------------------------------------------


def test_outer_maps_are_published_side_by_side_and_emptied_afterwards() -> None:
    maps = [desired({1: {}, 2: {7: 7}}, name=name) for name in "ab"]
    held: dict[str, State] = {name: {2: {}, 3: {}} for name in "ab"}
    publish = [[f"publish 1 inner map in {name}", f"write entries of {name} in place"] for name in "ab"]
    delete = [[f"delete 1 inner map from {name}"] for name in "ba"]
    assert [group for group in grouped(plan(maps, held)) if len(group) > 1] == [publish, delete]


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([desired(count(1), name="a"), desired(count(1), name="b"), desired(count(1), name="c")], [["a", "b", "c"]]),
        ([desired(count(1), name="a"), desired(count(1), name="b", after=("a",))], [["a"], ["b"]]),
        ([desired(count(1), name="a", after=("b",)), desired(count(1), name="b")], [["b"], ["a"]]),
        (
            [desired(count(1), name="a"), desired(count(1), name="b"), desired(count(1), name="c", after=("a",))],
            [["a", "b"], ["c"]],
        ),
    ],
)
@pytest.mark.parametrize("are_live", [True, False])
def test_a_map_waits_for_those_that_it_names(maps: list[DesiredMap], expected: list[list[str]], are_live: bool) -> None:
    assert maps_of(plan(maps, {map_.name: {} for map_ in maps} if are_live else {})) == expected


def test_maps_that_are_emptied_wait_in_the_other_order() -> None:
    maps = [desired({}, name="a"), desired({}, name="b", after=("a",))]
    assert maps_of(plan(maps, {"a": count(1), "b": count(1)})) == [["b"], ["a"]]


def test_a_full_map_is_emptied_first_and_then_filled_by_the_same_unit() -> None:
    small = OUTER.with_capacity(2)
    made = plan([desired(count(2, 2), shape=small)], {"outer": count(2)})
    unit = ["delete 2 inner maps from outer", "publish 2 inner maps in outer"]
    assert [group for group in grouped(made) if len(group[0]) > 1] == [[unit]]


@pytest.mark.parametrize(
    ("map_", "live_map"),
    [
        (replace(desired({0: {1: 1}}, shape=HASH), outer=None), None),  # a plain map waits for nothing
        (desired(count(1)), observed(count(1), shape=OUTER.with_capacity(7))),  # of another size
        (desired(count(1)), observed({}, shape=MapShape(MapType.HASH_OF_MAPS, 8, 4, 1000))),  # recreated
    ],
)
def test_what_is_not_published_slot_by_slot_is_done_alone(map_: DesiredMap, live_map: Any) -> None:
    others = [desired(count(1), name=name) for name in "ab"]
    made = plan([map_, *others], {}, {} if live_map is None else {"outer": live_map})
    assert [unit[0] for group in grouped(made) for unit in group if len(group) > 1] == [
        "create a and pin it",
        "create b and pin it",
    ]
    assert all(len(unit) == 1 for group in groups(made) for unit in group)


def test_a_plan_that_carries_changes_over_is_done_step_by_step() -> None:
    made = plan([desired(count(1), name=name) for name in "ab"], {})
    assert any(len(group) > 1 for group in groups(made))
    carries = replace(made, steps=(*made.steps, CarryChanges("a")))
    assert groups(carries) == [[(step,)] for step in carries.steps]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sets(st.integers(0, 6)), st.sets(st.integers(0, 6))), min_size=1, max_size=5), st.data())
def test_every_step_is_done_once_and_in_its_order_within_a_map(
    states: list[tuple[set[int], set[int]]], data: st.DataObject
) -> None:
    names = [f"m{number}" for number in range(len(states))]
    maps = []
    for number, (name, (keys, _)) in enumerate(zip(names, states, strict=True)):
        after = tuple(sorted(data.draw(st.sets(st.sampled_from(names[:number])) if number else st.just(set()))))
        maps.append(desired({key: {} for key in keys}, name=name, after=after))
    made = plan(maps, {name: {key: {} for key in held} for name, (_, held) in zip(names, states, strict=True)})
    done = [step for group in groups(made) for unit in group for step in unit]
    assert sorted(map(id, done)) == sorted(map(id, made.steps))
    for group in groups(made):
        own = [unit[0].map for unit in group if isinstance(unit[0], PublishSlots | DeleteSlots)]
        assert len(own) == len(set(own)) or len(group) == 1
        assert not any(set(made.maps[name].desired.after) & set(own) for name in own)
    for kind in (PublishSlots, DeleteSlots):
        order = [step.map for step in made.steps if isinstance(step, kind)]
        placed = [step.map for step in done if isinstance(step, kind)]
        assert placed == order


# --- how many of them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maps", "slots", "wave", "expected"),
    [
        (1, 5, 100, 1),
        (3, 5, 100, 3),
        (3, 50, 100, 2),
        (3, 34, 100, 2),
        (3, 33, 100, 3),
        (3, 200, 100, 1),  # more than a wave
        (3, 0, 100, 3),
        (LANES + 6, 1, 1000, LANES),
    ],
)
def test_inner_maps_that_are_open_at_once_limit_the_lanes(maps: int, slots: int, wave: int, expected: int) -> None:
    made = plan([desired(count(slots), name=f"m{number:02}") for number in range(maps)], {})
    (units,) = (group for group in groups(made) if isinstance(group[0][0], CreateMap))
    assert len(units) == maps
    assert lanes(made, units, wave) == expected


def test_the_slots_that_a_step_writes() -> None:
    made = plan([desired({1: {}, 2: {7: 7}}), desired(count(3), name="new")], {"outer": {2: {}, 3: {}, 4: {}}})
    assert {step.describe(): slots_of(made, step) for step in made.steps if slots_of(made, step)} == {
        "create new and pin it": 3,
        "publish 1 inner map in outer": 1,
        "delete 2 inner maps from outer": 2,
    }


# --- how long ----------------------------------------------------------------------------------------------------


def waits(maps: list[DesiredMap], held: dict[str, State], wave: int = 4, live_maps: Any = None, **fields: Any) -> int:
    return grace_periods(plan(maps, held, live_maps, **fields), wave)


@pytest.mark.parametrize(
    ("slots", "expected"),
    [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)],
)
def test_each_wave_waits_once(slots: int, expected: int) -> None:
    assert waits([desired(count(slots))], {}) == expected
    assert waits([desired(count(slots))], {"outer": {}}) == expected


def test_what_is_replaced_or_deleted_is_kept_first() -> None:
    """For a rollback: another wait per wave."""
    larger = desired(count(5), capacity=dict.fromkeys(range(5), 65))
    assert waits([larger], {"outer": count(5)}) == 2 + 2
    assert waits([desired({})], {"outer": count(5)}) == 1 + 2
    array = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 1000)
    assert waits([desired({}, shape=array)], {"outer": count(5)}) == 1 + 2
    assert waits([desired({}, shape=array)], {"outer": count(600)}, wave=1000) == 3 + 1  # no batch deletes


def test_plain_maps_and_entries_do_not_wait() -> None:
    assert waits([replace(desired({0: {1: 1}}, shape=HASH), outer=None)], {}) == 0
    assert waits([desired({1: {1: 1}})], {"outer": {1: {1: 2}}}) == 0


def test_a_map_of_another_size_takes_its_slots_over() -> None:
    smaller = {"outer": observed(count(5), shape=OUTER.with_capacity(7))}
    assert waits([desired(count(5))], {"outer": count(5)}, live_maps=smaller) == 2


def test_a_map_that_is_migrated_has_the_slots_that_stay() -> None:
    held = Live({le(slot): entries({1: 1}) for slot in range(1, 6)})
    made = migrating(wish({le(1): {}}, value="u64"), held)
    create, carry = CreateMap("outer", True), CarryChanges("outer")
    assert slots_of(made, create) == 1
    assert grace_periods(replace(made, steps=(create,)), 1) == 1
    assert grace_periods(replace(made, steps=(create, carry)), 1) == 2


def test_slots_that_move_are_written_and_emptied() -> None:
    move = SlotMove(Move("outer[9]", "outer[1]", HERE), "outer", b"\x09\0\0\0", b"\1\0\0\0")
    slots = tuple(PendingSlot(move, number) for number in range(5))
    assert waits([desired({})], {"outer": {}}, moves=Moves(slots=slots)) == 2 * 2


def test_changes_that_are_carried_over_wait_once() -> None:
    made = plan([desired(count(1))], {"outer": count(1)})
    assert grace_periods(replace(made, steps=(CarryChanges("outer"),)), 4) == 1


def test_maps_side_by_side_wait_together() -> None:
    """Not less than the one that waits longest, and not less than all of them by the number of lanes."""
    few = [desired(count(1), name=name) for name in "abc"]
    assert waits(few, {}, wave=4) == 1
    uneven = [desired(count(9), name="a"), desired(count(1), name="b")]
    assert waits(uneven, {}, wave=4) == 4  # one lane: 3 and 1
    assert waits(uneven, {}, wave=18) == 1
    chain = [desired(count(1), name="a"), desired(count(1), name="b", after=("a",))]
    assert waits(chain, {}, wave=4) == 2


def test_dear_batches_wait_for_each_slot() -> None:
    made = plan([desired(count(9))], {"outer": {}})
    assert grace_periods(made, 100, Batches.DEAR) == 9
    assert grace_periods(made, 4, Batches.DEAR) == 9
