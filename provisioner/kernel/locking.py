"""One writer: a lock that dies with the process, on a directory that only a writer can open.

Every process that can open a file or directory can lock it by flock(2), also read-only. The pin root is open to the
readers that `pin_mode` allows, so the lock is on `_lock` in it, a directory of mode 0700. A bpffs has no regular files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from provisioner.kernel import bpffs
from provisioner.kernel.host import privilege_hint
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.trust import link_problem
from provisioner.model.errors import HostError, LockedError, Problem, RefusedError
from provisioner.model.pins import LOCK, META_PIN

_POLL_SECONDS: Final = 0.02
_REMOVALS: Final = 100
"""How often a directory may be gone in a row: each time, another writer has come to its end."""


class Lock:
    """A lock that is held. `keeps` says that its directory stays: a lock that changed nothing leaves no trace."""

    def __init__(self, directory: Path, number: int, keeps: bool) -> None:
        self.directory = directory
        self.keeps = keeps
        self._number = number
        self._place = bpffs.place(directory)
        self._mount = bpffs.mount_of(directory)

    def explain(self, error: HostError | RefusedError) -> HostError | None:
        """The error if the directory was lost while the lock was held; None if not, or if we removed or renamed it."""
        if not os.fstat(self._number).st_nlink or self._was_renamed():
            return None
        try:
            bpffs.require_place(self.directory, self._place)
        except HostError as lost:  # this is the reason; what a pin was found to be says nothing
            also = error.problems if isinstance(error, HostError) else ()
            return HostError(*dict.fromkeys((*lost.problems, *also)))
        return None

    def _was_renamed(self) -> bool:
        """Whether the directory has another name in its mount. Where a mount was moved, the name is the same."""
        try:
            name = Path(os.readlink(f"/proc/self/fd/{self._number}"))
        except OSError:
            return False
        return name.parent != self.directory and bpffs.mount_of(name) == self._mount and _is_at(self._number, name)

    def remove_directory(self) -> None:
        """Remove the directory that is locked, unless that is done already."""
        if _is_at(self._number, self.directory / LOCK):
            remove_locked(self.directory)

    def release(self) -> None:
        """Remove the directory of the lock unless it is to stay, then unlock: who waits looks whether it is there."""
        try:
            if not self.keeps and _is_at(self._number, self.directory / LOCK):
                with suppress(OSError):
                    (self.directory / LOCK).rmdir()
        finally:
            os.close(self._number)


@contextmanager
def lock(directory: Path, timeout: float = 0.0, *, create: bool = False) -> Iterator[Lock]:
    """Hold the one lock of a directory, which dies with the process; wait `timeout` seconds for it.

    `create` creates the directory, also if the holder removed it. Raises `LockedError`, which names the holder, and
    `HostError` if the directory is missing, or was lost while the lock was held.
    """
    held = _wait(directory, timeout, create)
    try:
        yield held
    except (HostError, RefusedError) as error:
        lost = held.explain(error)
        if lost is not None:
            raise lost from error
        raise
    finally:
        held.release()


def remove_locked(directory: Path) -> None:
    """Remove an empty directory that we hold the lock of. One that does not exist is not an error.

    A waiting process can lock it between the two calls: then it stays for that process, which can be done by the time
    that we look.
    """
    bpffs.remove_dir(directory / LOCK)
    try:
        bpffs.remove_dir(directory)
    except KernelError as error:
        if error.errno != errno.ENOTEMPTY or bpffs.list_pins(directory) or {*bpffs.list_folders(directory)} - {LOCK}:
            raise


def _wait(directory: Path, timeout: float, create: bool) -> Lock:
    """The lock, once it is free."""
    deadline = time.monotonic() + timeout
    removals = 0
    while True:
        try:
            held = _try_lock(directory, create)
        except _RemovedError:
            removals += 1
            if removals == _REMOVALS:
                raise
            continue
        if held is not None:
            return held
        if time.monotonic() >= deadline:
            what, hint = _holder(directory / LOCK)
            raise LockedError(Problem(what, None, hint, str(directory), id="locked"))
        time.sleep(_POLL_SECONDS)


class _RemovedError(KernelError):
    """The holder removed one of the directories between two of our steps: try again."""


def _try_lock(directory: Path, create: bool) -> Lock | None:
    """The lock, or None if another process holds it. Raises `_RemovedError` where it did, and removed the directory."""
    path = directory / LOCK
    if directory.is_symlink():
        raise RefusedError(link_problem(directory))
    try:
        if create:
            bpffs.ensure_dir(directory)
        is_new = _make(path)
        number = bpffs.call("open", path, lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
    except KernelError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise HostError(_not_a_writer(directory)) from error
        is_gone = error.errno in (errno.ENOENT, errno.EEXIST) and not _is_something_else(directory)
        if is_gone and (create or directory.is_dir()):
            raise _RemovedError(error.operation, error.errno, name=error.name) from error
        raise
    try:
        _require_ours(path, number)
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us may have removed it: then this is the lock of a directory that has no name.
        if not _is_at(number, path):
            raise _RemovedError("open", errno.ENOENT, name=str(path))
        return Lock(directory, number, keeps=not is_new or (directory / META_PIN).exists())
    except BlockingIOError:
        os.close(number)
        return None
    except BaseException:
        os.close(number)
        raise


def _not_a_writer(directory: Path) -> Problem:
    what = "the project cannot be locked: only the owner of its pin root, or root, can change it"
    return Problem(
        what, None, privilege_hint() or "run as the owner of the pin root", str(directory), id="access-denied"
    )


def _is_at(number: int, path: Path) -> bool:
    """Whether a path leads to what an fd holds."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _make(path: Path) -> bool:
    """Make the directory of a lock; whether it was missing. No call that changes anything if it is there."""
    if bpffs.call("stat", path, path.is_dir):
        return False
    try:
        bpffs.call("mkdir", path, lambda: path.mkdir(mode=0o700))
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def _require_ours(path: Path, number: int) -> None:
    """Raise `RefusedError` where another user made the directory of the lock, and can hold it."""
    status = os.fstat(number)
    if status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    what = f"lock directory is owned by user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}"
    hint = f"only its owner may open it; if no process holds it, remove it: `rmdir {path}`"
    raise RefusedError(Problem(what, None, hint, str(path), id="lock-directory"))


