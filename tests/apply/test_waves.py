"""How slots are divided into waves, what is copied for them, and what they held when they were planned: no kernel."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.apply import waves
from provisioner.apply.as_planned import planned_ids
from provisioner.apply.progress import Progress, count_staged
from provisioner.apply.waves import MAX_WAVE, copied_maps, wave_size
from provisioner.model.spec import Contents, OnReplace
from provisioner.planning.changes import MapChange, Migrated
from provisioner.planning.diff import diff_map
from tests.planning.build import State, blocks, desired, observed


@pytest.mark.parametrize(
    ("nofile", "size"),
    [(0, 1), (64, 1), (66, 1), (67, 1), (70, 2), (1024, 320), (64 + 3 * MAX_WAVE, MAX_WAVE), (1 << 20, MAX_WAVE)],
)
def test_three_waves_fit_into_the_open_files(nofile: int, size: int) -> None:
    assert wave_size(nofile) == size


# --- slots in waves ----------------------------------------------------------------------------------------------

shares = st.lists(st.integers(-1, 2), min_size=0, max_size=12)


def created(share: list[int]) -> MapChange:
    """Slots 0, 1, ... of a new map, each with one entry more than the one before it, and with a shared map or none."""
    entries = [number if each < 0 else 20 + each for number, each in enumerate(share)]
    state: State = {slot: dict.fromkeys(range(count), 1) for slot, count in enumerate(entries)}
    return diff_map(desired(state, shared={at: each for at, each in enumerate(share) if each >= 0}), None, (), None)


@settings(max_examples=60)
@given(shares, st.integers(1, 5), st.data())
def test_each_slot_is_in_one_wave_with_its_map(share: list[int], size: int, data: st.DataObject) -> None:
    change = created(share)
    rows = np.array(data.draw(st.permutations(range(len(share)))) if share else [], np.int64)
    parts = list(waves.waves(change, rows, size))
    assert [len(part.maps) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert all(0 < len(part.maps) <= size for part in parts)
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(len(share)))
    first: dict[object, int] = {}
    for row in rows.tolist():
        first.setdefault(("shared", share[row]) if share[row] >= 0 else row, row)
    assert [slot for part in parts for slot in part.maps.tolist()] == list(first.values())
    for part in parts:
        for row, number in zip(part.rows.tolist(), part.number.tolist(), strict=True):
            assert part.maps[number] == first[("shared", share[row]) if share[row] >= 0 else row]


def test_a_slot_of_its_own_and_a_shared_map_are_two_maps_whatever_their_numbers() -> None:
    """The spec has more shared inner maps than the outer map has slots."""
    for share in range(4):
        (part,) = waves.waves(created([-1, share]), np.arange(2, dtype=np.int64), 5)
        assert (part.maps.tolist(), part.number.tolist()) == ([0, 1], [0, 1])


def test_many_slots_keep_their_order() -> None:
    rows = np.arange(100, dtype=np.int64)
    parts = list(waves.waves(diff_map(desired({slot: {} for slot in range(100)}), None, (), None), rows, 30))
    assert [part.maps.tolist() for part in parts] == [
        list(range(first, min(first + 30, 100))) for first in range(0, 100, 30)
    ]


@pytest.mark.parametrize(
    ("share", "entries"),
    [
        ([], 0),
        ([-1, -1, -1], 0 + 1 + 2),
        ([0, 0, 0], 20),  # one inner map for all of them
        ([0, -1, 1, 0, 1, -1], 20 + 1 + 21 + 5),
    ],
)
def test_entries_of_a_shared_map_are_staged_once(share: list[int], entries: int) -> None:
    progress = Progress(to_publish=2, to_stage=1)
    count_staged(progress, created(share), np.arange(len(share), dtype=np.int64))
    assert (progress.to_publish, progress.to_stage) == (2 + len(share), 1 + entries)


# --- copies ------------------------------------------------------------------------------------------------------


def replaced(share: dict[int, int] | None = None, contents: Contents = Contents.PRESENT) -> MapChange:
    """Slots 1, 2 and 3 are live with the maps 1001, ..., and 4 is new."""
    held: State = {slot: {1: 1} for slot in (1, 2, 3)}
    state: State = {slot: {1: 2} for slot in (1, 2, 3, 4)}
    map_ = desired(state, contents=contents, on_replace=OnReplace.COPY, shared=share)
    return diff_map(map_, observed(held), blocks(held), None)


ALL = np.arange(4, dtype=np.int64)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (None, {0: (1001,), 1: (1002,), 2: (1003,)}),
        ({1: 0, 3: 0}, {0: (1001, 1003), 1: (1002,)}),  # staged once, with what all of its slots held
        ({3: 0, 4: 0}, {0: (1001,), 1: (1002,), 2: (1003,)}),
    ],
)
def test_a_new_map_takes_over_what_its_slots_held(share: dict[int, int] | None, expected: object) -> None:
    assert copied_maps(replaced(share), ALL) == expected
    assert copied_maps(replaced(share), ALL[3:]) == {}


def test_a_shared_map_is_staged_for_the_first_of_its_slots_that_is_written() -> None:
    assert copied_maps(replaced({1: 0, 3: 0}), ALL[1:]) == {1: (1002,), 2: (1003,)}


def test_what_is_not_copied() -> None:
    change = replaced()
    assert copied_maps(replaced(contents=Contents.EXACT), ALL) == {}
    assert copied_maps(replace(change, observed=None), ALL) == {}
    assert copied_maps(replace(change, desired=replace(change.desired, on_replace=OnReplace.DROP)), ALL) == {}
    assert copied_maps(replace(change, migrated=Migrated(None)), ALL) == {}
    assert change.desired.outer is not None
    slots = replace(change.desired.slots, members=np.array([0, -1, -1, -1], np.int32))
    outer = replace(change.desired.outer, members=("of_object",))
    of_object = replace(change, desired=replace(change.desired, slots=slots, outer=outer))
    assert copied_maps(of_object, ALL) == {1: (1002,), 2: (1003,)}


def test_the_maps_that_slots_held() -> None:
    change = replaced()
    assert planned_ids(change, ALL).tolist() == [1001, 1002, 1003, 0]
    assert planned_ids(change, ALL[[3, 1]]).tolist() == [0, 1002]
    assert planned_ids(replace(change, observed=None), ALL[:2]).tolist() == [0, 0]


# --- progress ----------------------------------------------------------------------------------------------------


def test_the_window_is_from_the_first_write_to_the_last() -> None:
    progress = Progress()
    progress.visible_since(5.0)
    assert progress.window is not None
    assert progress.window[0] == 5.0
    progress.visible_since(7.0)
    assert progress.window[0] == 5.0
    assert progress.window[1] > 5.0


def test_what_is_staged_is_reported_now_and_then() -> None:
    said: list[tuple[str, int, int]] = []
    progress = Progress(to_stage=10, report=lambda what, now: said.append((what, now.done, now.total)))
    progress.stage(4)
    progress.stage(5)  # too early after the one before it
    assert progress.staged == 9
    assert said == [("entries written: 4", 4, 10)]
    progress.update("done")
    assert said[1:] == [("done", 0, 0)]
    quiet = Progress()
    quiet.update("nobody listens", 1, 2)
    assert (quiet.done, quiet.total) == (0, 0)


# --- what was staged ---------------------------------------------------------------------------------------------


class Part:
    """A part of a wave whose task ended, or failed; `done` has what became of it."""

    def __init__(self, name: str, done: list[str], failure: BaseException | None = None, is_bad: bool = False) -> None:
        self._name, self._done, self._failure, self._is_bad = name, done, failure, is_bad
        self.task = self.fds = self

    def result(self) -> None:
        self._done.append(f"{self._name} ended")
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        self._done.append(f"{self._name} cancelled")

    def close(self) -> None:
        self._done.append(f"{self._name} closed")
        if self._is_bad:
            raise OSError(errno.EBADF, "closed twice")


class Staged:
    def __init__(self, done: list[str]) -> None:
        self._done = done

    def take(self, part: Any) -> None:
        self._done.append(f"{part._name} taken")


def test_each_part_is_closed_whatever_becomes_of_the_others() -> None:
    done: list[str] = []
    parts: Any = [Part("a", done, is_bad=True), Part("b", done)]
    waves._discard(parts)
    assert done == ["a cancelled", "a closed", "b cancelled", "b closed"]


def test_all_parts_have_an_owner_before_the_first_failure_is_raised() -> None:
    done: list[str] = []
    first, second = RuntimeError("first"), RuntimeError("second")
    parts: Any = [Part("a", done), Part("b", done, first), Part("c", done, second)]
    staged: Any = Staged(done)
    with pytest.raises(RuntimeError) as failed:
        waves._collect(parts, staged)
    assert failed.value is first
    assert done == [f"{name} {what}" for name in "abc" for what in ("ended", "taken")]
    assert parts == []
    waves._collect(parts, staged)
