"""Snapshots as files."""

from __future__ import annotations

import os
from datetime import datetime
from io import BytesIO
from pathlib import Path

from provisioner.files.reading import SNAPSHOT, InputFile, hint_of
from provisioner.files.writing import write_file
from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location
from provisioner.model.types import shown
from provisioner.observed.snapshot import Snapshot
from provisioner.observed.snapshot_format import from_bytes, to_bytes


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """The snapshot in a file. Raises InputError where there is none."""
    try:
        data = InputFile(Path(path), SNAPSHOT).read()
    except OSError as error:
        hint = hint_of(error, Path(path)) or "`export --snapshot FILE` writes one; `live` and `empty` are not files"
        raise InputError(
            Problem(f"can't read the snapshot: {error.strerror}", Location(str(path)), hint, id="unreadable-file")
        ) from error
    snapshot = from_bytes(data, str(path))
    try:
        taken = datetime.fromisoformat(snapshot.header.taken)
    except ValueError:
        taken = datetime.min
    if taken.tzinfo is None:
        what = f"malformed snapshot: {shown(snapshot.header.taken)} is not a time with a time zone"
        raise InputError(Problem(what, Location(str(path)), id="malformed-snapshot"))
    return snapshot


def write_snapshot(path: str | os.PathLike[str] | BytesIO, snapshot: Snapshot) -> None:
    """Put a snapshot into a file that only its owner can read, in the place of what is there. Raises InputError."""
    if isinstance(path, BytesIO):
        path.write(to_bytes(snapshot))
        return
    try:
        write_file(Path(path), to_bytes(snapshot))
    except OSError as error:
        raise InputError(
            Problem(f"can't write the snapshot: {error.strerror}", Location(str(path)), id="write-failed")
        ) from error
