"""When files are read and the kernel is looked at, told as times: no clock, no files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from provisioner.document.inputs import Stamps
from provisioner.watch import machine
from provisioner.watch.machine import LONGEST_RETRY, FilesSeen, Pace, Pass, Verdict, Wait, WatchState

PACE = Pace(interval=60, jitter=0.1, poll=2, settle=1, retry=2)
OLD: Stamps = ((1, 1, 1, 1, 1),)
NEW: Stamps = ((1, 2, 1, 2, 2),)


def settled(now: float = 100) -> WatchState:
    """A project that was read and found converged at `now`."""
    state = machine.loaded(machine.begin(FilesSeen(OLD), now - 50), OLD, sound=True)
    return machine.after(state, PACE, Verdict.CONVERGED, now, 0.5)


def test_files_are_read_once_they_were_quiet_since_the_start() -> None:
    state = machine.begin(FilesSeen(OLD), 10)
    assert machine.decide(state, PACE, 10) == Wait(11)
    assert machine.decide(state, PACE, 11) == Pass(load=True)


def test_all_is_well_until_the_interval_has_passed() -> None:
    state = settled(100)
    assert machine.decide(state, PACE, 100) == Wait(102), "files are looked at meanwhile"
    assert machine.decide(state, PACE, 159) == Wait(160)
    assert machine.decide(state, PACE, 160) == Pass(load=False)


@pytest.mark.parametrize(("chance", "due"), [(0, 154), (0.5, 160), (1, 166)])
@pytest.mark.parametrize("verdict", [Verdict.CONVERGED, Verdict.APPLIED, Verdict.DRIFT, Verdict.REFUSED])
def test_the_interval_is_spread_by_chance(verdict: Verdict, chance: float, due: float) -> None:
    """A refusal is a state that is reported, no failure: trying more often would not change it."""
    state = machine.after(settled(), PACE, verdict, 100, chance)
    assert state.due == pytest.approx(due)
    assert state.failures == 0


def test_changed_files_are_read_when_they_are_quiet_and_not_before() -> None:
    state = machine.seen(settled(100), FilesSeen(NEW), 110)
    assert machine.decide(state, PACE, 110) == Wait(111)
    again: Stamps = ((1, 2, 1, 3, 3),)
    state = machine.seen(state, FilesSeen(again), 110.9)
    assert machine.decide(state, PACE, 111.5) == Wait(111.9), "they changed again"
    assert machine.decide(state, PACE, 111.9) == Pass(load=True)
    state = machine.loaded(state, again, sound=True)
    assert machine.decide(machine.after(state, PACE, Verdict.APPLIED, 112, 0.5), PACE, 112) == Wait(114)


def test_files_that_never_rest_are_read_after_a_bound() -> None:
    state = settled(100)
    for step in range(100):
        stamps: Stamps = ((1, 2, 1, step, step),)
        now = 110 + step * 0.5
        state = machine.seen(state, FilesSeen(stamps), now)
        if machine.decide(state, PACE, now) == Pass(load=True):
            break
    assert now == 110 + PACE.bound
    state = machine.after(state, PACE, Verdict.TORN, now, 0.5)
    assert machine.decide(state, PACE, now) != Pass(load=True), "not again and again"


def test_a_lock_is_stale_after_a_time_that_no_checkout_takes() -> None:
    state = machine.seen(settled(100), FilesSeen(OLD, "index.lock"), 110)
    assert not state.is_stale(PACE, 169)
    assert state.is_stale(PACE, 170)
    state = machine.seen(state, FilesSeen(NEW, "index.lock"), 165)
    assert state.is_stale(PACE, 170), "it is the same lock"
    assert not machine.seen(state, FilesSeen(NEW), 171).is_stale(PACE, 300)


def test_looking_again_at_the_same_files_does_not_start_the_quiet_again() -> None:
    state = machine.seen(settled(100), FilesSeen(NEW), 110)
    assert machine.seen(state, FilesSeen(NEW), 110.9).since == 110


def test_nothing_is_read_under_the_lock_of_a_checkout_but_drift_is_cared_for() -> None:
    state = machine.seen(settled(100), FilesSeen(NEW, "/x/.git/index.lock"), 110)
    assert machine.decide(state, PACE, 130) == Wait(132)
    assert machine.decide(state, PACE, 160) == Pass(load=False)
    state = machine.seen(state, FilesSeen(NEW), 130)
    assert machine.decide(state, PACE, 131) == Pass(load=True)


def test_without_a_project_a_lock_is_waited_for_without_a_busy_loop() -> None:
    state = machine.begin(FilesSeen(OLD, "/x/.git/index.lock"), 10)
    for now in (10, 11, 12, 1000):
        answer = machine.decide(state, PACE, now)
        assert isinstance(answer, Wait) and answer.until > now


def test_broken_files_are_read_again_later_and_later_and_at_once_when_they_change() -> None:
    state = machine.loaded(settled(100), NEW, sound=False)
    state = machine.after(state, PACE, Verdict.FAILED, 200, 1)
    assert (state.due, state.failures, state.sound) == (202, 1, True)
    assert machine.decide(state, PACE, 201) == Wait(202)
    assert machine.decide(state, PACE, 202) == Pass(load=True)
    state = machine.seen(state, FilesSeen(OLD), 201)
    assert machine.decide(state, PACE, 202) == Pass(load=True)


def waits(pace: Pace, count: int, chance: float) -> Sequence[float]:
    state, times = settled(0), []
    for _ in range(count):
        state = machine.after(state, pace, Verdict.FAILED, 0, chance)
        times.append(state.due)
    return times


def test_failures_back_off_to_a_limit_and_half_of_it_is_chance() -> None:
    assert waits(PACE, 9, 1) == [2, 4, 8, 16, 32, 64, 128, 256, LONGEST_RETRY]
    assert waits(PACE, 3, 0) == [1, 2, 4]
    assert waits(PACE, 2000, 1)[-1] == LONGEST_RETRY, "no overflow"
    assert waits(Pace(interval=900), 12, 1)[-1] == 900


def test_a_success_ends_the_back_off() -> None:
    failed = machine.after(settled(), PACE, Verdict.FAILED, 100, 1)
    assert machine.after(failed, PACE, Verdict.APPLIED, 110, 0.5).failures == 0


def test_another_apply_is_waited_for_and_is_no_failure() -> None:
    state = machine.after(settled(), PACE, Verdict.LOCKED, 100, 1)
    assert (state.due, state.failures) == (102, 0)


def test_what_was_read_in_the_middle_of_a_change_is_read_again() -> None:
    state = machine.loaded(settled(100), OLD, sound=False)
    state = machine.after(state, PACE, Verdict.TORN, 110, 0.5)
    assert machine.decide(state, PACE, 110) == Pass(load=False), "what was read before is kept to"
    state = machine.after(state, PACE, Verdict.CONVERGED, 110, 0.5)
    state = machine.seen(state, FilesSeen(NEW), 110.2)
    assert machine.decide(state, PACE, 111.2) == Pass(load=True)


def test_a_reload_reads_files_that_did_not_change_and_ends_the_back_off() -> None:
    state = machine.reload(machine.after(settled(), PACE, Verdict.FAILED, 100, 1), 101)
    assert machine.decide(state, PACE, 101) == Pass(load=True)
    assert state.failures == 0
    state = machine.after(machine.loaded(state, OLD, sound=True), PACE, Verdict.CONVERGED, 101, 0.5)
    assert isinstance(machine.decide(state, PACE, 102), Wait)


def test_an_interface_that_comes_wakes_it() -> None:
    assert machine.decide(machine.woken(settled(100), 110), PACE, 110) == Pass(load=False)
