"""The difference of two states against the same thing done with dictionaries; and what each policy makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.model.map_shape import MapShape, shape_differences
from provisioner.model.record import Meta
from provisioner.model.spec import Contents, ExtraInnerMaps, Update
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning.changes import Action, EntryAction, MapChange, Reason
from provisioner.planning.diff import diff_map
from provisioner.planning.diff_slots import effective_update
from provisioner.planning.resize import carried
from tests.planning.build import ARRAY, HASH, OUTER, State, blocks, desired, observed

states = st.dictionaries(
    st.integers(0, 400), st.dictionaries(st.integers(0, 9), st.integers(0, 3), max_size=6), max_size=8
)


def diff(wanted: State, live: State, **how: object) -> MapChange:
    inner = how.get("inner", HASH)
    assert isinstance(inner, MapShape)
    return diff_map(
        desired(wanted, **how),  # type: ignore[arg-type]
        observed(live, inner=inner if live else None),
        blocks(live, shape=inner),
        None,
    )


def actions(change: MapChange) -> dict[int, str]:
    keys = change.slots.keys.copy().view("<u4").ravel().tolist()
    return {key: Action(action).name for key, action in zip(keys, change.slots.action.tolist(), strict=True)}


def edits(change: MapChange) -> dict[int, set[tuple[str, int, int | None, int]]]:
    """Slot -> (action, key, desired value or None, value before)."""
    assert change.desired is not None
    by_slot: dict[int, set[tuple[str, int, int | None, int]]] = {}
    wanted = change.desired.entries.values.copy().view("<u8").ravel()
    for at in range(len(change.entries.slot)):
        slot = int(change.slots.keys[change.entries.slot[at]].copy().view("<u4")[0])
        row = int(change.entries.row[at])
        by_slot.setdefault(slot, set()).add(
            (
                EntryAction(change.entries.action[at]).name,
                int(change.entries.keys[at].copy().view("<u4")[0]),
                int(wanted[row]) if row >= 0 else None,
                int(change.entries.before[at].copy().view("<u8")[0]),
            )
        )
    return by_slot


@given(states, states)
def test_a_hash_differs_as_dictionaries_do(wanted: State, live: State) -> None:
    change = diff(wanted, live)
    expected = dict.fromkeys(wanted.keys() - live.keys(), "CREATE")
    expected |= dict.fromkeys(live.keys() - wanted.keys(), "DELETE")
    expected |= {key: "UNCHANGED" if wanted[key] == live[key] else "UPDATE" for key in wanted.keys() & live.keys()}
    assert actions(change) == expected
    assert list(actions(change)) == sorted(expected), "slots are in the order that people read numbers"
    assert edits(change) == {
        key: {
            *(("INSERT", k, v, 0) for k, v in wanted[key].items() if k not in live[key]),
            *(("UPDATE", k, v, live[key][k]) for k, v in wanted[key].items() if live[key].get(k, v) != v),
            *(("DELETE", k, None, v) for k, v in live[key].items() if k not in wanted[key]),
        }
        for key in wanted.keys() & live.keys()
        if wanted[key] != live[key]
    }
    assert (change.action is Action.UNCHANGED) == (wanted == live)


@given(states, states)
def test_counts_are_net_differences(wanted: State, live: State) -> None:
    slots = diff(wanted, live).slots
    keys = slots.keys.copy().view("<u4").ravel().tolist()
    for row, key in enumerate(keys):
        mine, theirs = wanted.get(key, {}), live.get(key, {})
        assert slots.inserts[row] == len(mine.keys() - theirs.keys())
        assert slots.deletes[row] == len(theirs.keys() - mine.keys())
        assert slots.updates[row] == sum(mine[k] != theirs[k] for k in mine.keys() & theirs.keys())
        assert slots.unchanged[row] == sum(mine[k] == theirs[k] for k in mine.keys() & theirs.keys())


@given(states, states)
def test_in_an_array_zero_is_the_same_as_nothing(wanted: State, live: State) -> None:
    change = diff(wanted, live, inner=ARRAY)

    def held(entries: dict[int, int]) -> dict[int, int]:
        return {key: value for key, value in entries.items() if value}

    both = wanted.keys() & live.keys()
    differing = {key for key in both if held(dict(wanted[key])) != held(dict(live[key]))}
    assert {key for key in both if actions(change)[key] == "UPDATE"} == differing


def test_an_array_entry_from_something_to_zero_is_a_delete() -> None:
    slots = diff({1: {}}, {1: {0: 5, 1: 6}}, inner=ARRAY).slots
    assert slots.deletes.tolist() == [2]


def test_present_leaves_what_it_does_not_list() -> None:
    change = diff({1: {1: 1, 2: 2}}, {1: {2: 9, 3: 3}}, contents=Contents.PRESENT)
    assert edits(change) == {1: {("INSERT", 1, 1, 0), ("UPDATE", 2, 2, 9)}}


def test_present_can_ask_for_zero_in_an_array() -> None:
    change = diff({1: {1: 0, 2: 0}}, {1: {2: 9}}, contents=Contents.PRESENT, inner=ARRAY)
    assert edits(change) == {1: {("UPDATE", 2, 0, 9)}}


@pytest.mark.parametrize(("extra", "action"), [(ExtraInnerMaps.KEEP, "KEEP"), (ExtraInnerMaps.FAIL, "KEEP")])
def test_extra_inner_maps_are_left_where_policy_says_so(extra: ExtraInnerMaps, action: str) -> None:
    change = diff({1: {}}, {1: {}, 2: {1: 1}}, extra=extra)
    assert actions(change) == {1: "UNCHANGED", 2: action}
    assert change.action is Action.UNCHANGED


def test_another_capacity_replaces_the_inner_map() -> None:
    change = diff({1: {1: 1}}, {1: {1: 1}}, capacity={1: 128})
    assert actions(change) == {1: "REPLACE"}
    assert change.slots.reason.tolist() == [Reason.CAPACITY]
    assert change.slots.capacity_before.tolist() == [64]


def test_the_long_values_of_an_array_are_replaced_and_not_written_under_a_reader() -> None:
    for size, expected in ((1, Update.IN_PLACE), (8, Update.IN_PLACE), (6, Update.REPLACE), (16, Update.REPLACE)):
        assert effective_update(Update.AUTO, MapShape(MapType.ARRAY, 4, size, 64)) is expected
    assert effective_update(Update.AUTO, MapShape(MapType.HASH, 4, 16, 64)) is Update.IN_PLACE
    assert effective_update(Update.REPLACE, HASH) is Update.REPLACE


def test_an_inner_map_in_two_slots_that_nobody_declared_shared_is_replaced_in_both() -> None:
    live = {1: {1: 1}, 2: {1: 1}, 3: {1: 1}}
    change = diff_map(desired(live), observed(live, ids={1: 50, 2: 50}), blocks(live), None)
    assert actions(change) == {1: "REPLACE", 2: "REPLACE", 3: "UNCHANGED"}
    assert change.slots.reason.tolist()[:2] == [Reason.UNDECLARED_SHARE] * 2


def test_a_declared_share_is_one_map_in_all_its_slots() -> None:
    state = {1: {1: 1}, 2: {1: 1}}
    alike = diff_map(desired(state, shared={1: 0, 2: 0}), observed(state, ids={1: 50, 2: 50}), blocks(state), None)
    assert actions(alike) == {1: "UNCHANGED", 2: "UNCHANGED"}
    apart = diff_map(desired(state, shared={1: 0, 2: 0}), observed(state), blocks(state), None)
    assert actions(apart) == {1: "REPLACE", 2: "REPLACE"}
    grown = diff_map(desired(state, shared={1: 0, 2: 0}), observed({1: {1: 1}}), blocks({1: {1: 1}}), None)
    assert actions(grown) == {1: "REPLACE", 2: "CREATE"}


def test_another_outer_shape_recreates_the_map() -> None:
    wanted = {1: {1: 1}}
    live = observed(wanted, shape=MapShape(MapType.HASH_OF_MAPS, 8, 4, 1000))
    change = diff_map(desired(wanted), live, blocks(wanted), None)
    assert (change.action, change.resized) == (Action.REPLACE, False)
    assert change.reason == "key_size 8 -> 4"
    assert actions(change) == {1: "CREATE"}


def test_another_size_of_an_outer_map_carries_its_inner_maps_over() -> None:
    wanted = {1: {1: 1}, 2: {2: 2}}
    live = observed({1: {1: 1}, 3: {}}, shape=MapShape(MapType.HASH_OF_MAPS, 4, 4, 9))
    change = diff_map(desired(wanted), live, blocks({1: {1: 1}, 3: {}}), None)
    assert (change.action, change.resized, change.reason) == (Action.REPLACE, True, "max_entries 9 -> 1000")
    assert actions(change) == {1: "UNCHANGED", 2: "CREATE", 3: "DELETE"}
    assert carried(change).tolist() == [0], "a slot that is deleted stays behind"


def test_the_template_of_an_empty_outer_map_is_known_from_the_record() -> None:
    live = observed({}, inner=None)
    meta = Meta("edge", {}, {"outer": MapShape(MapType.HASH, 4, 4, 64)}, {}, {})
    assert diff_map(desired({}), live, (), meta).reason == "inner maps: value_size 8 in the template, 4 live"
    assert diff_map(desired({}), live, (), None).action is Action.UNCHANGED


def test_shapes_differ_in_words() -> None:
    shape = MapShape(MapType.LPM_TRIE, 8, 1, 10, MapFlag.NO_PREALLOC)
    assert shape_differences(shape, shape) == ""
    assert shape_differences(shape, OUTER) == (
        "type hash_of_maps -> lpm_trie, key_size 4 -> 8, value_size 4 -> 1, "
        "max_entries 1000 -> 10, map_flags 0x0 -> 0x1 (no_prealloc)"
    )


def test_what_is_kept_of_a_large_comparison_are_the_rows_that_differ() -> None:
    live = {key: dict.fromkeys(range(50), 1) for key in range(200)}
    wanted = {key: dict(entries) for key, entries in live.items()}
    wanted[150] = {**wanted[150], 7: 2}
    change = diff_map(desired(wanted), observed(live), blocks(live, size=64), None)
    assert len(change.entries.keys) == 1
    assert change.entries.before.view("<u8").ravel().tolist() == [1]
    assert np.flatnonzero(change.slots.action).tolist() == [150]


def test_owned_ranges_of_slots_are_exact_inside_and_blind_outside() -> None:
    live = {10: {1: 1}, 11: {1: 1}, 50: {1: 1}}
    change = diff({10: {1: 1}}, live, owned_slots=((10, 19),))
    assert actions(change) == {10: "UNCHANGED", 11: "DELETE", 50: "KEEP"}


def test_owned_ranges_of_entries_are_exact_inside_and_blind_outside() -> None:
    change = diff({1: {3: 1}}, {1: {3: 1, 4: 4, 9: 9}}, owned=((0, 5),))
    assert edits(change) == {1: {("DELETE", 4, None, 4)}}
