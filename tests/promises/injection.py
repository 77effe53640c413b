"""Runs the command line with one system call failed, or with the process killed at it. Nothing of ours is replaced."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provisioner.model.uapi import ENOTSUPP, Command
from tests import command, preload

KILL_BEFORE: Final = -1
KILL_AFTER: Final = -2
STOP_BEFORE: Final = -3


def signal_once(number: signal.Signals) -> int:
    """The process gets a signal before a call, which is made then."""
    return -100 - number


def signal_always(number: signal.Signals) -> int:
    """The same before that call and before each one after it."""
    return -200 - number


ERRNOS: Final = (
    errno.ENOMEM, errno.EPERM, errno.E2BIG, errno.EBUSY, errno.EAGAIN, errno.ENOSPC, errno.EINTR, errno.ENOENT,
    ENOTSUPP,
)  # fmt: skip

READING: Final = frozenset(
    f"bpf {command:d}"
    for command in (
        Command.MAP_LOOKUP_ELEM, Command.MAP_GET_NEXT_KEY, Command.OBJ_GET, Command.MAP_GET_FD_BY_ID,
        Command.PROG_GET_FD_BY_ID, Command.LINK_GET_FD_BY_ID, Command.BTF_GET_FD_BY_ID, Command.OBJ_GET_INFO_BY_FD,
        Command.MAP_LOOKUP_BATCH,
    )
)  # fmt: skip
"""Calls, as the shim names them, that leave everything as it is."""


def build_clock() -> Path:
    """Compile the clock that jumps."""
    return preload.build(Path(__file__).with_name("clock.c"))


def words(call: str) -> str:
    """A call as people name it: `BPF_MAP_CREATE`, `rename`."""
    kind, _, number = call.partition(" ")
    return f"BPF_{Command(int(number)).name}" if number else kind


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended: `status` as a shell has it (negative: the signal); `calls` are those that it made, in order.

    `made` are the maps, programs and links that it made in the kernel: kind and id.
    """

    status: int
    out: str
    err: str
    calls: tuple[str, ...]
    made: frozenset[tuple[str, int]]

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Injector:
    """Runs by the fork server, which has the shim preloaded; `folder` is for what they write.

    `environment` has variables of the runs, beside those of this process.
    """

    def __init__(self, folder: Path) -> None:
        self.environment: Mapping[str, str] = {}
        self._out, self._err, self._log = folder / "out", folder / "err", folder / "calls"

    def run(
        self,
        *arguments: str | Path,
        under: Path,
        at: int = 0,
        what: int = 0,
        earlier: tuple[str, int] = ("", 0),
        meanwhile: Callable[[], object] | None = None,
        raising: Mapping[str, str | int] | None = None,
    ) -> Ran:
        """Run a verb. `what` happens at call number `at` (from 1; 0: nowhere): an errno, a kill or a signal.

        `earlier` is a call that fails with ENOMEM besides, as its name and its number among those of this name; `at`
        is counted from there. With `meanwhile` the process stops at `at` instead, and
        continues when that is done. `raising` has the arguments of a `Raiser`.
        """
        inject = {
            "at": at,
            "earlier": earlier,
            "raising": raising or {},
            "what": STOP_BEFORE if meanwhile is not None else what,
            "under": str(under),
            "log": str(self._log),
        }
        with open(os.devnull) as given, self._out.open("w") as out, self._err.open("w") as err:
            standard = (given.fileno(), out.fileno(), err.fileno())
            process = command.start(arguments, standard, os.environ | self.environment, inject=inject)
        while os.WIFSTOPPED(process.status()):
            try:
                if meanwhile is not None:
                    meanwhile()
            finally:
                os.kill(process.pid, signal.SIGCONT)
        return Ran(process.wait(), self._out.read_text(), self._err.read_text(), *_logged(self._log))


def run_alone(*arguments: str | Path, under: Path, folder: Path, at: int = 0, what: int = 0) -> Ran:
    """The same by a process of its own, as a user starts it."""
    log = folder / "calls-alone"
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ
        | preload.variables(preload.build(command.SHIM))
        | {"INJECT_UNDER": str(under), "INJECT_LOG": str(log)}
        | {"INJECT_AT": str(at), "INJECT_WHAT": str(what)},
    )
    return Ran(done.returncode, done.stdout, done.stderr, *_logged(log))


def _logged(log: Path) -> tuple[tuple[str, ...], frozenset[tuple[str, int]]]:
    """The calls in the shim's log, and what they made."""
    lines = [line.partition(" ") for line in log.read_text().splitlines()]
    calls = tuple(rest for first, _, rest in lines if first != "made")
    made = frozenset((rest.split()[0], int(rest.split()[1])) for first, _, rest in lines if first == "made")
    return calls, made
