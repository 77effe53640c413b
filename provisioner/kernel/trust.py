"""Whether only we and root can change what a pin root holds: each directory on the way to it is checked.

A bpffs that is mounted without options is 1777, as /tmp is: any user can make a directory in it. Its sticky bit keeps
users from renaming what they do not own, so the mount point itself can be writable; nothing below it can.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from provisioner.kernel.mounts import bpf_devices, device
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.pins import META_PIN

_ROOT = 0


def require_trusted(pin_root: Path) -> None:
    """Raise `RefusedError` where another user owns a directory on the way, or can write it, or it is a symlink.

    What does not exist yet is trusted.
    """
    problem = next(problems(pin_root), None)
    if problem is not None:
        raise RefusedError(problem)


def problems(pin_root: Path) -> Iterator[Problem]:
    """What is wrong with the directories from the mount of the bpffs down to `pin_root`, the topmost first."""
    devices = bpf_devices()
    for path in reversed((pin_root.absolute(), *pin_root.absolute().parents)):
        try:
            status = path.lstat()
        except OSError:  # it is missing, or its parent cannot be entered: another check explains that
            return
        yield from _problems(path, status, is_on_bpffs=device(status) in devices)


def link_problem(path: Path) -> Problem:
    """A symlink on the way to a pin root, or in its place."""
    what = f"symbolic link to {os.path.realpath(path)}: links to a pin root are not followed"
    return Problem(what, None, "write the path that it leads to", str(path), id="pin-root-symlink")


def _problems(path: Path, status: os.stat_result, *, is_on_bpffs: bool) -> Iterator[Problem]:
    owners = {_ROOT, os.geteuid()}
    if stat.S_ISLNK(status.st_mode):
        if is_on_bpffs or status.st_uid not in owners:
            yield link_problem(path)
    elif is_on_bpffs:
        is_mount = os.path.ismount(path)
        if status.st_uid not in owners:
            what = f"directory is owned by user {status.st_uid}, who can change the pins in it"
            hint = f"run as that user, or change the owner: `chown {os.geteuid()} {path}`"
            yield Problem(what, None, hint, str(path), id="pin-root-owner")
        elif not (is_mount and status.st_mode & stat.S_ISVTX) and (who := _writers(path, status, owners)):
            what = f"directory has mode {stat.S_IMODE(status.st_mode):04o}: {who} can change the pins in it"
            hint = f"`chmod go-w {path}`"
            yield Problem(what, None, hint, str(path), id="pin-root-writable")


def _writers(path: Path, status: os.stat_result, owners: set[int]) -> str:
    """Who else can write a directory. A `pin_mode` with 0020 lets the group write: then it can write the record too."""
    if status.st_mode & stat.S_IWOTH:
        return "any user"
    if not status.st_mode & stat.S_IWGRP or status.st_gid == _ROOT:
        return ""
    try:
        record = (path / META_PIN).lstat()
    except OSError:
        return f"group {status.st_gid}"
    is_meant = record.st_uid in owners and record.st_gid == status.st_gid and record.st_mode & stat.S_IWGRP
    return "" if is_meant else f"group {status.st_gid}"
