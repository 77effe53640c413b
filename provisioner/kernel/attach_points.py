"""What programs are attached to on this host: interfaces, cgroups, network namespaces, files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioner.kernel import function_offsets, host
from provisioner.model.attachment import AttachPoint
from provisioner.model.errors import HostError, Problem


def find(point: AttachPoint) -> int | None:
    """The number by which the kernel knows it; None if it does not exist."""
    match point.kind:
        case "interface":
            return host.find_ifindex(point.name)
        case "cgroup":
            return host.find_cgroup_id(point.name)
        case "netns":
            try:
                return os.stat(point.name).st_ino
            except OSError:
                return None
        case "file":
            file = function_offsets.resolve(point.name)
            return None if file is None else file.stat().st_ino


@contextmanager
def opened(point: AttachPoint, number: int) -> Iterator[int]:
    """The target of BPF_LINK_CREATE: the ifindex, or an fd that is open inside the block; 0 for a file, which has none.

    Raises HostError if the point is gone, or its name has passed to another one since it had `number`.
    """
    if point.kind == "interface":
        yield number
        return
    if point.kind == "file":
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
