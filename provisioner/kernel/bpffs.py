"""Pins: names on a bpffs that hold maps, programs and links; and the lock on a project's directory of them."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from provisioner.kernel import libbpf, structures
from provisioner.kernel.fd import Fd, LinkFd, MapFd, ProgramFd
from provisioner.kernel.mounts import file_system
from provisioner.kernel.mounts import mounts as mounts
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.trust import link_problem, require_trusted
from provisioner.model.access import AS_MADE, Access
from provisioner.model.errors import HostError, Problem, RefusedError
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

Kind = TypeVar("Kind", MapFd, ProgramFd, LinkFd)
Answer = TypeVar("Answer")


def check(pin_root: Path) -> None:
    """Raise `HostError` or `RefusedError` unless `pin_root` can be ours: a directory on a bpffs. Writes nothing.

    The mount point cannot be one: it holds files of the kernel that cannot be removed.
    """
    # Linux 5.10 even refuses the lookup of a name with `.`
    nearest = _nearest(pin_root)
    if file_system(nearest) != "bpf":
        raise HostError(
            Problem(
                "path is not on a bpffs",
                hint="mount one: `mount -t bpf bpf /sys/fs/bpf`",
                address=str(pin_root),
                id="not-on-bpffs",
            )
        )
    if pin_root.exists() and os.path.ismount(pin_root):
        raise HostError(
            Problem(
                "pin root is the mount point of a bpffs, which a project cannot own",
                hint=f"use a directory below it, such as {pin_root / 'edge'}",
                address=str(pin_root),
                id="pin-root-is-mount",
            )
        )
    if nearest.absolute() == pin_root.absolute() and not nearest.is_dir():
        raise HostError(Problem("pin root is a pin, not a directory", address=str(pin_root), id="not-a-directory"))
    if pin_root.is_symlink():  # also outside of a bpffs, as for the lock: what a plan shows can be applied
        raise RefusedError(link_problem(pin_root))
    require_trusted(pin_root)


def check_place(path: Path, pin_root: Path) -> None:
    """Raise `HostError` or `RefusedError` unless a map of the project can be pinned at `path`, outside of `pin_root`.

    A pin gets there by one rename, which cannot leave its file system; nobody else may write on the way to it.
    """
    nearest, root = (_nearest(each) for each in (path.parent, pin_root))
    if file_system(nearest) != "bpf" or nearest.stat().st_dev != root.stat().st_dev:
        what, hint = "pin is not on the bpffs of the pin root", f"use a path below {mount_of(root)}"
        raise HostError(Problem(what, hint=hint, address=str(path), id="not-on-bpffs"))
    if not nearest.is_dir():
        raise HostError(Problem("directory of the pin is itself a pin", address=str(path), id="not-a-directory"))
    require_trusted(path.parent)


def check_same(pin_root: Path, new: Path) -> None:
    """Raise `HostError` unless a pin root can be moved to `new`: a rename cannot leave its file system."""
    if pin_root.stat().st_dev != _nearest(new).stat().st_dev:
        what = f"pin root is not on the bpffs of {pin_root}, which the spec moves there"
        raise HostError(Problem(what, None, f"use a path below {mount_of(pin_root)}", str(new), id="not-on-bpffs"))


def _nearest(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(each for each in (path, *path.absolute().parents) if call("stat", each, each.exists))


def device(pin_root: Path) -> int:
    """The number of the file system that the pin root is on, or would be on. A new mount may get the same one."""
    return os.stat(_nearest(pin_root)).st_dev


def mount_of(path: Path) -> Path:
    """The mount point that a path is below, or is."""
    return next(each for each in (path, *path.absolute().parents) if os.path.ismount(each))


def missing_directories(pins: Iterable[Path]) -> tuple[Path, ...]:
    """The directories on the way to these pins that do not exist, each after its parent."""
    needed = {each for path in pins for each in path.parents}
    return tuple(sorted(each for each in needed if not call("stat", each, each.exists)))


def place(directory: Path) -> tuple[int, int] | None:
    """The directory that a path leads to, as device and inode number; None if it does not exist."""
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def require_place(directory: Path, before: tuple[int, int] | None) -> None:
    """Raise `HostError` unless a path leads to the same directory as `before`."""
    if before is not None and place(directory) == before:
        return
    check(directory)
    what = "pin root was replaced after it was locked: a bpffs was unmounted, moved, or mounted over it"
    hint = "check the mounts with `findmnt`, then run the command again"
    raise HostError(Problem(what, None, hint, str(directory), id="pin-root-lost"))


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
    """Create a directory, and those above it that are missing; no call that changes anything if it exists."""
    if not call("stat", path, path.is_dir):
        for missing in reversed([path, *itertools.takewhile(lambda parent: not parent.exists(), path.parents)]):
            call("mkdir", path, lambda each=missing: each.mkdir(mode=0o755, exist_ok=True))  # type: ignore[misc]
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
    """Who may open a pin, or enter a directory."""
    status = call("stat", path, path.stat)
    return Access(stat.S_IMODE(status.st_mode), status.st_gid)


def set_access(path: Path, access: Access) -> None:
    """Set the group of a pin or directory, then its mode: until then only the owner can open a new pin."""
    gid, mode = access.gid, access.mode
    if gid is not None:
        call("chown", path, lambda: os.chown(path, -1, gid))
    if mode is not None:
        call("chmod", path, lambda: path.chmod(mode))


def pin_replace(fd: Fd, path: Path, access: Access = AS_MADE) -> None:
    """Pin what `fd` holds in place of what is pinned there, if anything: `path` names the one or the other, always.

    The temporary name is fixed, so that what a killed process left of it is replaced too; hold the directory's lock.
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
    call("rename", new, lambda: old.rename(new))


