"""`show --watch` on a terminal: what it shows of a map that changes, and that the terminal is as before at the end."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from provisioner.cli import live_view
from provisioner.cli.console import Console
from provisioner.cli.terminal import Terminal, keys, own_terminal
from provisioner.model.errors import HostError, Problem
from provisioner.views.live_lines import fitted
from provisioner.views.live_screen import HELP
from provisioner.views.looks import Look
from tests import pages
from tests.cli.conftest import Project
from tests.cli.support import COMMAND, environment, on_terminal, run
from tests.conftest import remove_tree
from tests.views.support import look, number, plain

_PATIENCE = 30.0
_LEFT = "\x1b[?7h\x1b[?25h\x1b[?1049l"


@dataclass
class View:
    """A live view and its terminal; `text` is all that was written to it."""

    process: subprocess.Popen[bytes]
    terminal: int
    before: list[object]
    text: str = ""
    _seen: int = field(default=0)

    def press(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def shows(self, text: str) -> bool:
        """Whether a text appears in what is written from now on."""
        end = time.monotonic() + _PATIENCE
        while text not in self.text[self._seen :] and time.monotonic() < end:
            if not self._read():
                return False
        at = self.text.find(text, self._seen)
        self._seen = at + len(text) if at >= 0 else self._seen
        return at >= 0

    def _read(self) -> bool:
        if not select.select([self.terminal], [], [], _PATIENCE)[0]:
            return False
        self.text += os.read(self.terminal, 1 << 16).decode()
        return True

    def end(self) -> int:
        """The exit status, after the terminal was held to be as before."""
        assert self.shows(_LEFT)
        status = self.process.wait(_PATIENCE)
        assert termios.tcgetattr(self.terminal) == self.before
        return status


@contextmanager
def view(*words: str | Path) -> Iterator[View]:
    ours, theirs = pty.openpty()
    resize(ours, 80, 24)
    before = termios.tcgetattr(ours)
    command = [*COMMAND, "show", *map(str, words)]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )
    try:
        yield View(process, ours, before)
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def resize(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def test_a_map_that_changes_is_shown_until_q(project: Project) -> None:
    assert project.run("apply", "--yes").status == 0
    with view(project.spec, "--pin-root", project.root, "-w", "--interval", "0.2") as live:
        assert live.shows("> [1]                 2 of 64")
        live.press("j\x1b[C")
        assert live.shows("v [1]")
        assert live.shows("      2                 20")
        words = ["bpftool", "map", "update", "pinned", str(project.root / "active"), "key", "0", "0", "0", "0"]
        subprocess.run([*words, "value", "200", "0", "0", "0"], check=True)
        assert live.shows("~ 0                   200")
        resize(live.terminal, 50, 6)
        live.process.send_signal(signal.SIGWINCH)
        assert live.shows(f"{fitted(HELP, 45)}  2/7")
        remove_tree(project.root)
        assert live.shows("not live")
        live.press("q")
        assert live.end() == 0


def test_the_commands_of_the_documentation() -> None:
    """Options and arguments are those of `show`: what is missing is a terminal."""
    for fence in pages.fences(__file__, "lost-spec.md"):
        for line in fence.text.splitlines():
            name, *words = shlex.split(line)
            done = run(*words)
            assert (name, done.status) == ("provisioner", 64)
            assert "Invalid value for --watch: " in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_restores_the_terminal(project: Project, number: signal.Signals) -> None:
    assert project.run("apply", "--yes").status == 0
    with view(project.root, "--watch") as live:
        assert live.shows("v tenants")
        live.process.send_signal(number)
        assert live.end() == 130
        assert "interrupted" in live.text or live.shows("interrupted")


def test_a_suspended_view_gives_the_terminal_back(project: Project) -> None:
    assert project.run("apply", "--yes").status == 0
    with view(project.root, "--watch") as live:
        assert live.shows("v tenants")
        live.process.send_signal(signal.SIGTSTP)
        assert live.shows(_LEFT)
        assert os.WIFSTOPPED(os.waitpid(live.process.pid, os.WUNTRACED)[1])
        assert termios.tcgetattr(live.terminal) == live.before
        live.process.send_signal(signal.SIGCONT)
        assert live.shows("v tenants")
        assert termios.tcgetattr(live.terminal) != live.before
        live.press("q")
        assert live.end() == 0


def test_without_a_terminal_it_is_a_usage_error(project: Project) -> None:
    for words, option in (
        (["-w"], "--watch"),
        (["--watch", "--interval", "1"], "--watch"),
        (["--interval", "1"], "--interval"),
        (["-w", "--format", "json"], "--watch"),
    ):
        done = project.run("show", *words)
        assert (done.status, done.out) == (64, "")
        assert f"Invalid value for {option}: " in done.err


def test_a_dumb_terminal_is_a_usage_error(project: Project) -> None:
    done = on_terminal("show", project.root, "-w", answer="", TERM="dumb")
    assert done.status == 64
    assert "Invalid value for --watch: " in done.out


def test_keys_of_terminals_have_names() -> None:
    sent = "\x1b[A\x1bOBq\x1b[5~\x1b[6~ \r\x1b[H\x1b[4~\x1b[1;5Cs"
    names = ["up", "down", "q", "page-up", "page-down", "space", "enter", "home", "end", "\x1b[1;5C", "s"]
    assert keys(sent) == names


def test_a_look_that_fails_leaves_the_last_one_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [look(plain("active", {number(1): number(7)}))]
    drawn: list[list[str]] = []

    def take() -> Look:
        if looks:
            return looks.pop()
        raise HostError(Problem("no memory", id="kernel"))

    class Deaf(Terminal):
        """No key is pressed until the failure is shown."""

        def wait(self, seconds: float) -> list[str] | None:  # noqa: ARG002
            return None if "no memory" in drawn[-1][0] else []

        @staticmethod
        def size() -> tuple[int, int]:
            return 80, 8

        @staticmethod
        def draw(lines: list[str]) -> None:
            drawn.append(lines)

    @contextmanager
    def deaf() -> Iterator[Terminal]:
        yield Deaf(-1, lambda: None, lambda: None)

    monkeypatch.setattr(live_view, "own_terminal", deaf)
    live_view.run(Console("text", "never", quiet=True, verbose=False), take, 0.01)
    assert "error: no memory, last look " in drawn[-1][0]
    assert drawn[-1][2:4] == drawn[0][2:4]


def test_a_terminal_that_is_closed_ends_the_view(project: Project) -> None:
    assert project.run("apply", "--yes").status == 0
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(COMMAND[0], [*COMMAND, "show", "-w", str(project.root)], environment())
    seen = b""
    while b"tenants" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)  # the kernel sends SIGHUP
    assert os.WIFEXITED(os.waitpid(child, 0)[1])


def _end(_: Terminal, is_raw: bool) -> None:
    assert is_raw
    raise ZeroDivisionError


def test_an_exception_restores_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGWINCH)]
    with os.fdopen(theirs, "r+b", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        monkeypatch.setattr("sys.stdout", stream)
        before = termios.tcgetattr(theirs)
        with pytest.raises(ZeroDivisionError), own_terminal() as terminal:
            _end(terminal, termios.tcgetattr(theirs) != before)
        assert termios.tcgetattr(theirs) == before
        written = ""
        while not written.endswith(_LEFT):  # a read gives what the terminal has by then
            assert select.select([ours], [], [], 10)[0], written
            written += os.read(ours, 4096).decode()
        monkeypatch.undo()
    os.close(ours)
    assert [
        signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGWINCH)
    ] == handlers