def _is_something_else(directory: Path) -> bool:
    """Whether its name is taken by something other than a directory. One call: it can change between two calls."""
    try:
        return not stat.S_ISDIR(directory.stat().st_mode)
    except FileNotFoundError:
        return False


def _holder(path: Path) -> tuple[str, str]:
    """Who holds a lock, from /proc/locks, and what to do. An fd that was inherited holds it after its process ended."""
    hint = "wait for it to end, then try again"
    try:
        status = path.stat()
        inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        lines = map(str.split, Path("/proc/locks").read_text(encoding="utf-8").splitlines())
        owner = next((fields[4] for fields in lines if fields[1] == "FLOCK" and fields[5] == inode), "")
        if not owner or (command := _command(owner)):
            return (f"locked by process {owner} ({command})" if owner else "locked by a process that just ended"), hint
        heirs = [each for each in _processes() if _has_open(each, status)]
        if heirs:
            named = ", ".join(f"process {each} ({_command(each)})" for each in heirs[:5])
            return f"locked by {named}, which inherited the lock of process {owner}", f"stop it: `kill {heirs[0]}`"
    except OSError:
        pass
    return "locked by a process that is not visible from here, such as one in a container", hint


def _processes() -> list[str]:
    return sorted((each.name for each in Path("/proc").iterdir() if each.name.isdecimal()), key=int)


def _command(process: str) -> str:
    """The command line of a process; empty if it has ended or is not visible."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        return ""
    return words.decode(errors="replace")[:200]


def _has_open(process: str, status: os.stat_result) -> bool:
    try:
        return any(os.path.samestat(each.stat(), status) for each in Path(f"/proc/{process}/fd").iterdir())
    except OSError:  # it ended, or is another user's
        return False
