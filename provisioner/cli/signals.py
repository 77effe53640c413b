"""Signals as a flag: the first asks an apply to stop where it may, the second ends it where it is."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Once `listen` was called, gives the name of the signal that came, or nothing."""

    def __init__(self) -> None:
        self._came = ""
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> str:
        return self._came

    def prepare(self) -> None:
        """Until `listen`, SIGTERM ends what runs as SIGINT does, by KeyboardInterrupt: what is open is closed."""
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def listen(self) -> None:
        """From now on a signal ends nothing by itself."""
        for number in _SIGNALS:
            before = signal.signal(number, self._note)
            self._before.setdefault(number, before)

    def ignore(self) -> None:
        """As it was before `prepare` and `listen`."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came = signal.Signals(number).name
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
