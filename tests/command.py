"""Runs of the command line by the fork server: each a process that did not have to import anything.

What a start of the interpreter is part of (options of the interpreter, other users, memory that ends, another root
directory) is run by `subprocess`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from tests import preload

_PROJECT: Final = Path(__file__).parents[1]
CLIENT: Final = Path(__file__).parent / "bin" / "provisioner"
"""The command for programs that start it: a client of the fork server, with the variable of `for_client`."""

MODULE: Final = CLIENT.with_name("module")
"""The Python of Ansible's modules, with the variable of `for_modules`."""

_MESSAGE: Final = 64

SHIM: Final = Path(__file__).parent / "promises" / "shim.c"
"""Preloaded into the server; it does nothing until a request asks for a fault."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run does not have as this process would give it: `closed` standard fds, limits, capabilities.

    `limits` are resource limits by the end of their names ("FSIZE"). `capabilities` are all that it has, as setpriv(1)
    spells them, None for those of this process.
    """

    closed: tuple[int, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    capabilities: tuple[str, ...] | None = None


USUAL: Final = Beginning()


class Process:
    """A running command: `pid`, and its states as they come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ended: int | None = None
        self.pid = int(connection.recv(_MESSAGE))

    def status(self, patience: float | None = None) -> int:
        """Wait until it stops or ends; gives the wait status. Raises TimeoutError after `patience` seconds."""
        self._connection.settimeout(patience)
        answer = self._connection.recv(_MESSAGE)
        assert answer, "the fork server ended"
        status = int(answer)
        if not os.WIFSTOPPED(status):
            self._ended = os.waitstatus_to_exitcode(status)
            self._connection.close()
        return status

    def wait(self, patience: float | None = None) -> int:
        """Wait until it ends; gives the exit status: the negated signal if one ended it."""
        while self._ended is None:
            self.status(patience)
        return self._ended

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self._ended is None and select.select([self._connection], [], [], 0)[0]:
            self.status()
        return self._ended

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class _ForkServer:
    """Started at the first run; ends with this process, which holds the other end of its standard input."""

    def __init__(self, folder: Path, module: str, *preloaded: Path) -> None:
        self._address, self._log = str(folder / module), folder / f"{module}.log"
        self._module, self._preloaded = module, preloaded
        self._lifeline = os.pipe()  # opened before any ledger is taken
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self.address())
        return connection

    def address(self) -> str:
        if self._process is None:
            self._process = self._launch()
        return self._address

    def end(self) -> None:
        for fd in self._lifeline:
            os.close(fd)
        if self._process is not None:
            self._process.wait()

    def _launch(self) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        for source in self._preloaded:
            environment |= preload.variables(preload.build(source))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening, self._log.open("wb") as log:
            listening.bind(self._address)
            listening.listen()
            return subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=self._lifeline[0],
                stdout=listening.fileno(),
                stderr=log,
                cwd=_PROJECT,
                env=environment,
                start_new_session=True,
            )


_server: _ForkServer | None = None
_modules: _ForkServer | None = None


def prepare(folder: Path) -> None:
    """Let the fork servers have their sockets and logs in `folder`; nothing is started yet."""
    global _server, _modules
    _server = _ForkServer(folder, "tests.forkserver", SHIM)
    _modules = _ForkServer(folder, "tests.integrations.modules")


def finish() -> None:
    """End the fork servers."""
    for server in (_server, _modules):
        if server is not None:
            server.end()


def start(
    words: Sequence[str | Path],
    standard: tuple[int, int, int],
    environment: Mapping[str, str],
    *,
    new_session: bool = False,
    inject: Mapping[str, Any] | None = None,
    beginning: Beginning = USUAL,
) -> Process:
    """Run `provisioner WORDS` in the current directory; `standard` are the fds that become its 0, 1 and 2.

    `inject` are the arguments of the shim's `inject_start`, by name.
    """
    assert _server is not None
    connection = _server.connect()
    request = {
        "words": [str(word) for word in words],
        "folder": os.getcwd(),
        "environment": dict(environment),
        "new_session": new_session,
        "inject": inject,
        "like": None,
        "beginning": asdict(beginning),
    }
    socket.send_fds(connection, [json.dumps(request).encode()], standard)
    return Process(connection)


def for_client() -> dict[str, str]:
    """The variable that `CLIENT` needs."""
    assert _server is not None
    return {"PROVISIONER_FORKSERVER": _server.address()}


def for_modules() -> dict[str, str]:
    """The variable that `MODULE` needs."""
    assert _modules is not None
    return {"MODULE_FORKSERVER": _modules.address()}


def for_shells() -> dict[str, str]:
    """Variables with which a shell's `provisioner` is run by the fork server."""
    path = f"{CLIENT.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return for_client() | {"PATH": path}


def run(
    words: Sequence[str | Path], text: str, environment: Mapping[str, str], beginning: Beginning = USUAL
) -> tuple[int, str, str]:
    """Run `provisioner WORDS` with `text` on its standard input; gives its exit status, output and errors."""
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
        given = stack.enter_context(_pipe_of(text.encode()))
        standard = (given.fileno(), out.fileno(), err.fileno())
        status = start(words, standard, environment, beginning=beginning).wait()
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


def _pipe_of(content: bytes) -> IO[bytes]:
    """A pipe that holds `content`, to read it."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, max(len(content), os.sysconf("SC_PAGE_SIZE")))
        stream.write(content)
    return os.fdopen(reading, "rb")
