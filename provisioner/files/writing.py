"""Every file that a user names for output is written here: it appears whole under its name, for its owner only.

The file is written in the same directory under a random name, and renamed. So no link is followed: root may
write into a directory of another user. Devices, pipes and open files (/dev/stdout) are written to as they are, unless
a link of another user leads to them.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_MODE: Final = 0o600


def write_file(path: Path, data: bytes, mode: int = _MODE) -> None:
    """Put `data` into a file, in the place of what is there. Raises OSError; then what was there is there still."""
    if _is_written_to(path):
        number = os.open(path, _OLD)  # a FIFO that no process reads would block
        os.set_blocking(number, True)
        _write_into(number, data)
        return
    temporary = path.with_name(f".provisioner-{os.urandom(8).hex()}")
    number = os.open(temporary, _NEW, _MODE)
    try:
        os.fchmod(number, mode)
        _write_into(number, data, sync=True)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_new(path: Path, data: bytes) -> None:
    """Put `data` into a file that is not there yet. Raises OSError; then it is not there either, unless it was."""
    number = os.open(path, _NEW, 0o666)
    try:
        _write_into(number, data)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def _is_written_to(path: Path) -> bool:
    """Whether a rename cannot replace it: a device, a pipe, a directory, an open file of a process."""
    try:
        link, status = os.lstat(path), os.stat(path)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        return False
    return not stat.S_ISREG(status.st_mode) or _is_open_file(path)


def _is_open_file(path: Path) -> bool:
    """Whether it is a file by the number of its fd, such as /dev/stdout and /dev/fd/3."""
    named = os.path.join(os.path.realpath(path.parent), path.name)
    while os.path.islink(named) and not named.startswith("/proc/"):
        if not named.startswith("/dev/"):  # a link elsewhere is replaced
            return False
        named = os.path.join(os.path.dirname(named), os.readlink(named))
    return named.startswith("/proc/")


def _write_into(number: int, data: bytes, *, sync: bool = False) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(number, rest) :]
        if sync:
            os.fsync(number)
    finally:
        os.close(number)
