"""Snapshots as files, and what people are told of one."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from provisioner.errors import InputError, Problem
from provisioner.location import Location
from provisioner.snapshot import Header, Snapshot, from_bytes, to_bytes
from provisioner.words import plural

_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def read(path: Path) -> Snapshot:
    """The snapshot in a file. Raises InputError where there is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "`export --snapshot FILE` writes one; `live` and `empty` stand for themselves"
        raise InputError(Problem(f"can't read the snapshot: {error.strerror}", Location(str(path)), hint)) from error
    return from_bytes(data, str(path))


def write(path: Path, snapshot: Snapshot) -> None:
    """Put a snapshot into a file, in the place of what is there, by one rename. Raises InputError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(to_bytes(snapshot))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(Problem(f"can't write the snapshot: {error.strerror}", Location(str(path)))) from error


def about(header: Header) -> str:
    """Whose state it is, and how old."""
    return f"Against a snapshot of {header.host} (Linux {header.kernel}), taken {header.taken}, {_age(header.taken)}."


def _age(taken: str) -> str:
    """`3 hours old`, in the largest unit that is not zero."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(taken)).total_seconds()
    if seconds < 0:
        return "by a clock that is ahead of this one"
    count, unit = next(((int(seconds // size), name) for name, size in _UNITS if seconds >= size), (0, "second"))
    return f"{plural(count, unit)} old"
