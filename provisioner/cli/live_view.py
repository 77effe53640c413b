"""`show --watch`: looks at the live state again and again, and shows them until `q`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

from provisioner.cli.console import Console
from provisioner.cli.terminal import Terminal, own_terminal
from provisioner.model.errors import ProvisionerError
from provisioner.report.style import on_terminal
from provisioner.views.live_screen import Drawn, Screen
from provisioner.views.looks import Look

_REVERSE = "\x1b[7m"


class _Taken:
    """A look, and when it was taken."""

    def __init__(self, take: Callable[[], Look]) -> None:
        self.at = time.monotonic()
        self.clock = datetime.now().astimezone().strftime("%H:%M:%S")
        self.look = take()


def run(console: Console, take: Callable[[], Look], interval: float) -> None:
    """Show what `take` gives, every `interval` seconds. Raises the error of the first look only.

    Looks are taken by a thread, so that keys are served while many maps are read.
    """
    with console.working("reading the live state"):
        taken = _Taken(take)
    screen = Screen(taken.look, interval)
    with ThreadPoolExecutor(1) as thread, own_terminal() as terminal:
        _Loop(console, screen, terminal, taken, lambda: thread.submit(_Taken, take), interval).run()


class _Loop:
    def __init__(
        self,
        console: Console,
        screen: Screen,
        terminal: Terminal,
        taken: _Taken,
        start: Callable[[], Future[_Taken]],
        interval: float,
    ) -> None:
        self._console = console
        self._screen = screen
        self._terminal = terminal
        self._taken = taken
        self._start = start
        self._interval = interval
        self._coming: Future[_Taken] | None = None
        self._note = taken.clock

    def run(self) -> None:
        """Until `q`, or until the terminal is gone."""
        due = self._taken.at + self._interval
        while True:
            self._draw()
            pressed = self._terminal.wait(due - time.monotonic() if self._coming is None else self._interval)
            if pressed is None or "q" in pressed:
                return
            for key in pressed:
                self._screen.press(key)
            if self._coming is not None and self._coming.done():
                self._show(self._coming)
                self._coming = None
                due = max(due + self._interval, time.monotonic())
            if self._coming is None and time.monotonic() >= due:
                self._coming = self._start()
                self._coming.add_done_callback(lambda _: self._wake())

    def _wake(self) -> None:
        with suppress(OSError):  # the view has ended
            self._terminal.wake()

    def _show(self, coming: Future[_Taken]) -> None:
        """The next look; if there is none, the last one stays, and the title says why."""
        try:
            taken = coming.result()
        except ProvisionerError as error:
            self._note = f"error: {error.problems[0].what}, last look {self._taken.clock}"
            return
        self._screen.update(taken.look, taken.at - self._taken.at)
        self._taken, self._note = taken, taken.clock

    def _draw(self) -> None:
        width, height = self._terminal.size()
        self._terminal.draw(list(self._styled(self._screen.draw(width, height, self._note), width)))

    def _styled(self, drawn: Drawn, width: int) -> list[str]:
        lines = []
        for number, (text, colour) in enumerate(drawn.lines):
            # Control characters become longer when they are made visible.
            plain = on_terminal(text)[:width]
            if number == drawn.cursor:
                lines.append(_REVERSE + plain.ljust(width))
            else:
                style = self._console.style
                lines.append(on_terminal(style(plain, colour), style) if colour is not None else plain)
        return lines
