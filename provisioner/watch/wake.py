"""The events that end a wait: a signal, an interface that appears or disappears, and the time."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from provisioner.kernel import host
from provisioner.kernel.interfaces import LinkEvents

_STOP: Final = (signal.SIGTERM, signal.SIGINT)


class Wakeups:
    """Signals as flags: `stop` names the signal that ends the watch; a second one ends the process at once."""

    def __init__(self) -> None:
        self.stop = ""
        self._reload = False
        self._bell = -1
        self._links: LinkEvents | None = None
        self._interfaces: Mapping[str, int | None] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals, until the end of the block."""
        self._bell, ringer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A signal just before a wait must end it: the interpreter writes to the pipe.
        before_fd = signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
        before: dict[signal.Signals, Any] = {each: signal.signal(each, self._note_stop) for each in _STOP}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._note_reload)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_fd)
            os.close(self._bell)
            os.close(ringer)
            if self._links is not None:
                self._links.__exit__(None, None, None)

    def expect(self, names: set[str]) -> None:
        """The interfaces whose appearance and disappearance ends a wait."""
        if names and self._links is None:
            self._links = LinkEvents()
        self._interfaces = {name: host.find_ifindex(name) for name in sorted(names)}

    def wait(self, seconds: float) -> bool:
        """Wait at most that long; gives whether an expected interface appeared or disappeared."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if self._links is not None and self._interfaces:
            poll.register(self._links, select.POLLIN)
        ready = {number for number, _ in poll.poll(max(0, seconds) * 1000)}
        if self._bell in ready:
            os.read(self._bell, 1 << 10)
        if self._links is None or self._links.fileno() not in ready:
            return False
        self._links.drain()
        now = {name: host.find_ifindex(name) for name in self._interfaces}
        before, self._interfaces = self._interfaces, now
        return now != before

    def pause(self, seconds: float) -> None:
        """Wait at most that long, for a signal only."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(max(0, seconds) * 1000):
            os.read(self._bell, 1 << 10)

    def take_reload(self) -> bool:
        """Whether SIGHUP arrived since the last call."""
        came, self._reload = self._reload, False
        return came

    def _note_stop(self, number: int, _: FrameType | None) -> None:
        self.stop = signal.Signals(number).name
        for each in _STOP:
            signal.signal(each, signal.SIG_DFL)

    def _note_reload(self, _: int, __: FrameType | None) -> None:
        self._reload = True
