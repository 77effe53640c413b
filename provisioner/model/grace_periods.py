"""The number of RCU grace periods that a write of slots waits for in `kernel.batch`. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

THREADS: Final = 256
"""Concurrent single writes to an outer map, where the kernel has no batch or one that waits for each slot."""

MANY_SLOTS: Final = 64
"""From this number of slots on, it is worth finding out whether a batch waits once or for each slot."""


class Batches(Enum):
    """Batches of slots: `cheap` batches wait once, `dear` batches wait for each slot, `none` do not exist."""

    CHEAP = "cheap"
    DEAR = "dear"
    NONE = "none"


def waits(slots: int, batches: Batches) -> int:
    """The grace periods that a write of this number of slots waits for."""
    match batches:
        case Batches.CHEAP:
            return min(slots, 1)
        case Batches.DEAR if slots < MANY_SLOTS:
            return slots
        case _:
            return -(-slots // THREADS)
