"""Pins: names on a bpffs that hold maps, programs and links; and the lock on a project's folder of them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from provisioner.kernel import libbpf
from provisioner.kernel.fd import Fd, LinkFd, MapFd, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.access import AS_MADE, Access
from provisioner.model.errors import HostError, LockedError, Problem, RefusedError
from provisioner.model.uapi import MapFlag

TEMPORARY: Final = "_tmp-"
"""What the name of a pin begins with that only a killed process leaves behind."""

_KINDS: Final[dict[str, type[MapFd | ProgramFd | LinkFd]]] = {
    "anon_inode:bpf-map": MapFd,
    "anon_inode:bpf-prog": ProgramFd,
    "anon_inode:bpf_link": LinkFd,
    "anon_inode:bpf-link": LinkFd,
}
_WORDS: Final[dict[type[Fd], str]] = {MapFd: "map", ProgramFd: "program", LinkFd: "link"}
_POLL_SECONDS: Final = 0.02

Kind = TypeVar("Kind", MapFd, ProgramFd, LinkFd)
Answer = TypeVar("Answer")


def check(pin_root: Path) -> None:
    """Raise `HostError` unless `pin_root` is, or could be made, a folder below the mount of a bpffs. Writes nothing.

    The mount itself will not do: the kernel keeps files of its own there that cannot be removed.
    """
    # Linux 5.10 refuses to even look up a name with a `.`
    nearest = next(path for path in (pin_root, *pin_root.absolute().parents) if _os_call("stat", path, path.exists))
    if _file_system(nearest) != "bpf":
        raise HostError(
            Problem(
                "this path is not on a bpffs", hint="mount one: `mount -t bpf bpf /sys/fs/bpf`", address=str(pin_root)
            )
        )
    if pin_root.exists() and os.path.ismount(pin_root):
        raise HostError(
            Problem(
                "this is the mount of a bpffs itself, which a project cannot own",
                hint=f"use a folder in it, such as {pin_root / 'edge'}",
                address=str(pin_root),
            )
        )
    if nearest.absolute() == pin_root.absolute() and not nearest.is_dir():
        raise HostError(Problem("this is a pin, not a folder", address=str(pin_root)))


def place(directory: Path) -> tuple[int, int] | None:
    """Which folder a path leads to: the numbers of its file system and inode; None for none."""
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def require_place(directory: Path, before: tuple[int, int] | None) -> None:
    """Raise `HostError` where a path does not lead to the folder any more that it led to `before`, or never did."""
    if before is not None and place(directory) == before:
        return
    check(directory)
    what = "this is not the folder any more that was locked: a bpffs was unmounted, moved, or mounted over it"
    raise HostError(Problem(what, hint="look at it with `findmnt`; then run it again", address=str(directory)))


def mounts() -> tuple[str, ...]:
    """Where a bpffs is mounted, in the order of the mounts."""
    return tuple(fields[4] for fields, kind in _mounted() if kind == "bpf")


def _file_system(path: Path) -> str:
    """The type of the file system that `path` is on, by its device number in mountinfo."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((kind for fields, kind in _mounted() if fields[2] == number), "")


def _mounted() -> Iterator[tuple[list[str], str]]:
    """Each mount: the fields of its line in mountinfo that come before the type, and the type."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, source = line.partition(" - ")
        yield fields.split(), source.split()[0]


def walk_pins() -> Iterator[Path]:
    """Every file on every bpffs, in the order of names. Not all are pins: iterators are among them."""
    for mount in mounts():
        for folder, folders, files in os.walk(mount):
            folders.sort()
            yield from (Path(folder) / name for name in sorted(files))


def pin_name(name: str) -> str:
    """`name` as a bpffs takes it: without `.`, as libbpf names the pins of maps such as `router.rodata`."""
    return name.replace(".", "_")


def ensure_dir(path: Path, access: Access = AS_MADE) -> None:
    """Make the folder `path`, and those above it that are missing; no call that changes anything if it is there."""
    if not _os_call("stat", path, path.is_dir):
        _os_call("mkdir", path, lambda: path.mkdir(mode=0o755, parents=True, exist_ok=True))
        set_access(path, access.of_folders)


def pin(fd: Fd, path: Path, access: Access = AS_MADE) -> None:
    """Pin what `fd` holds. Raises `KernelError`, with EEXIST if the name is taken."""
    try:
        libbpf.obj_pin(fd.number, os.fsencode(path))
    except KernelError as error:
        raise error.about(str(path)) from None
    try:
        set_access(path, access)
    except KernelError:
        unpin(path)
        raise


def access(path: Path) -> Access:
    """Who may open a pin, or enter a folder."""
    status = _os_call("stat", path, path.stat)
    return Access(stat.S_IMODE(status.st_mode), status.st_gid)


def set_access(path: Path, access: Access) -> None:
    """Give a pin or folder its group, then its mode: a new pin is its owner's alone until then."""
    gid, mode = access.gid, access.mode
    if gid is not None:
        _os_call("chown", path, lambda: os.chown(path, -1, gid))
    if mode is not None:
        _os_call("chmod", path, lambda: path.chmod(mode))


def pin_replace(fd: Fd, path: Path, access: Access = AS_MADE) -> None:
    """Pin what `fd` holds in place of what is pinned there, if anything: `path` names the one or the other, always.

    The temporary name is fixed, so that what a killed process left of it is replaced too; hold the folder's lock.
    """
    temporary = path.with_name(TEMPORARY + path.name)
    unpin(temporary)
    pin(fd, temporary, access)
    try:
        rename(temporary, path)
    except KernelError:
        unpin(temporary)
        raise


