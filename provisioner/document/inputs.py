"""Which files a project was read from, and whether they are still as they were.

Each file and folder is stamped before it is read. If all stamps are the same afterwards, then what was read is what
stood there at one moment: no file was half written, and no two files come from different commits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from provisioner.files.reading import POINTER, InputFile

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and of the last change, in nanoseconds; links are followed."""

Stamps = tuple[Stamp | None, ...]
"""One for each input, in order; None for what is not there."""


def stamp(path: Path) -> Stamp | None:
    """What tells one state of a file or folder from the next; None where there is nothing to be read."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Inputs:
    """The files and folders that a project was read from, each with the stamp it had before it was."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[Path, Stamp | None] = {}

    def __iter__(self) -> Iterator[Path]:
        return iter(self._noted)

    def note(self, path: Path) -> None:
        """To be called before `path` is read; what is read twice is held to the first time."""
        if path not in self._noted:
            self._noted[path] = stamp(path)

    @property
    def noted(self) -> Stamps:
        """As it was when each was read."""
        return tuple(self._noted.values())

    def now(self) -> Stamps:
        """As it is now."""
        return tuple(stamp(path) for path in self._noted)


def checkout_locks(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The lock files that Git holds while it changes the work trees that `paths`, links followed, are in."""
    folders = {folder for path in paths for folder in Path(os.path.realpath(path)).parents}
    found = {lock for folder in folders if (lock := _checkout_lock(folder)) is not None}
    return tuple(sorted(found))


def _checkout_lock(folder: Path) -> Path | None:
    """The lock of the work tree that `folder` is the top of; None if it is no such top."""
    git = folder / ".git"
    if os.path.isdir(git):
        return git / "index.lock"
    try:
        # A linked work tree has a file there, which names the folder of its own that Git keeps.
        word, _, place = os.fsdecode(InputFile(git, POINTER).read()).partition(":")
    except OSError:
        return None
    return folder / place.strip() / "index.lock" if word == "gitdir" else None
