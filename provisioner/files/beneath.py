"""Opening a file below a directory, so that no other process can redirect it: openat2(2), and without it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

_OPENAT2: Final = 437
"""The number of the system call on all architectures but Alpha (fddb5d430ad9, Linux 5.6)."""

_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_BENEATH: Final = 0x08
_ABSENT: Final = frozenset({errno.ENOSYS, errno.EPERM})
"""What an older kernel answers, and a filter of system calls that does not know it."""

_RETRIES: Final = 16
"""How often a path is followed again if it was renamed during the lookup (EAGAIN)."""


class _OpenHow(ctypes.Structure):
    """`struct open_how`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def open_beneath(path: Path, roots: Sequence[Path], flags: int) -> int:
    """An fd of the file at `path`, which is below one of `roots`, links followed. Raises OSError: EXDEV outside."""
    resolved = Path(os.path.realpath(path, strict=True))
    root = next((root for root in roots if resolved.is_relative_to(root)), None)
    if root is None:
        raise outside(path, resolved)
    try:
        return _openat2(root, resolved.relative_to(root), flags)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise outside(path, resolved) from None
        if error.errno not in _ABSENT:
            raise
    return _open_and_look(path, root, flags)


def outside(path: Path, resolved: Path) -> OSError:
    return OSError(errno.EXDEV, f"it leads outside the project directory, to {resolved}", str(path))


def _openat2(root: Path, below: Path, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_RETRIES):
            number: int = _syscall()(_OPENAT2, directory, os.fsencode(below), ctypes.byref(how), ctypes.sizeof(how))
            if number >= 0:
                return number
            if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
                break
    finally:
        os.close(directory)
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(below))


def _syscall() -> Any:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    return function


def _open_and_look(path: Path, root: Path, flags: int) -> int:
    """The same without openat2: where a file is, once it is open, no link changes any more."""
    number = os.open(path, flags | os.O_CLOEXEC)
    opened = Path(os.readlink(f"/proc/self/fd/{number}"))
    if not opened.is_relative_to(root):
        os.close(number)
        raise outside(path, opened)
    return number
