"""Snapshots as files."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from provisioner.files.reading import SNAPSHOT, InputFile
from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location
from provisioner.model.types import shown
from provisioner.observed.snapshot import Snapshot
from provisioner.observed.snapshot_format import from_bytes, to_bytes


def read_snapshot(path: Path) -> Snapshot:
    """The snapshot in a file. Raises InputError where there is none."""
    try:
        data = InputFile(path, SNAPSHOT).read()
    except OSError as error:
        hint = "`export --snapshot FILE` writes one; `live` and `empty` stand for themselves"
        raise InputError(Problem(f"can't read the snapshot: {error.strerror}", Location(str(path)), hint)) from error
    snapshot = from_bytes(data, str(path))
    try:
        taken = datetime.fromisoformat(snapshot.header.taken)
    except ValueError:
        taken = datetime.min
    if taken.tzinfo is None:
        what = f"malformed snapshot: {shown(snapshot.header.taken)} is not a time with a time zone"
        raise InputError(Problem(what, Location(str(path))))
    return snapshot


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Put a snapshot into a file, in the place of what is there, by one rename; or into a device. Raises InputError."""
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    data = to_bytes(snapshot)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(Problem(f"can't write the snapshot: {error.strerror}", Location(str(path)))) from error
