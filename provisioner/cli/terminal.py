"""A terminal that a view has for itself: keys without an Enter, a screen of its own, and all as before at the end."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from provisioner.cli.streams import OutputError

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other screen, no cursor, no wrapped lines
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_OFF: Final = b"\0"
_SIZE: Final = (80, 24)
"""Of a terminal that does not say."""

_KEYS: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1b[4~": "end",
    "\r": "enter",
    "\n": "enter",
    " ": "space",
    "\x02": "page-up",
    "\x06": "page-down",
}
_SEQUENCE: Final = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)


def is_there() -> bool:
    """Whether keys can be read and a screen be drawn: a dumb terminal shows the codes that move the cursor as text."""
    both = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    return both and os.environ.get("TERM") != "dumb"


def keys(text: str) -> list[str]:
    """The names of the keys that a terminal sent as `text`; a letter is its own name."""
    return [_KEYS.get(word.replace("\x1bO", "\x1b["), word) for word in _SEQUENCE.findall(text)]


class Terminal:
    """`wake` ends a `wait` from another thread; so does a change of the size, and Ctrl-Z, which `suspend` serves."""

    def __init__(self, woken: int, wake: Callable[[], None], suspend: Callable[[], None]) -> None:
        self._woken = woken
        self.wake = wake
        self._suspend = suspend

    def wait(self, seconds: float) -> list[str] | None:
        """The keys that were pressed, none after the time is over or after `wake`; None if the terminal is gone."""
        ready, _, _ = select.select([sys.stdin.fileno(), self._woken], [], [], max(seconds, 0))
        if self._woken in ready:
            os.read(self._woken, 4096)
            self._suspend()
        if sys.stdin.fileno() not in ready:
            return []
        with suppress(OSError):
            if data := os.read(sys.stdin.fileno(), 4096):
                return keys(data.decode(errors="replace"))
        return None

    @staticmethod
    def size() -> tuple[int, int]:
        """Columns and lines."""
        size = os.get_terminal_size(sys.stdout.fileno())
        return (size.columns, size.lines) if size.columns and size.lines else _SIZE

    @staticmethod
    def draw(lines: list[str]) -> None:
        """Write a line for each of the screen over those that are there, without a flash."""
        body = "\r\n".join(f"\x1b[2K{line}\x1b[0m" for line in lines)
        sys.stdout.write(f"\x1b[H{body}")
        sys.stdout.flush()


@contextmanager
def own_terminal() -> Iterator[Terminal]:
    """The terminal in raw mode until the end, however it comes; SIGTERM and SIGHUP end as Ctrl-C does."""
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    woken, waking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    handlers: dict[signal.Signals, Any] = {}
    stops: list[int] = []

    def wake() -> None:
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(waking, b".")

    def stop(signal_number: int, _: object) -> None:
        stops.append(signal_number)
        wake()

    def suspend() -> None:
        """Give the terminal back to the shell, as it was, until the process is continued. A handler cannot do it: it
        can run in the middle of a write to the terminal.
        """
        if stops:
            stops.clear()
            _leave(number, before)
            os.kill(os.getpid(), signal.SIGSTOP)
            _enter(number, before)

    try:
        for each in (signal.SIGTERM, signal.SIGHUP):
            handlers[each] = signal.signal(each, signal.default_int_handler)
        handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: wake())
        handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, stop)
        _enter(number, before)
        yield Terminal(woken, wake, suspend)
    finally:
        kept = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        _leave(number, before)
        for each, handler in handlers.items():
            signal.signal(each, handler)
        os.close(woken)
        os.close(waking)
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)


def _enter(number: int, before: list[Any]) -> None:
    termios.tcsetattr(number, termios.TCSADRAIN, _without_lines(before))
    sys.stdout.write(_ENTER)
    sys.stdout.flush()


def _leave(number: int, before: list[Any]) -> None:
    with suppress(OutputError):
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
    with suppress(termios.error):  # the terminal is gone
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _without_lines(attributes: list[Any]) -> list[Any]:
    """The attributes of a terminal that gives each key at once, and echoes none. Ctrl-C and Ctrl-Z stay signals.

    Quit is off: a shell would get the terminal as the view has it.
    """
    *flags, local, in_speed, out_speed, characters = attributes
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    characters[termios.VQUIT] = _OFF
    return [*flags, local & ~(termios.ICANON | termios.ECHO), in_speed, out_speed, characters]
