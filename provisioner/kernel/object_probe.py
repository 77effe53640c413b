"""Whether libbpf survives an object: a child process opens it first, so that a crash of libbpf is a message.

`object_check` refuses what is known to harm libbpf; this is for what is not known. A fork costs some 2 ms, once for
each object of a process. The child calls libbpf and exits, and needs no lock that another thread may hold: malloc works
after fork(2) in glibc and musl.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import Final, NoReturn

from provisioner.kernel import binding, libbpf, structures
from provisioner.kernel.reasons import KernelError

_DONE: Final = b"done"
_SECONDS: Final = 10
"""Of CPU time: an object that libbpf reads without end is one that it does not survive."""

_CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
_OTHERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that are for the parent."""


def survives(data: bytes) -> bool:
    """Whether a child process that opens this object comes to an end by itself; true where no child can be had."""
    libbpf.version()  # so that the child loads no library
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(read_end, "rb") as answer:
        try:
            child = os.fork()
        except OSError:  # a limit on processes
            os.close(write_end)
            return True
        if child == 0:
            _open_and_exit(data, write_end)
        os.close(write_end)
        is_done = answer.read() == _DONE
    with suppress(ChildProcessError):  # who embeds us may ignore SIGCHLD
        os.waitpid(child, 0)
    return is_done


def _open_and_exit(data: bytes, write_end: int) -> NoReturn:
    try:
        _be_quiet()
        with suppress(KernelError), binding.captured_log():
            libbpf.object_close(
                libbpf.object_open_mem(data, len(data), structures.ObjectOpenOptions(object_name=b"probe"))
            )
        os.write(write_end, _DONE)
    finally:
        os._exit(0)


def _be_quiet() -> None:
    """No core file, no traceback, no output, an end in any case."""
    for number in _CRASHES:
        signal.signal(number, signal.SIG_DFL)
    for number in _OTHERS:
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    core = 1 if most else 0  # a limit of 1 also stops core_pattern's programs: do_coredump, fs/coredump.c
    resource.setrlimit(resource.RLIMIT_CORE, (core, most))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    if most == resource.RLIM_INFINITY or most > _SECONDS:
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
