"""How far an apply is: what it reports after each wave of inner maps, and within one."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from provisioner.kernel import batch
from provisioner.model.entry_table import Index
from provisioner.planning.changes import MapChange

_EVERY: Final = 0.2
"""Seconds between two reports of a wave that is being staged."""


class Progress(msgspec.Struct):
    """The progress so far; `report` is called after each wave, `pause` also within one: it raises to stop the apply.

    `report` is also called while a wave is staged, by one of the threads that do it, but never by two at once: what is
    reported is at `done` of `total`, 0 where that is not known. `window` has the clock before the first write that
    made a slot visible, and after the last. `staged` entries are in new inner maps, of `to_stage`.
    """

    slots: int = 0
    entries: int = 0
    grace_periods: int = 0
    staged: int = 0
    to_stage: int = 0
    to_publish: int = 0
    done: int = 0
    total: int = 0
    window: tuple[float, float] | None = None
    report: Callable[[str, Progress], None] | None = None
    pause: Callable[[], None] = batch.go_on
    _lock: _thread.LockType = msgspec.field(default_factory=_thread.allocate_lock)
    _updated: float = 0.0

    def visible_since(self, started: float) -> None:
        """Slots have become visible by a write that was begun at `started`, in monotonic seconds."""
        self.window = (started if self.window is None else self.window[0], time.monotonic())

    def stage(self, entries: int) -> None:
        """So many more entries have been written into new inner maps."""
        with self._lock:
            self.staged += entries
            is_due = time.monotonic() - self._updated >= _EVERY
        if is_due:
            self.update(f"entries written: {self.staged:,}", self.staged, self.to_stage)

    def update(self, what: str, done: int = 0, total: int = 0) -> None:
        if self.report is not None:
            with self._lock:
                self._updated, self.done, self.total = time.monotonic(), done, total
                self.report(what, self)


def count_staged(progress: Progress, change: MapChange, rows: Index) -> None:
    """Note that the slots in `rows` (of SlotChanges) are to be staged and published."""
    slots = change.slots.desired[rows]
    progress.to_publish += len(slots)
    shared = change.desired.slots.shared[slots] >= 0
    if shared.any():  # one inner map for many slots
        share = change.desired.slots.shared[slots[shared]]
        slots = np.concatenate((slots[~shared], slots[shared][np.unique(share, return_index=True)[1]]))
    progress.to_stage += int(change.desired.entries.counts[slots].sum())