def unpin(path: Path) -> None:
    """Remove a pin; one that does not exist is not an error."""
    call("unlink", path, lambda: path.unlink(missing_ok=True))


def remove_dir(path: Path) -> None:
    """Remove an empty directory; one that does not exist, or that another process removes first, is not an error."""
    if path.exists():
        try:
            call("rmdir", path, path.rmdir)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise


def list_pins(directory: Path) -> tuple[str, ...]:
    """The names of all pins in a directory, sorted, temporary ones and symlinks too; none if it is missing."""
    return _names(directory, is_directory=False)


def list_folders(directory: Path) -> tuple[str, ...]:
    """The names of all directories in a directory, sorted; none if it is missing."""
    return _names(directory, is_directory=True)


def _names(directory: Path, *, is_directory: bool) -> tuple[str, ...]:
    if not directory.is_dir():
        return ()
    entries = call("open", directory, lambda: list(os.scandir(directory)))
    return tuple(sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False) is is_directory))


def file_id(path: Path) -> tuple[int, int]:
    """What only this file has: another pin of the same name has another one. Raises OSError."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def open_pin(path: Path, kind: type[Kind], readonly: bool = False) -> Kind:
    """Open a pin that must be one of `kind`: `MapFd`, `ProgramFd` or `LinkFd`.

    Raises `KernelError` (ENOENT: there is no pin, EACCES: not a BPF file) and `HostError` if it is of another kind.
    `readonly` is for maps alone, where the file's mode may allow no more.
    """
    fd = open_any(path, readonly)
    try:
        return required(fd, kind, path)
    except BaseException:
        fd.close()
        raise


def required(fd: Fd, kind: type[Kind], path: Path) -> Kind:
    """An open pin, which must be one of `kind`. Raises `HostError` if it is of another kind."""
    if isinstance(fd, kind):
        return fd
    what = f"pin is of another kind: expected a {_WORDS[kind]}, found {_WORDS.get(type(fd), 'another object')}"
    raise HostError(Problem(what, None, "unpin it, or use another name", str(path), id="pin-kind"))


def open_any(path: Path, readonly: bool = False) -> Fd:
    """Open a pin of any kind; `readonly` applies to maps. Raises `KernelError`."""
    options = structures.ObjectGetOptions(file_flags=MapFlag.RDONLY if readonly else 0)
    try:
        number = libbpf.obj_get_opts(os.fsencode(path), options)
    except KernelError as error:
        if readonly and error.errno == errno.EINVAL:  # bpf_obj_get_user: a link has no readers apart from its writers
            return open_any(path)
        raise error.about(str(path)) from None
    try:
        kind = _KINDS.get(os.readlink(f"/proc/self/fd/{number}"), Fd)
    except BaseException:
        os.close(number)
        raise
    return kind(number)


def call(operation: str, path: Path, act: Callable[[], Answer]) -> Answer:
    """Do something to a path; its OSError is one more of the kernel's refusals."""
    try:
        return act()
    except OSError as error:
        raise KernelError(operation, error.errno or errno.EIO, name=str(path)) from error
