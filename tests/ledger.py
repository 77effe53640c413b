"""What a test leaves behind fails it: fds and pins of this process, and what it and its children created in the kernel.

Only what is ours counts, so that other processes of the machine may create and remove maps meanwhile.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.reasons import KernelError
from tests import recorder

PATIENCE: Final = 15.0
"""Seconds that the kernel has to free what nothing holds any more: it does so after grace periods."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Open fds with what they refer to, the pins on our own bpffs, and how many objects were created so far."""

    fds: dict[int, str]
    pins: frozenset[str]
    created: int


def take(mount: Path) -> Ledger:
    """The state at this moment."""
    return Ledger(open_fds(), frozenset(str(path) for path in mount.rglob("*")), recorder.count())


def open_fds() -> dict[int, str]:
    """This process' fds, and what `/proc` says they refer to; without the standard three, which pytest exchanges."""
    fds: dict[int, str] = {}
    for name in set(os.listdir("/proc/self/fd")) - {"0", "1", "2"}:
        try:
            fds[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the fd that listed the directory
            continue
    return fds


def left_over(before: Ledger, mount: Path, patience: float = PATIENCE) -> list[str]:
    """What exists that did not exist before, once the kernel had time to free it; empty if all is well."""
    deadline = time.monotonic() + patience
    while _difference(before, mount) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [_words(each) for each in _difference(before, mount)]


def new_maps(mark: int, count: int, patience: float = PATIENCE) -> set[InnerId]:
    """The maps that were created since `recorder.count` gave `mark` and are alive.

    The kernel has time to free all but `count` of them. It frees a map after the last program or outer map that refers
    to it, which is after grace periods.
    """
    deadline = time.monotonic() + patience
    while len(alive := _maps(mark)) != count and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _maps(mark: int) -> set[InnerId]:
    return {InnerId(number) for kind, number in recorder.alive(mark) if kind == "map"}


def _difference(before: Ledger, mount: Path) -> list[str | recorder.Created]:
    """What is left, without opening it: a look must not hold what the kernel is about to free."""
    now = take(mount)
    fds: list[str | recorder.Created] = [
        f"fd {fd}: {target}" for fd, target in now.fds.items() if before.fds.get(fd) != target
    ]
    pins = [f"pin {path}" for path in sorted(now.pins - before.pins)]
    return [*fds, *pins, *sorted(recorder.alive(before.created))]


def _words(left: str | recorder.Created) -> str:
    """An object as the test can be searched for it: a map also by its name."""
    if isinstance(left, str):
        return left
    kind, number = left
    if kind != "map":
        return f"{kind} id {number}"
    try:
        with maps.open_id(InnerId(number)) as fd:
            info = maps.info(fd)
    except KernelError:
        return f"map id {number} (freed by now)"
    return f"map id {number} ({info.shape.map_type.word} `{info.name}`)"
