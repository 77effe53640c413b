"""How many RCU grace periods a write of slots waits for, as `kernel.batch` writes them. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

THREADS: Final = 256
"""Single writes to an outer map that wait together, where there is no batch or a dear one."""

MANY_SLOTS: Final = 64
"""From here on it pays to know whether a batch waits once: a dear one costs half a second and more."""


class Batches(Enum):
    """Batches of slots: `cheap` ones wait once, `dear` ones for each slot, or there are `none`."""

    CHEAP = "cheap"
    DEAR = "dear"
    NONE = "none"


def waits(slots: int, batches: Batches) -> int:
    """The grace periods that one write of so many slots waits for."""
    match batches:
        case Batches.CHEAP:
            return min(slots, 1)
        case Batches.DEAR if slots < MANY_SLOTS:
            return slots
        case _:
            return -(-slots // THREADS)
