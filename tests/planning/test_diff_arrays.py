"""Elements of arrays always exist: what is a difference of them, what stays, and the room that it takes."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.build import integer
from provisioner.codec.owned import owned
from provisioner.model.spec import Contents
from provisioner.model.types import ByteOrder
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.diff import diff_map
from tests.codec.support import built, struct
from tests.planning.build import ARRAY, HASH, State, blocks, desired, observed, table

PAIR = built(struct(ours="u32", theirs="u32"))
HALF = owned(PAIR, [("ours",)], np.zeros(8, np.uint8))
THEIRS = 1 << 32


def halves(state: State, held: State, *, is_array: bool = True, contents: Contents = Contents.EXACT) -> MapChange:
    """Of values of which the lower half is ours."""
    shape = ARRAY if is_array else HASH
    map_ = replace(desired(state, inner=shape, contents=contents), value=HALF)
    return diff_map(map_, observed(held, inner=shape), blocks(held, shape=shape), None)


def test_an_element_of_which_nothing_is_ours_does_not_go() -> None:
    """In no slot, whichever it is."""
    held = {slot: {1: THEIRS, 2: 7 + THEIRS, 3: 7} for slot in (1, 2)}
    change = halves({1: {}, 2: {}}, held)
    assert change.slots.deletes.tolist() == [2, 2]
    assert change.entries.keys[:, 0].tolist() == [2, 3, 2, 3]
    assert change.slots.action.tolist() == [Action.UPDATE] * 2
    same = halves({1: {}, 2: {}}, {1: {1: THEIRS}, 2: {}})
    assert (same.action, same.slots.deletes.tolist()) == (Action.UNCHANGED, [0, 0])


def test_an_entry_of_a_hash_goes_as_a_whole() -> None:
    change = halves({1: {}}, {1: {1: THEIRS, 2: 7}}, is_array=False)
    assert change.slots.deletes.tolist() == [2]
    assert halves({1: {}}, {1: {1: THEIRS}}, is_array=False, contents=Contents.PRESENT).action is Action.UNCHANGED


def test_a_slot_that_goes_goes_with_all_elements() -> None:
    change = halves({1: {}}, {1: {}, 2: {1: THEIRS, 2: 7}})
    assert change.slots.deletes.tolist() == [0, 2]
    assert len(change.entries.slot) == 0


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(("others", "room"), [((), 0), ((0,), 1), ((6,), 7), ((7,), 8), ((3, 258, 7), 259)])
def test_the_room_of_elements_that_stay(others: tuple[int, ...], room: int, order: ByteOrder) -> None:
    """The highest index and one, in the byte order of the host."""
    key = integer("u32", order)
    assert key is not None
    shape = ARRAY.with_capacity(1000)
    map_ = replace(desired({1: {}}, inner=shape, contents=Contents.PRESENT), key=key)
    held = {0: dict.fromkeys(others, 5)}
    (block,) = blocks(held, capacity=1000, shape=shape)
    live = table(held)
    block = replace(block, entries=replace(live, keys=live.keys if order == "little" else live.keys[:, ::-1]))
    assert diff_map(map_, observed({1: {}}, inner=shape), [block], None).slots.others.tolist() == [room]


def test_the_room_of_entries_that_stay_is_their_number() -> None:
    held = {1: {3: 1, 258: 1, 7: 1}}
    change = diff_map(desired({1: {7: 1}}, contents=Contents.PRESENT), observed(held), blocks(held), None)
    assert change.slots.others.tolist() == [2]


@pytest.mark.parametrize("held", [{}, {1: {1: 1}}])
def test_without_differences_all_columns_are_empty(held: State) -> None:
    for change in (
        diff_map(desired(held), observed(held), blocks(held), None),
        diff_map(desired({2: {1: 1}}), None, (), None),
    ):
        edits = change.entries
        assert {len(column) for column in (edits.slot, edits.action, edits.row, edits.keys, edits.before)} == {0}
        assert (edits.keys.shape[1], edits.before.shape[1]) == (4, 8)
