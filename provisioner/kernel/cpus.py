"""CPUs by their numbers, and work that is done on a certain one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DIRECTORY: Final = Path("/sys/devices/system/cpu")


def possible(path: Path = _DIRECTORY / "possible") -> list[int]:
    """The numbers of possible CPUs, in the order in which the kernel copies their values: `0-3,8` are five."""
    return _numbers(path)


def online() -> list[int]:
    """The numbers of CPUs that run now."""
    return _numbers(_DIRECTORY / "online")


@contextmanager
def running_on(cpu: int) -> Iterator[bool]:
    """Have this thread run on one CPU; False where it may not, or where the CPU is offline."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


def reaches_all() -> bool:
    """Whether this thread may run on every CPU that is online: a cpuset can keep it from some."""
    for cpu in online():
        with running_on(cpu) as runs:
            if not runs:
                return False
    return True


def _numbers(path: Path) -> list[int]:
    numbers: list[int] = []
    for part in path.read_text(encoding="ascii").strip().split(","):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers
