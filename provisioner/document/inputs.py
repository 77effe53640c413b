"""The files that a project was read from, and whether they have changed.

The stamp of each file and directory is taken before it is read. If all stamps are the same afterwards, all contents are
of one moment: no file was half written, and no two files are of different commits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from provisioner.files.reading import POINTER, InputFile

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and of the last change, in nanoseconds; links are followed."""

Stamps = tuple[Stamp | None, ...]
"""One for each input, in order; None for a missing one."""


def stamp(path: Path) -> Stamp | None:
    """Changes when a file or directory changes; None if it cannot be read."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Inputs:
    """The files and directories that a project was read from, each with its stamp before it was read."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[Path, Stamp | None] = {}

    def __iter__(self) -> Iterator[Path]:
        return iter(self._noted)

    def note(self, path: Path) -> None:
        """Record the stamp of `path`. Call it before each read; only the first call has an effect."""
        if path not in self._noted:
            self._noted[path] = stamp(path)

    @property
    def noted(self) -> Stamps:
        """The stamps at the time of reading."""
        return tuple(self._noted.values())

    def now(self) -> Stamps:
        """The stamps now."""
        return tuple(stamp(path) for path in self._noted)


def checkout_locks(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The lock files of Git for the work trees of `paths`, links followed: Git holds them while it changes files."""
    directories = {parent for path in paths for parent in Path(os.path.realpath(path)).parents}
    return tuple(sorted({lock for each in directories if (lock := _checkout_lock(each)) is not None}))


def _checkout_lock(directory: Path) -> Path | None:
    """The lock of the work tree whose top is `directory`; None if it is not the top of one."""
    git = directory / ".git"
    if os.path.isdir(git):
        return git / "index.lock"
    try:
        # In a linked work tree `.git` is a file that names the directory of this work tree.
        word, _, place = os.fsdecode(InputFile(git, POINTER).read()).partition(":")
    except OSError:
        return None
    return directory / place.strip() / "index.lock" if word == "gitdir" else None
