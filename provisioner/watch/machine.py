"""When to read files, when to compare with the kernel, and how long to wait: pure, over time and looks as values.

Times are seconds of a clock that never goes back. What is random is given too, as a number from 0 to 1.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from provisioner.document.inputs import Stamps


class Verdict(Enum):
    """How a pass ended. DRIFT: there are differences, and they are only reported."""

    CONVERGED = "converged"
    APPLIED = "applied"
    DRIFT = "drift"
    REFUSED = "refused"
    LOCKED = "locked"
    FAILED = "failed"
    TORN = "torn"
    INTERRUPTED = "interrupted"


class Pace(msgspec.Struct, frozen=True):
    """`interval` between passes when all is well, give or take `jitter` of it; `poll` between looks at the files.

    Files must be quiet for `settle` before they are read. A pass that fails is tried again after `retry`, then after
    twice as long each time, up to `interval` or five minutes, whichever is longer.
    """

    interval: float = 60.0
    jitter: float = 0.1
    poll: float = 2.0
    settle: float = 1.0
    retry: float = 2.0

    @property
    def most(self) -> float:
        """The longest wait after failures."""
        return max(self.interval, LONGEST_RETRY)


LONGEST_RETRY: Final = 300.0


class Look(msgspec.Struct, frozen=True):
    """The files at one moment: their stamps, and the lock under which somebody is changing them, if any."""

    stamps: Stamps
    held_by: str = ""


class State(msgspec.Struct, frozen=True):
    """What is remembered from one decision to the next.

    `look` is the last one, first seen so at `since`. At `due` the next pass begins, whatever the files do; `failures`
    counts those in a row. `read` are the stamps of the files as they were read last, None before; `broken` says that no
    project came of it, `sound` that there is one to keep, if an older one. `asked` is a reload that somebody asked for.
    """

    look: Look
    since: float
    due: float
    read: Stamps | None = None
    broken: bool = False
    sound: bool = False
    failures: int = 0
    asked: bool = False


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before `until`."""

    until: float


class Pass(msgspec.Struct, frozen=True):
    """Compare with the kernel, and apply; `load` says to read the files first."""

    load: bool


def begin(look: Look, now: float) -> State:
    """Files that are seen for the first time must settle like changed ones."""
    return State(look, now, now)


def seen(state: State, look: Look, now: float) -> State:
    """The state after another look at the files."""
    return state if look == state.look else replace(state, look=look, since=now)


def reload(state: State, now: float) -> State:
    """Somebody asked for the files to be read again, changed or not, and without waiting for a retry."""
    return replace(state, asked=True, failures=0, due=now)


def woken(state: State, now: float) -> State:
    """Something outside changed that a pass may answer to: an interface came."""
    return replace(state, due=now)


def decide(state: State, pace: Pace, now: float) -> Wait | Pass:
    """What to do now. Files are never read while they change, or while a checkout holds its lock on them."""
    changed = state.asked or state.read != state.look.stamps
    quiet = state.since + pace.settle
    may_load = now >= quiet and not state.look.held_by
    is_due = now >= state.due
    if may_load and (changed or (is_due and (state.broken or not state.sound))):
        return Pass(load=True)
    if state.sound and is_due:
        # Files that change, or are broken, do not end the care for what was read before.
        return Pass(load=False)
    later = [now + pace.poll, *(moment for moment in (quiet, state.due) if moment > now)]
    return Wait(min(later))


def after(state: State, pace: Pace, verdict: Verdict, now: float, chance: float) -> State:
    """The state after a pass that compared with the kernel, or could not."""
    match verdict:
        case Verdict.CONVERGED | Verdict.APPLIED | Verdict.DRIFT | Verdict.REFUSED:
            spread = 1 + pace.jitter * (2 * chance - 1)
            return replace(state, failures=0, due=now + pace.interval * spread)
        case Verdict.FAILED:
            wait = min(pace.retry * 2.0 ** min(state.failures, 32), pace.most)
            # Many hosts that fail together must not come back together: half of the wait is chance.
            return replace(state, failures=state.failures + 1, due=now + wait * (1 + chance) / 2)
        case Verdict.LOCKED:
            return replace(state, due=now + pace.retry * (1 + chance) / 2)
        case Verdict.TORN:
            # Read again as soon as the files are quiet.
            return replace(state, since=now, due=now)
        case Verdict.INTERRUPTED:
            return state
        case _:
            assert_never(verdict)


def loaded(state: State, stamps: Stamps, *, sound: bool) -> State:
    """The state after the files were read, with `stamps` before they were; `sound` is whether a project came of it."""
    look = replace(state.look, stamps=stamps)
    return replace(state, read=stamps, look=look, broken=not sound, sound=sound or state.sound, asked=False)
