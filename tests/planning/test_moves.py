"""Names and slots that the spec moves: the steps, and what they are refused for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.codec.layouts import layout_of
from provisioner.codec.reshape_match import reshaping
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, Moves, PendingMove, PendingSlot, SlotMove
from provisioner.model.uapi import MapType
from provisioner.planning import moves
from provisioner.planning.changes import Migrated
from provisioner.planning.diff import diff_map
from provisioner.planning.hazards import Overrides
from provisioner.planning.steps import MovePins, MoveRoot, MoveSlots
from tests.planning.build import HERE, OUTER, U32, desired, observed
from tests.planning.states import ids, live, record, wanted

ARRAY = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 3)


def slot(old: int, new: int, *, map_: str = "outer", is_written: bool = False) -> PendingSlot:
    move = Move(f"{map_}[{old}]", f"{map_}[{new}]", HERE)
    keys = (key.to_bytes(4, "little") for key in (old, new))
    return PendingSlot(SlotMove(move, map_, *keys), 1000 + old, is_written)


def seen(*slots: PendingSlot, shape: MapShape = OUTER, held: int = 2, **fields: Any) -> Any:
    map_ = observed({key: {} for key in range(held)}, shape=shape)
    return live(meta=record(), maps={"outer": map_}, moves=Moves(slots=slots, **fields))


def refused(observed_state: Any, **allowed: bool) -> list[tuple[str, str]]:
    return ids(moves.refusals(observed_state, Overrides(**allowed)))


def test_nothing_moves_where_nothing_is_pending() -> None:
    assert (moves.root_steps(live()), moves.steps(live()), refused(live())) == ((), [], [])


def test_the_pin_root_is_moved_first() -> None:
    pending = PendingMove(Move("a", "b", HERE), (("a", "b"),))
    state = live(moves=Moves(pending=(pending,), root=Move("/old", "/new", HERE)))
    assert moves.root_steps(state) == (MoveRoot("/old", "/new"),)
    assert moves.steps(state) == [MovePins((pending,))]


def test_slots_move_map_by_map_and_those_that_are_written_first() -> None:
    """A slot that is in both places needs no more room, and makes some."""
    other = observed({1: {}})
    new, written, else_ = slot(1, 2), slot(3, 4, is_written=True), slot(1, 2, map_="a")
    state = replace(seen(new, written, else_), maps={"outer": observed({1: {}}), "a": other})
    assert moves.steps(state) == [MoveSlots("a", (else_,), 999), MoveSlots("outer", (written, new), 999)]


@pytest.mark.parametrize(
    ("shape", "held", "at_once", "refusals"),
    [
        (OUTER.with_capacity(4), 2, 2, []),
        (OUTER.with_capacity(3), 2, 1, []),
        (OUTER.with_capacity(2), 2, 1, [("no-room", "outer")]),
        (ARRAY, 2, 3, []),  # all of its slots exist
        (ARRAY, 3, 3, []),
    ],
)
def test_the_room_for_slots_that_are_in_two_places(
    shape: MapShape, held: int, at_once: int, refusals: list[tuple[str, str]]
) -> None:
    state = seen(slot(1, 9), shape=shape, held=held)
    (step,) = moves.steps(state)
    assert isinstance(step, MoveSlots)
    assert step.at_once == at_once
    assert refused(state) == refusals


def test_a_slot_that_is_written_already_needs_no_room() -> None:
    assert refused(seen(slot(0, 1, is_written=True), shape=OUTER.with_capacity(2))) == []


def test_slots_of_a_frozen_map_do_not_move() -> None:
    state = seen(slot(0, 9))
    frozen = replace(state, maps={"outer": replace(state.maps["outer"], frozen=True)})
    assert (refused(state), refused(frozen)) == ([], [("frozen", "outer")])


def test_two_live_names_are_refused() -> None:
    assert refused(seen(conflicts=(Move("a", "b", HERE), Move("c", "d", HERE)))) == [
        ("moved-both-live", "b"),
        ("moved-both-live", "d"),
    ]


@pytest.mark.parametrize(("is_ours", "take_over", "expected"), [(True, False, 0), (False, True, 0), (False, False, 1)])
def test_a_name_that_is_not_recorded_as_ours(is_ours: bool, take_over: bool, expected: int) -> None:
    state = seen(pending=(PendingMove(Move("a", "b", HERE), (), is_ours),))
    assert refused(state, take_over=take_over) == [("ownership", "b")][:expected]


@pytest.mark.parametrize("take_over", [False, True])
def test_a_pin_root_moves_with_nothing_of_others(take_over: bool) -> None:
    """Their pins would move too: no option allows it."""
    root = Move("/old", "/new", HERE)
    state = replace(live(moves=Moves(root=root), meta=record(pins=("mine",))), other_pins=("mine",))
    assert refused(state, take_over=take_over) == []
    foreign = replace(state, other_pins=("mine", "theirs"), directories=("sub",))
    assert refused(foreign, take_over=take_over) == [("foreign-pins", "/new"), ("foreign-directories", "/new")]
    messages = [refusal.message for refusal in moves.refusals(foreign, Overrides())]
    assert [message.rpartition(": ")[2] for message in messages] == ["theirs", "sub"]
    assert refused(replace(foreign, moves=Moves()), take_over=take_over) == []


@pytest.mark.parametrize(
    ("name", "old", "converts", "expected"),
    [
        ("outer", 1, True, [("moved-key-changes", "outer[9]")]),
        ("outer", 1, False, []),  # the keys stay as they are, though the map is recreated
        ("outer", 3, True, []),  # it is not live
        ("other", 1, True, []),
    ],
)
def test_slots_do_not_move_while_outer_keys_are_converted(name: str, old: int, converts: bool, expected: Any) -> None:
    assert U32 is not None
    map_ = desired({1: {}, 2: {}})
    change = diff_map(map_, observed({1: {}, 2: {}}), (), None)
    same, _ = reshaping(layout_of(U32), layout_of(U32))
    migrated = replace(change, migrated=Migrated(OUTER, None, same if converts else None))
    others = (slot(1, 9, map_="gone").move, slot(7, 8).move)  # of which nothing is said, before and after it
    state = wanted(map_, moved_slots=(others[0], slot(old, 9, map_=name).move, others[1]))
    assert ids(moves.converted(state, [migrated])) == expected
    assert (
        ids(moves.converted(state, [change])) == ids(moves.converted(state, [replace(migrated, observed=None)])) == []
    )
