"""When to read files, when to compare with the kernel, and how long to wait. Pure.

Times are seconds of a monotonic clock. Randomness is an argument too, as a number from 0 to 1.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from provisioner.document.inputs import Stamps


class Verdict(Enum):
    """The result of a pass. DRIFT: there are differences, and they are only reported."""

    CONVERGED = "converged"
    APPLIED = "applied"
    DRIFT = "drift"
    REFUSED = "refused"
    LOCKED = "locked"
    FAILED = "failed"
    TORN = "torn"
    INTERRUPTED = "interrupted"


class Pace(msgspec.Struct, frozen=True):
    """`interval` between passes without failures, +/- `jitter` of it; `poll` between checks of the files.

    Files must be unchanged for `settle` before they are read, but files that never rest are read after `bound`. A lock
    of Git that is older than `lock_patience` is reported. A failed pass is repeated after `retry`, then after
    twice the time each, up to `interval` or five minutes, whichever is longer.
    """

    interval: float = 60.0
    jitter: float = 0.1
    poll: float = 2.0
    settle: float = 1.0
    retry: float = 2.0

    @property
    def bound(self) -> float:
        """The longest time that changed files are not read because they change again."""
        return max(10 * self.settle, LEAST_BOUND)

    @property
    def lock_patience(self) -> float:
        """A checkout holds its lock for a shorter time, unless it was killed."""
        return 30 * self.poll

    @property
    def most(self) -> float:
        """The longest wait after failures."""
        return max(self.interval, LONGEST_RETRY)


LONGEST_RETRY: Final = 300.0
LEAST_BOUND: Final = 10.0


class FilesSeen(msgspec.Struct, frozen=True):
    """The files at one moment: their stamps, and the lock of a Git checkout, if one is held."""

    stamps: Stamps
    held_by: str = ""


class WatchState(msgspec.Struct, frozen=True):
    """The state between decisions.

    `look` is the last state of the files, unchanged since `since`. The next pass starts at `due`; `failures` counts
    failed passes in a row. `read` are the stamps of the files at the last read, None before it; `broken` says that this
    read gave no project, `sound` that there is a project, maybe an older one. `asked` says that a reload was requested.
    `unread` is the time of the first change since the last read, None without one; `held` that of the lock in `look`.
    """

    look: FilesSeen
    since: float
    due: float
    read: Stamps | None = None
    broken: bool = False
    sound: bool = False
    failures: int = 0
    asked: bool = False
    unread: float | None = None
    held: float | None = None

    def is_stale(self, pace: Pace, now: float) -> bool:
        """Whether a lock of Git is so old that its checkout was probably killed."""
        return self.held is not None and now - self.held >= pace.lock_patience


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before `until`."""

    until: float


class Pass(msgspec.Struct, frozen=True):
    """Compare with the kernel, and apply; `load` says to read the files first."""

    load: bool


def begin(look: FilesSeen, now: float) -> WatchState:
    """The first state. New files must settle, as changed ones do."""
    return WatchState(look, now, now, held=now if look.held_by else None)


def seen(state: WatchState, look: FilesSeen, now: float) -> WatchState:
    """The state after the files were checked again."""
    if look == state.look:
        return state
    held = None if not look.held_by else state.held if look.held_by == state.look.held_by else now
    unread = now if state.unread is None and look.stamps != state.look.stamps else state.unread
    return replace(state, look=look, since=now, held=held, unread=unread)


def reload(state: WatchState, now: float) -> WatchState:
    """The state after a request to read the files again, changed or not, and without a wait for a retry."""
    return replace(state, asked=True, failures=0, due=now)


def woken(state: WatchState, now: float) -> WatchState:
    """The state after an event outside the files, such as a new interface: a pass is due."""
    return replace(state, due=now)


def decide(state: WatchState, pace: Pace, now: float) -> Wait | Pass:
    """The next action. Files are not read while they change, or while a Git checkout holds its lock."""
    changed = state.asked or state.read != state.look.stamps
    quiet = state.since + pace.settle
    is_late = state.unread is not None and now >= state.unread + pace.bound
    may_load = (now >= quiet or is_late) and not state.look.held_by
    is_due = now >= state.due
    if may_load and (changed or (is_due and (state.broken or not state.sound))):
        return Pass(load=True)
    if state.sound and is_due:
        # The last valid spec stays in force while files change or are invalid.
        return Pass(load=False)
    later = [now + pace.poll, *(moment for moment in (quiet, state.due) if moment > now)]
    return Wait(min(later))


def after(state: WatchState, pace: Pace, verdict: Verdict, now: float, chance: float) -> WatchState:
    """The state after a pass."""
    match verdict:
        case Verdict.CONVERGED | Verdict.APPLIED | Verdict.DRIFT | Verdict.REFUSED:
            spread = 1 + pace.jitter * (2 * chance - 1)
            return replace(state, failures=0, due=now + pace.interval * spread)
        case Verdict.FAILED:
            wait = min(pace.retry * 2.0 ** min(state.failures, 32), pace.most)
            # Many hosts that fail together must not retry together: half of the wait is random.
            return replace(state, failures=state.failures + 1, due=now + wait * (1 + chance) / 2)
        case Verdict.LOCKED:
            return replace(state, due=now + pace.retry * (1 + chance) / 2)
        case Verdict.TORN:
            # Read again when the files are unchanged for `settle`, or after `bound`.
            return replace(state, since=now, due=now, unread=now)
        case Verdict.INTERRUPTED:
            return state
        case _:
            assert_never(verdict)


def loaded(state: WatchState, stamps: Stamps, *, sound: bool) -> WatchState:
    """The state after the files were read; `stamps` are from before the read, `sound` says that it gave a project."""
    look = replace(state.look, stamps=stamps)
    return replace(
        state, read=stamps, look=look, broken=not sound, sound=sound or state.sound, asked=False, unread=None
    )
