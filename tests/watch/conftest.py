"""A watch as a user runs it: a process whose log is read as it grows."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from tests import command
from tests.cli.conftest import Project, project, spec
from tests.cli.support import environment

__all__ = ["Project", "Watching", "project", "spec", "watching"]

Answer = TypeVar("Answer")

QUICK: Final = ("--poll", "0.05", "--settle", "0.1")
PATIENCE: Final = 60.0
"""Seconds after which something that does not come is given up."""


class Watching:
    """A running `provisioner watch`."""

    def __init__(self, log: Path, *words: str | Path, **variables: str) -> None:
        self._log = log
        self._read = 0
        with log.open("wb") as stream, open(os.devnull, "r+b") as nothing:
            standard = (nothing.fileno(), nothing.fileno(), stream.fileno())
            self.process = command.start(
                ["watch", *words, *QUICK, "--log-format", "json"], standard, environment(**variables)
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far, whole lines alone."""
        text = self._log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def expect(self, event: str) -> dict[str, Any]:
        """The next line that tells of `event`; those before it are passed over."""

        def matching() -> dict[str, Any] | None:
            for at, line in enumerate(self.lines[self._read :], start=self._read + 1):
                if line["event"] == event:
                    self._read = at
                    return line
            assert self.process.poll() is None, f"it ended, with {self.lines}"
            return None

        return until(matching, lambda: f"no `{event}` in {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """End it as a service manager does; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def until(look: Callable[[], Answer | None], otherwise: Callable[[], str]) -> Answer:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while (result := look()) is None:
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)
    return result


@pytest.fixture
def watching(project: Project, tmp_path: Path) -> Iterator[Callable[..., Watching]]:
    """Starts a watch of the project, or of other files; what still runs at the end is ended."""
    started: list[Watching] = []

    def start(*words: str | Path, files: tuple[Path, ...] = (), pin_root: bool = True, **variables: str) -> Watching:
        log = tmp_path / f"log{len(started)}"
        root = ("--pin-root", project.root) if pin_root else ()
        started.append(Watching(log, *(files or (project.spec,)), *root, *words, **variables))
        return started[-1]

    yield start
    for watch in started:
        if watch.process.poll() is None:
            watch.process.send_signal(signal.SIGKILL)
            watch.process.wait()
