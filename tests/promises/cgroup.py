"""A cgroup of the test's own, version 1 or 2: a limit on its memory or its processes, or what is charged to it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self


def own_directory(controller: str) -> Path:
    """The directory of this process' cgroup of a controller: `memory`, `pids`."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        version_1 = controller in controllers.split(",")
        if version_1 or (not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists()):
            return Path(f"/sys/fs/cgroup/{controller}" if version_1 else "/sys/fs/cgroup") / path.strip("/")
    raise AssertionError(f"this process is in no {controller} cgroup")


class Cgroup:
    """A cgroup below that of this process, for as long as it is entered."""

    controller = "memory"

    def __init__(self, name: str) -> None:
        self.parent = own_directory(self.controller)
        self.path = self.parent / f"provisioner-test-{name}-{os.getpid()}"

    def __enter__(self) -> Self:
        self.path.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if str(os.getpid()) in (self.path / "cgroup.procs").read_text().split():
            (self.parent / "cgroup.procs").write_text(str(os.getpid()))
        deadline = time.monotonic() + 10
        while self.path.exists():
            try:
                self.path.rmdir()
            except OSError:  # a process that ended may be in it for another moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class MemoryCgroup(Cgroup):
    """A limit on memory, or what is charged."""

    def limit(self, size: int) -> None:
        """No more than `size` bytes."""
        name = next(name for name in ("memory.limit_in_bytes", "memory.max") if (self.path / name).exists())
        (self.path / name).write_text(str(size))

    def join(self) -> None:
        """Put this process into it."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def kernel(self) -> int:
        """Bytes of kernel memory that are charged: maps, their entries, and what the slab allocator keeps for them."""
        version_1 = self.path / "memory.kmem.usage_in_bytes"
        if version_1.exists():
            return int(version_1.read_text())
        lines = (line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        return next(int(size) for name, size in lines if name == "kernel")


class PidsCgroup(Cgroup):
    """A limit on processes and threads."""

    controller = "pids"

    def limit(self, most: int) -> None:
        """No more than `most` processes and threads."""
        (self.path / "pids.max").write_text(str(most))
