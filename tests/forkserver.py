"""The command line with all its imports done, forked once for each run: what tests with thousands of runs can afford.

A server accepts connections on the socket that is its standard output, until its standard input ends. A connection
brings one request, and the standard fds of the run. The answer is the process id, then the wait status each time the
process stops, then the one of its end. No call has touched the kernel before the fork, so that a run begins as a new
process does. `python -m tests.forkserver` is the server of the command line; `serve` has what all servers do.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Final

import provisioner

STANDARD: Final = (0, 1, 2)
_MESSAGE: Final = 1 << 20

_CAPABILITIES: Final = {"net_admin": 12, "sys_admin": 21, "perfmon": 38, "bpf": 39}
_CAPBSET_DROP: Final = 24
_CAPABILITY_VERSION_3: Final = 0x2008_0522

_SPEC: Final = "{version: 1, name: edge, maps: {one: {type: hash, key: u32, value: u32, max_entries: 1}}}"


def serve(prepare: Callable[[], None], run: Callable[[dict[str, Any]], int]) -> None:
    """Prepare, then run each request in a child; runs can overlap. `run` gives the exit status."""
    listening = socket.socket(fileno=os.dup(1))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    gc.set_threshold(100_000, 20, 20)  # as the command sets it for itself
    prepare()
    gc.collect()
    gc.freeze()
    changed, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    runs: dict[int, socket.socket] = {}
    watched: list[Any] = [sys.stdin, listening, changed]
    while sys.stdin not in (ready := select.select(watched, [], [])[0]):
        if listening in ready:
            connection, _ = listening.accept()
            message, standard, _, _ = socket.recv_fds(connection, _MESSAGE, len(STANDARD))
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (listening, changed, wakeup, connection, *runs.values()):
                    other.close()
                _become(json.loads(message), standard, run)
            for fd in standard:
                os.close(fd)
            runs[child] = connection
            connection.send(str(child).encode())
        if changed in ready:
            changed.recv(_MESSAGE)
            _report(runs)


def _report(runs: dict[int, socket.socket]) -> None:
    """Send the wait status of each run that stopped or ended."""
    while runs:
        child, status = os.waitpid(-1, os.WUNTRACED | os.WNOHANG)
        if child == 0:
            return
        with suppress(BrokenPipeError):  # the test gave up
            runs[child].send(str(status).encode())
        if not os.WIFSTOPPED(status):
            runs.pop(child).close()


def _import_all() -> None:
    """Import by a first run what that needs, in its order; then every other module, and each verb as typer has it."""
    from provisioner.cli import app, verbs

    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    spec = os.memfd_create("spec")
    os.write(spec, _SPEC.encode())
    if app.run(["validate", "--allow-outside", f"/proc/self/fd/{spec}"]) != 0:
        sys.exit("the first spec must be valid")
    os.close(spec)
    for module in pkgutil.walk_packages(provisioner.__path__, "provisioner."):
        if module.name != "provisioner.__main__":
            importlib.import_module(module.name)
    for names in (tuple(verbs.VERBS), *((verb,) for verb in verbs.VERBS)):
        app.command_of(names)


def _become(request: dict[str, Any], standard: list[int], run: Callable[[dict[str, Any]], int]) -> None:
    """Be the command that was asked for, from its first instruction to its end; never returns."""
    status = 70
    try:
        for fd, number in zip(standard, STANDARD, strict=True):
            os.dup2(fd, number)
            os.close(fd)
        for number in request["beginning"]["closed"]:
            os.close(number)
        if request["new_session"]:
            os.setsid()
        if request["like"] is not None:
            _enter_namespaces(request["like"])
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        sys.argv[1:] = request["words"]
        for name, limit in request["beginning"]["limits"].items():
            with suppress(ValueError):  # a container may not raise it
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        if request["beginning"]["capabilities"] is not None:
            _keep_only(request["beginning"]["capabilities"])
        _open_standard_streams(request["beginning"]["closed"])
        try:
            status = run(request)
        except SystemExit as ended:  # the end of a completion, or of a module of Ansible
            status = int(ended.code or 0)
        status = _flush(status)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        os._exit(status)


def _enter_namespaces(pid: int) -> None:
    """Go to the network and mount namespaces of a process, if they are others."""
    libc = ctypes.CDLL(None, use_errno=True)
    for kind in ("net", "mnt"):
        wanted = f"/proc/{pid}/ns/{kind}"
        if os.readlink(wanted) == os.readlink(f"/proc/self/ns/{kind}"):
            continue
        with open(wanted, "rb") as namespace:
            if libc.setns(namespace.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), f"setns {wanted}")


def _keep_only(names: list[str]) -> None:
    """Have only these capabilities, and no others in the bounding set: as root does after setpriv and exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    kept = [_CAPABILITIES[name] for name in names]
    with open("/proc/sys/kernel/cap_last_cap") as last:
        dropped = set(range(int(last.read()) + 1)) - set(kept)
    for number in dropped:
        if libc.prctl(_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"PR_CAPBSET_DROP {number}")
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = (sum(1 << number % 32 for number in kept if number // 32 == half) for half in (0, 1))
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)  # effective, permitted, inheritable
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _open_standard_streams(closed: list[int]) -> None:
    """As the interpreter opens them at its start."""
    streams: dict[int, Any] = dict.fromkeys(STANDARD)
    if 0 not in closed:
        streams[0] = os.fdopen(0, closefd=False)
    if 1 not in closed:
        streams[1] = os.fdopen(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)
    if 2 not in closed:
        streams[2] = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stdin, sys.stdout, sys.stderr = streams.values()


def _flush(status: int) -> int:
    """As the interpreter does at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        return 120
    sys.stderr.flush()
    return status


def _run(request: dict[str, Any]) -> int:
    sys.argv[0] = "provisioner"
    if request["inject"] is not None:
        return _run_injected(request["inject"])
    from provisioner.__main__ import main as command

    return command()


def _run_injected(inject: dict[str, Any]) -> int:
    """With the shim counting. Fds that are left open are reported on standard error, as a traceback would be."""
    from provisioner.cli import app
    from tests.promises.raising import Raiser

    raising = inject["raising"]
    raiser = Raiser(**raising) if raising else None
    loses_values = raising.get("event") == "return"
    warnings.simplefilter("ignore" if loses_values else "always", ResourceWarning)
    shim = ctypes.CDLL(None)
    before = set(os.listdir("/proc/self/fd"))
    shim.inject_start(
        ctypes.c_long(inject["at"]),
        ctypes.c_int(inject["what"]),
        os.fsencode(inject["under"]),
        os.fsencode(inject["log"]),
        os.fsencode(inject["earlier"][0]),
        ctypes.c_long(inject["earlier"][1]),
    )
    with nullcontext() if raiser is None else raiser.raising():
        status = app.run(sys.argv[1:])
        shim.inject_stop()
    if raiser is not None:
        print("events:", raiser.count, file=sys.stderr)  # noqa: T201
    gc.collect()
    if left := set(os.listdir("/proc/self/fd")) - before:
        print("left open:", sorted(left), file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    serve(_import_all, _run)
