"""What programs are attached to on this host: interfaces, cgroups, network namespaces, files, CPUs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from provisioner.kernel import cpus, function_offsets, host
from provisioner.model.attachment import AttachPoint
from provisioner.model.errors import HostError, Problem

_NS_GET_NSTYPE: Final = 0xB703
_CLONE_NEWNET: Final = 0x40000000


def find(point: AttachPoint) -> int | None:
    """The number by which the kernel knows it; None if it does not exist, or is something else.

    Raises HostError where this process may not look at a path.
    """
    match point.kind:
        case "interface":
            return host.find_ifindex(point.name)
        case "cgroup":
            return host.find_cgroup_id(point.name)
        case "netns":
            return _netns(point.name)
        case "file":
            file = function_offsets.resolve(point.name)
            return None if file is None else file.stat().st_ino
        case "cpu":
            return int(point.name) if int(point.name) in cpus.online() else None


def _netns(path: str) -> int | None:
    """The inode number of a network namespace; None for any other file. A FIFO or a device is not opened."""
    try:
        if os.stat(path).st_dev != os.stat("/proc/self/ns/net").st_dev:
            return None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise host.access_denied(path) from error
    except OSError:
        return None
    try:
        return os.fstat(fd).st_ino if fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET else None
    except OSError:  # another file of this file system
        return None
    finally:
        os.close(fd)


@contextmanager
def opened(point: AttachPoint, number: int) -> Iterator[int]:
    """The target of BPF_LINK_CREATE: the ifindex, or an fd that is open inside the block; 0 for a file or a CPU.

    Raises HostError if the point is gone, or its name has passed to another one since it had `number`.
    """
    if point.kind == "interface":
        yield number
        return
    if not point.is_shown:
        if find(point) != number:
            raise HostError(_gone(point))
        yield 0
        return
    path = host.cgroup_path(point.name) if point.kind == "cgroup" else Path(point.name)
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a path of a user may be a FIFO
        fd = os.open(path or "", flags | (os.O_DIRECTORY if point.kind == "cgroup" else 0))
    except OSError as error:
        raise HostError(_gone(point)) from error
    try:
        if os.fstat(fd).st_ino != number:
            raise HostError(_gone(point))
        yield fd
    finally:
        os.close(fd)


def _gone(point: AttachPoint) -> Problem:
    return Problem(f"{point} was removed or replaced", hint="plan again", id="attach-target-missing")