def rename(old: Path, new: Path) -> None:
    """Give a pin another name, in place of what has that name: it names the one or the other, always."""
    _os_call("rename", new, lambda: old.rename(new))


def unpin(path: Path) -> None:
    """Remove a pin; one that is gone already is no error."""
    _os_call("unlink", path, lambda: path.unlink(missing_ok=True))


def remove_dir(path: Path) -> None:
    """Remove an empty folder; one that is gone already is no error."""
    if path.exists():
        _os_call("rmdir", path, path.rmdir)


def list_pins(directory: Path) -> tuple[str, ...]:
    """The names of all pins in a folder, sorted, temporary ones too; none if the folder is missing."""
    if not directory.is_dir():
        return ()
    return _os_call(
        "open",
        directory,
        lambda: tuple(sorted(entry.name for entry in os.scandir(directory) if not entry.is_dir())),
    )


def list_folders(directory: Path) -> tuple[str, ...]:
    """The names of all folders in a folder, sorted; none if it is missing."""
    if not directory.is_dir():
        return ()
    return _os_call(
        "open", directory, lambda: tuple(sorted(entry.name for entry in os.scandir(directory) if entry.is_dir()))
    )


def open_pin(path: Path, kind: type[Kind], readonly: bool = False) -> Kind:
    """Open a pin that must be one of `kind`: `MapFd`, `ProgramFd` or `LinkFd`.

    Raises `KernelError` (ENOENT: there is no pin, EACCES: no BPF file) and `HostError` if it is of another kind.
    `readonly` is for maps alone, where the file's mode may allow no more.
    """
    found = open_any(path, readonly)
    if isinstance(found, kind):
        return found
    found.close()
    is_now = _WORDS.get(type(found), "thing of another kind")
    raise HostError(
        Problem(
            f"a {_WORDS[kind]} was expected here, but this is a pinned {is_now}",
            hint="unpin it, or use another name",
            address=str(path),
        )
    )


def open_any(path: Path, readonly: bool = False) -> Fd:
    """Open a pin, whatever it is of; `readonly` counts where it is of a map. Raises `KernelError`."""
    options = libbpf.ObjectGetOptions(file_flags=MapFlag.RDONLY if readonly else 0)
    try:
        number = libbpf.obj_get_opts(os.fsencode(path), options)
    except KernelError as error:
        if readonly and error.errno == errno.EINVAL:  # bpf_obj_get_user: a link has no readers apart from its writers
            return open_any(path)
        raise error.about(str(path)) from None
    return _KINDS.get(os.readlink(f"/proc/self/fd/{number}"), Fd)(number)


@contextmanager
def lock(directory: Path, timeout: float = 0.0, *, create: bool = False) -> Iterator[None]:
    """Hold the one lock of a folder, which dies with the process; wait `timeout` seconds for it.

    `create` makes the folder, and makes it anew when the holder removed it. Raises `LockedError`, which names the
    holder, and `HostError` if the folder is missing. A `HostError` inside says so where the folder was lost meanwhile.
    """
    deadline = time.monotonic() + timeout
    while (number := _try_lock(directory, create)) is None:
        if time.monotonic() >= deadline:
            raise LockedError(
                Problem(
                    f"locked by {_holder(directory)}", hint="wait for it to end, then try again", address=str(directory)
                )
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield
    except (HostError, RefusedError) as error:
        status = os.fstat(number)
        if not status.st_nlink:  # it was removed, by who held the lock: us
            raise
        try:
            require_place(directory, (status.st_dev, status.st_ino))
        except HostError as lost:  # this is why, and what a pin was found to be tells nothing
            also = error.problems if isinstance(error, HostError) else ()
            raise HostError(*dict.fromkeys((*lost.problems, *also))) from error
        raise
    finally:
        os.close(number)


def _try_lock(directory: Path, create: bool) -> int | None:
    """The fd that holds the lock, or None if another process does, or did and removed the folder."""
    try:
        if create:
            ensure_dir(directory)
        number = _os_call("open", directory, lambda: os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
    except KernelError as error:
        # The holder removed the folder between two of our steps; a pin of that name is another matter.
        if create and error.errno in (errno.ENOENT, errno.EEXIST) and not _is_something_else(directory):
            return None
        raise
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us may have removed the folder: then this is the lock of a folder that nobody can find.
        if os.path.samestat(os.fstat(number), directory.stat()):
            return number
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(number)
        raise
    os.close(number)
    return None


def _is_something_else(directory: Path) -> bool:
    """Whether something lives there that is no folder. Asked once: the folder may come and go between two questions."""
    try:
        return not stat.S_ISDIR(directory.stat().st_mode)
    except FileNotFoundError:
        return False


def _holder(directory: Path) -> str:
    """Who holds the folder's lock, from /proc/locks; the process may be one that we cannot see."""
    try:
        status = directory.stat()
        inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == inode:
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
                return f"process {fields[4]} ({command.decode(errors='replace')[:200]})"
    except OSError:
        pass
    return "a process that is gone by now, or not to be seen from here"


def _os_call(operation: str, path: Path, call: Callable[[], Answer]) -> Answer:
    """Do something to a path; its OSError is one more of the kernel's refusals."""
    try:
        return call()
    except OSError as error:
        raise KernelError(operation, error.errno or errno.EIO, name=str(path)) from error
