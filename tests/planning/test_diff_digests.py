"""Slots of which the kernel compared the digest: how many entries they hold is all that is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from provisioner.model.observed import ObservedBlock
from provisioner.model.spec import Contents
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.diff import diff_map
from tests.planning.build import State, desired, observed, table

STATE: State = {1: {1: 1}, 2: {1: 1, 2: 2}, 3: {3: 3}}


def compared(others: tuple[int, ...] | None, room: int = 64) -> MapChange:
    """Slots 1 and 2 are as the spec has them; slot 3 was read, and differs. Slot 0 goes."""
    held = {0: {}, **STATE}
    none = table({0: {}, 1: {}})
    blocks = [
        ObservedBlock(0, 1, np.array([64], np.uint32), table({0: {9: 9}})),
        ObservedBlock(
            1,
            3,
            np.array([64, room], np.uint32),
            none,
            same=np.array([1, 2], np.int64),
            others=None if others is None else np.array(others, np.int64),
        ),
        ObservedBlock(3, 4, np.array([64], np.uint32), table({3: {3: 4}})),
    ]
    return diff_map(desired(STATE, contents=Contents.PRESENT), observed(held), blocks, None)


@pytest.mark.parametrize("others", [None, (0, 0), (5, 7)])
def test_what_is_the_same_is_counted_and_not_changed(others: tuple[int, ...] | None) -> None:
    slots = compared(others).slots
    assert slots.action.tolist() == [Action.DELETE, Action.UNCHANGED, Action.UNCHANGED, Action.UPDATE]
    assert slots.unchanged.tolist() == [0, 1, 2, 0]
    assert slots.updates.tolist() == [0, 0, 0, 1]
    assert slots.deletes.tolist() == [1, 0, 0, 0]
    assert slots.others.tolist() == [0, *(others or (0, 0)), 0]
    assert not slots.inserts.any()


def test_the_room_of_what_is_the_same_is_known() -> None:
    assert compared(None).slots.capacity_before.tolist() == [64] * 4
    slots = compared(None, room=32).slots
    assert slots.capacity_before.tolist() == [64, 64, 32, 64]
    assert slots.action.tolist() == [Action.DELETE, Action.UNCHANGED, Action.REPLACE, Action.UPDATE]


def test_only_rows_that_differ_are_kept() -> None:
    entries = compared((5, 7)).entries
    assert entries.slot.tolist() == [3]
    assert entries.before.view("<u8").ravel().tolist() == [4]
