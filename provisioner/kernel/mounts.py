"""Where a bpffs is mounted, from mountinfo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def mounts() -> tuple[str, ...]:
    """Where a bpffs is mounted, in the order of the mounts."""
    return tuple(fields[4] for fields, kind in _mounted() if kind == "bpf")


def file_system(path: Path) -> str:
    """The type of the file system that `path` is on, by its device number."""
    number = device(path.stat())
    # To the end: what is raised while Python closes a generator that was left in the middle is lost.
    kinds = [kind for fields, kind in _mounted() if fields[2] == number]
    return kinds[0] if kinds else ""


def bpf_devices() -> frozenset[str]:
    """The device numbers of all mounted bpffs, as `device` gives them."""
    return frozenset(fields[2] for fields, kind in _mounted() if kind == "bpf")


def device(status: os.stat_result) -> str:
    """A device number as mountinfo has it: `0:35`."""
    return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"


def _mounted() -> Iterator[tuple[list[str], str]]:
    """Each mount: the fields of its line before the type, and the type."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, source = line.partition(" - ")
        yield fields.split(), source.split()[0]
