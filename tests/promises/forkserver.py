"""The command line with all its imports done, forked once for each run: what a sweep of hundreds of runs can afford.

Run with the shim preloaded. Each line of standard input is a request, answered on standard output by the child's number
and wait status: one line each time that it stops, and one for its end. Before it, nothing has touched the kernel, so
that a child begins as a new process does.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import warnings
from typing import Any, Final

_STOPPED: Final = 0x7F
"""A wait status, as of a process that stopped."""


def main() -> None:
    """Serve until standard input ends. The arguments are a spec, read once to have everything imported."""
    answers = os.fdopen(os.dup(1), "w")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    _import_all(sys.argv[1:])
    gc.collect()
    gc.freeze()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        status = _STOPPED
        while os.WIFSTOPPED(status):
            _, status = os.waitpid(child, os.WUNTRACED)
            answers.write(f"{child} {status}\n")
            answers.flush()


def _import_all(arguments: list[str]) -> None:
    from provisioner.apply import run as _run  # noqa: F401
    from provisioner.cli import app
    from provisioner.cli import carry_out as _carry_out  # noqa: F401
    from provisioner.report import jsondoc as _jsondoc  # noqa: F401

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    if app.run(["validate", "--allow-outside", *arguments]) != 0:
        sys.exit("the first spec must be valid")


def _child(request: dict[str, Any]) -> None:
    """One run; never returns. Fds that are left open are told on standard error, as a traceback would be."""
    from provisioner.cli import app

    status = 70
    try:
        for number, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
            target = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(target, number)
            os.close(target)
        warnings.simplefilter("always", ResourceWarning)
        shim = ctypes.CDLL(None)
        before = set(os.listdir("/proc/self/fd"))
        shim.inject_start(
            ctypes.c_long(request["at"]),
            ctypes.c_int(request["what"]),
            os.fsencode(request["under"]),
            os.fsencode(request["log"]),
            ctypes.c_long(request["earlier"]),
        )
        status = app.run(request["words"])
        shim.inject_stop()
        sys.stdout.flush()
        gc.collect()
        left = set(os.listdir("/proc/self/fd")) - before
        if left:
            print("left open:", sorted(left), file=sys.stderr)  # noqa: T201
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
