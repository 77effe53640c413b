"""Signals as a flag: the first one asks an apply to stop at a safe point, the second one ends the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """After `listen`, calling it gives the name of the signal that arrived; empty for none."""

    def __init__(self) -> None:
        self._came = ""
        self._before: dict[signal.Signals, Any] = {}
        self._may_raise = False

    def __call__(self) -> str:
        return self._came

    def prepare(self) -> None:
        """Until `listen`, SIGTERM raises KeyboardInterrupt as SIGINT does, so that fds are closed."""
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def listen(self) -> None:
        """From now on a signal only sets the flag."""
        for number in _SIGNALS:
            before = signal.signal(number, self._note)
            self._before.setdefault(number, before)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In here, a signal raises KeyboardInterrupt at once: nothing is changed meanwhile."""
        self._may_raise = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._may_raise = False

    def ignore(self) -> None:
        """Restore the handlers of before `prepare` and `listen`."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came = signal.Signals(number).name
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self._may_raise:
            raise KeyboardInterrupt
