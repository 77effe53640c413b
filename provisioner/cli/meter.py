"""A line on a terminal that says what takes long."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from provisioner.report.style import on_terminal

if TYPE_CHECKING:
    from provisioner import Progress

PATIENCE: Final = 1.0
"""Seconds of work before the line appears."""

_EVERY: Final = 0.2
"""Seconds between two lines about a comparison."""

_ERASE: Final = "\r\x1b[2K"


def pace(done: int, total: int, seconds: float) -> str:
    """` of 10,000, 2,500 a second, about 3 s left`; empty while there is nothing to say."""
    if not done or done >= total or seconds <= 0:
        return ""
    rate = done / seconds
    return f" of {total:,}, {rate:,.0f} a second, about {max(1, round((total - done) / rate)):,} s left"


class Meter:
    """Shows what is being done, after it has taken long; a timer thread draws the line for the first time.

    Nothing is drawn between `stop` and the next `begin`: only then may others write to the terminal.
    """

    def __init__(self, on: bool, patience: float = PATIENCE) -> None:
        self._on = on
        self._patience = patience
        self._what = ""
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_shown = False
        self._started = 0.0
        self._comparing, self._compared, self._drawn = 0.0, 0, 0.0
        self.grace_periods = 0
        self.planned = 0

    def begin(self, what: str) -> None:
        """Work begins that can take long."""
        self.stop()
        self._what, self._started = what, time.monotonic()
        self._comparing, self._compared = self._started, 0
        if self._on:
            self._timer = threading.Timer(self._patience, self._show)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # no thread can be created: no progress line
                self._timer = None

    def __call__(self, what: str, progress: Progress) -> None:
        """The progress of an apply."""
        self.grace_periods = progress.grace_periods
        coming = max(self.planned - progress.grace_periods, 0)
        so_far = pace(progress.done, progress.total, time.monotonic() - self._started)
        with self._lock:
            self._what = f"{what}{so_far}; grace periods: {progress.grace_periods} done, {coming} remaining"
            if self._is_shown:
                self._draw()

    def compared(self, done: int, total: int) -> None:
        """So many slots of all have been compared with the live state."""
        now = time.monotonic()
        if done <= self._compared:  # another comparison
            self._comparing = now
        self._compared = done
        if now - self._drawn < _EVERY or not done < total:
            return
        so_far = pace(done, total, now - self._comparing)
        with self._lock:
            self._what, self._drawn = f"comparing inner maps with the live state: {done:,}{so_far}", now
            if self._is_shown:
                self._draw()

    def stop(self) -> None:
        """Erase the line, and draw no more."""
        with self._lock:
            timer, self._timer = self._timer, None
            if self._is_shown:
                self._is_shown = False
                sys.stderr.write(_ERASE)
                sys.stderr.flush()
        if timer is not None:
            timer.cancel()

    def _show(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._is_shown = True
                self._draw()

    def _draw(self) -> None:
        line = on_terminal(f"{self._what} ...")
        width = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be erased
        sys.stderr.write(_ERASE + line[:width])
        sys.stderr.flush()
