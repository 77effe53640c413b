"""Which names the BTF of this kernel and its modules has."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_BTF = Path("/sys/kernel/btf")


def unknown_names(names: Iterable[str]) -> frozenset[str]:
    """The names that are in no BTF of this kernel; none of them if it has no BTF, or nobody may read it."""
    unknown = frozenset(names)
    if not unknown:
        return unknown
    try:
        files = sorted(_BTF.iterdir())
        unknown = _not_in((_BTF / "vmlinux").read_bytes(), unknown)
    except OSError:
        return frozenset()
    for file in files:
        if unknown and file.name != "vmlinux":
            with suppress(OSError):  # a module that was removed
                unknown = _not_in(file.read_bytes(), unknown)
    return unknown


def _not_in(btf: bytes, names: frozenset[str]) -> frozenset[str]:
    """The names that are not whole strings of some BTF."""
    return frozenset(name for name in names if b"\0%b\0" % name.encode() not in btf)
