"""Every file that a user names is opened here: a regular file, not larger than its kind may be.

A FIFO would block, a device may never end, and opening one can have effects. `-` is standard input, with the limit of
its kind. Files of the kernel (/proc, /sys) are read where they are known.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
VARIABLE: Final = "PROVISIONER_MAX_FILE_BYTES"
"""The environment variable that replaces all limits."""

_NUMBER: Final = re.compile("[0-9]{1,18}")
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OTHERS: Final = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class FileKind(msgspec.Struct, frozen=True):
    """A kind of file, in the plural, and the most bytes that one may have."""

    name: str
    most: int

    @property
    def limit(self) -> int:
        """The limit in force: the environment's, where it is a number."""
        given = os.environ.get(VARIABLE, "")
        return int(given) if _NUMBER.fullmatch(given) else self.most


SPEC: Final = FileKind("spec files", 2 * _GIB)
TABLE: Final = FileKind("tables", 64 * _GIB)
VALUE: Final = FileKind("raw values", _GIB)
OBJECT: Final = FileKind("object files", 256 * _MIB)
SNAPSHOT: Final = FileKind("snapshots", 4 * _GIB)
PLAN: Final = FileKind("saved plans", 256 * _MIB)
POINTER: Final = FileKind("files of Git", 64 * 1024)


class InputFile(msgspec.Struct, frozen=True):
    """A file to read. Where `roots` are given, it must be below one of them, links followed, when it is opened."""

    path: Path
    kind: FileKind
    roots: tuple[Path, ...] | None = None

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> BinaryIO:
        """The file, opened for reading. Raises OSError, whose `strerror` says what is wrong with it."""
        _check(os.stat(self.path), self)  # a device is not opened at all
        if self.roots is None:
            number = os.open(self.path, _FLAGS)
        else:
            from provisioner.files.beneath import open_beneath  # a snapshot and a plan need no ctypes

            number = open_beneath(self.path, self.roots, _FLAGS)
        try:
            _check(os.fstat(number), self)
            if not os.fstat(number).st_size and os.pread(number, 1, 0):
                raise OSError(errno.EINVAL, "it does not have a size: it is a file of the kernel", str(self.path))
            return os.fdopen(number, "rb")
        except BaseException:
            os.close(number)
            raise

    def read(self) -> bytes:
        """All of the file. Raises OSError."""
        with self.open() as stream:
            return read_limited(stream, self.kind)


def hint_of(error: OSError, path: Path) -> str:
    """What to do where a file could not be read for want of permission, or as a link; empty for other errors."""
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"it is a link to {os.readlink(path)}, which does not exist"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return ""
    return f"check the owner and mode of the file and of its directories: `namei -l {shlex.quote(str(path))}`"


def read_limited(stream: BinaryIO, kind: FileKind) -> bytes:
    """The rest of a stream, such as standard input, which ends where too much comes. Raises OSError."""
    data = stream.read(kind.limit + 1)
    if len(data) > kind.limit:
        raise _too_large(f"it has more than {kind.limit:,} bytes", kind, str(getattr(stream, "name", "")))
    return data


def _check(status: os.stat_result, file: InputFile) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = _OTHERS.get(stat.S_IFMT(status.st_mode), "special file")
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(number, f"it is a {what}, not a regular file", str(file.path))
    if status.st_size > file.kind.limit:
        raise _too_large(f"it has {status.st_size:,} bytes", file.kind, str(file.path))


def _too_large(what: str, kind: FileKind, name: str) -> OSError:
    limit = f"the limit for {kind.name} is {kind.limit:,}"
    return OSError(errno.EFBIG, f"{what}, {limit} (set {VARIABLE} to read it)", name)
