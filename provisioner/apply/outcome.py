"""How an apply is done and how it ended. An apply that changes nothing needs no other module of this room."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from provisioner.apply.progress import Progress

_FDS: Final = "/proc/self/fd"


class Options(msgspec.Struct, frozen=True):
    """How an apply is done. `interrupted` is asked again and again: the name of a signal stops it at that point.

    `compared` is called in comparisons, with the number of slots that were compared, and of all. `reading` surrounds
    the comparison at the end, which changes nothing: an exception may end it at any point.
    """

    rollback: bool = True
    progress: Callable[[str, Progress], None] | None = None
    interrupted: Callable[[], str] = lambda: ""
    reading: Callable[[], AbstractContextManager[None]] = nullcontext
    compared: Callable[[int, int], None] | None = None


class Status(Enum):
    """How an apply ended, in the words of its report."""

    UNCHANGED = "unchanged"
    APPLIED = "applied"
    ROLLED_BACK = "rolled_back"
    PARTIAL = "partial"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"


class Result(msgspec.Struct, frozen=True):
    """An apply that ended well: how long it took in seconds, the grace periods it waited for, its open fds.

    All slots became visible within `window_seconds`: from before the first write of one until after the last, which
    waits for a grace period when its slots are visible already.
    """

    status: Status
    seconds: float
    grace_periods: int
    fds_before: int
    fds_after: int
    window_seconds: float = 0.0


def unchanged() -> Result:
    """The result of a plan without steps."""
    fds = open_fds()
    return Result(Status.UNCHANGED, 0.0, 0, fds, fds)


def open_fds() -> int:
    """How many fds this process has open: the size of a directory since 6.2 (f1f1f2569901), else its length."""
    return os.stat(_FDS).st_size or len(os.listdir(_FDS)) - 1  # without the one that lists them
