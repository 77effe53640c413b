"""The maps, programs and links that this test process and its children create: ids as a preloaded library records them.

Other processes of the machine create objects too. What they create is not in the record, and is not the tests' concern.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from provisioner.kernel import libbpf, structures
from provisioner.kernel.reasons import KernelError
from provisioner.model.uapi import Command
from tests import preload

Created = tuple[str, int]
"""Kind and id of an object: ("map", 12)."""

KINDS: Final = {Command.MAP_CREATE: "map", Command.PROG_LOAD: "prog", Command.LINK_CREATE: "link"}
_NEXT_ID: Final = {
    "map": libbpf.map_get_next_id,
    "prog": libbpf.prog_get_next_id,
    "link": libbpf.link_get_next_id,
}
CAPACITY: Final = 1 << 21
"""Entries in the ring: more than a test creates between two looks."""

_SOURCE: Final = Path(__file__).with_name("recorder.c")
_BYTECODE: Final = Path(__file__).parents[1] / "build" / "bytecode"
_VARIABLE: Final = "BPF_RECORD"


def restart_under(config: pytest.Config) -> None:
    """Replace this process by the same command with the recorder preloaded; returns if it is preloaded already.

    A library can only be preloaded at the start of a program. Workers of pytest-xdist inherit it.
    """
    if hasattr(ctypes.CDLL(None), "recorder_start"):
        return
    library = preload.build(_SOURCE)
    if str(library) in os.environ.get("LD_PRELOAD", ""):
        raise pytest.UsageError(f"{library} cannot be preloaded")
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)  # standard output is the terminal's again
    # OpenBLAS is not used: its threads spin for a tenth of a second where NumPy is imported. The command sets it too.
    environment = os.environ | preload.variables(library) | {"OPENBLAS_NUM_THREADS": "1"}
    if sys.dont_write_bytecode:
        # Else each worker and each of hundreds of commands compiles every module at its start.
        environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(_BYTECODE)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


_words = np.zeros(1, np.uint64)
"""The record: the count, then the ring of entries."""

_read = 0
"""How many entries were read so far."""

_alive: dict[int, Created] = {}
"""Objects that were alive at the last look, by their place in the record. No id is used again."""


def start(path: Path) -> None:
    """Begin to record this process, and the children that it starts from now on, in the file `path`."""
    global _words
    with path.open("wb") as file:
        file.truncate(_words.itemsize * (1 + CAPACITY))
    path.chmod(0o666)  # for children that run as another user
    if ctypes.CDLL(None, use_errno=True).recorder_start(os.fsencode(path)) != 0:
        raise OSError(ctypes.get_errno(), f"cannot record into {path}")
    with path.open("rb") as file:
        _words = np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), np.uint64)
    os.environ[_VARIABLE] = str(path)


def count() -> int:
    """How many objects were created so far: a mark for `alive`."""
    return int(_words[0])


def alive(mark: int) -> frozenset[Created]:
    """The objects that were created after `count` gave `mark` and that the kernel still has."""
    global _read
    end = count()
    assert end - _read <= CAPACITY, "the record is too short for this test"
    places = np.arange(_read, end)
    for place, entry in zip(places.tolist(), _words[1:][places % CAPACITY].tolist(), strict=True):
        if entry:  # a process that was killed right then has not filled its place
            _alive[place] = (KINDS[Command(entry >> 32)], entry & 0xFFFF_FFFF)
    _read = end
    for place, (kind, number) in list(_alive.items()):
        if not exists(kind, number):
            del _alive[place]
    return frozenset(created for place, created in _alive.items() if place >= mark)


def exists(kind: str, number: int) -> bool:
    """Whether an id is in use: a look at the kernel's list that takes no reference."""
    following = structures.Counter()
    try:
        _NEXT_ID[kind](number - 1, following)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    return following.value == number
