"""What is said of members that other writers own, by how ours are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.owned import owned
from provisioner.model.desired import DesiredMap
from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Update
from provisioner.model.special_fields import SPIN_LOCK, Special
from provisioner.model.types import Type
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning.changes import MapChange
from provisioner.planning.diff import diff_map
from provisioner.planning.hazards import Severity
from provisioner.planning.members import hazards, written_in_place
from tests.codec.support import built, struct
from tests.planning.build import ARRAY, HASH, State, blocks, desired, observed

HALF = built(struct(ours="u32", theirs="u32"))


def ours(*names: str, whole: Type = HALF) -> Type:
    return owned(whole, [(name,) for name in names], np.zeros(whole.size, np.uint8))


def change(state: State, held: State, *, value: Type | None = None, shape: MapShape = HASH, **how: Any) -> MapChange:
    """Values of 8 bytes, of which the first four are `ours`."""
    map_: DesiredMap = replace(desired(state, inner=shape, **how), value=value or ours("ours"))
    return diff_map(map_, observed(held, inner=shape), blocks(held, shape=shape), None)


def said(*changes: MapChange) -> list[tuple[str, str]]:
    assert all(hazard.severity is Severity.NOTICE for hazard in hazards(changes))
    return [(hazard.id, hazard.address) for hazard in hazards(changes)]


THEIRS = 1 << 32
"""The other half of a value."""


@pytest.mark.parametrize(
    ("ours_now", "held", "rows"),
    [
        ({1: 1}, {1: 1}, []),
        ({1: 1}, {1: 1 + THEIRS}, []),
        ({1: 1}, {1: 2 + THEIRS}, [0]),
        ({1: 1, 2: 2}, {1: 1}, []),  # a new entry has no other writer yet
        ({}, {1: 1}, []),  # nor one that goes
    ],
)
def test_entries_that_are_updated_are_written_in_place(
    ours_now: dict[int, int], held: dict[int, int], rows: list[int]
) -> None:
    assert written_in_place(change({7: ours_now}, {7: held})) == rows


def test_only_slots_that_are_written_in_place_count() -> None:
    state, held = {1: {1: 1}, 2: {1: 1}, 3: {1: 1}}, {2: {1: 2}, 3: {1: 3}}
    assert written_in_place(change(state, held)) == [1, 2]
    assert written_in_place(change(state, held, update=Update.REPLACE)) == []


def test_each_element_of_an_array_exists_already() -> None:
    """So each change of an array is one in place: what the spec adds, and what it takes away."""
    assert written_in_place(change({7: {1: 1}}, {7: {}}, shape=ARRAY)) == [0]
    assert written_in_place(change({7: {}}, {7: {1: 1}}, shape=ARRAY)) == [0]
    assert written_in_place(change({7: {1: 1}}, {7: {1: 2}}, shape=ARRAY)) == [0]


def test_a_map_that_is_ours_as_a_whole_is_not_written_by_members() -> None:
    assert written_in_place(change({7: {1: 1}}, {7: {1: 2}}, value=HALF)) == []
    assert said(change({7: {1: 1}}, {7: {1: 2}}, value=HALF)) == []


DIFFERS: tuple[State, State] = ({7: {1: 1}}, {7: {1: 2}})
APART = built(struct(a="u16", theirs="u16", b="u16", other="u16"))


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (ours("ours"), HASH, []),  # one store
        (ours("a", "b", whole=APART), HASH, ["members-not-atomic"]),
        (ours("a", "b", whole=APART), replace(HASH, specials=(Special(4, SPIN_LOCK),)), []),
        (ours("ours"), replace(HASH, map_type=MapType.LRU_HASH), []),
        (ours("ours"), replace(HASH, map_type=MapType.PERCPU_HASH), ["members-not-atomic"]),  # CPU by CPU
        (ours("ours"), replace(HASH, map_type=MapType.LPM_TRIE), ["members-by-calls"]),
        (ours("ours"), replace(HASH, map_flags=MapFlag.RDONLY_PROG), ["members-by-calls"]),
        (ours("a", "b", whole=APART), replace(HASH, map_flags=MapFlag.RDONLY_PROG), ["members-by-calls"]),
    ],
)
def test_what_is_said_of_how_they_are_written(value: Type, shape: MapShape, expected: list[str]) -> None:
    assert said(change(*DIFFERS, value=value, shape=shape)) == [(id_, "outer[7]") for id_ in expected]


def test_the_first_slot_that_is_written_is_named() -> None:
    part = ours("a", "b", whole=APART)
    first = change({1: {1: 1}, 2: {1: 1}}, {1: {1: 1}, 2: {1: 2}}, value=part)
    by_calls = replace(HASH, map_flags=MapFlag.RDONLY_PROG)
    two = change({1: {1: 1}, 2: {1: 1}}, {1: {1: 2}, 2: {1: 2}}, value=part, shape=by_calls)
    assert said(two) == [("members-by-calls", "outer[1]")]
    assert said(first, change({1: {}}, {1: {}}, value=part), change(*DIFFERS, value=part)) == [
        ("members-not-atomic", "outer[2]"),
        ("members-not-atomic", "outer[7]"),
    ]
