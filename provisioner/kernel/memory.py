"""How much memory the kernel has left for maps: the memory cgroups', the machine's, and RLIMIT_MEMLOCK's."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from provisioner.kernel import maps
from provisioner.kernel.reasons import KernelError
from provisioner.model.host import Headroom
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType

_NO_LIMIT: Final = 1 << 62
"""What cgroup v1 shows where there is none: the largest number of pages."""


def headrooms(proc: Path = Path("/proc")) -> Iterator[Headroom]:
    """What is left of each limit that holds for this process, cgroups from its own upwards, and of the machine."""
    yield from _cgroups(proc)
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield Headroom("this machine", int(line.split()[1]) << 10, "free some, or apply it elsewhere")


def memlock_headroom(needed: int) -> Headroom | None:
    """RLIMIT_MEMLOCK, where it is below `needed` and the kernel charges maps to it.

    Kernels before memory cgroups took over (until 5.11) do; found out by making a map under a limit of nothing. libbpf
    raises the limit there by itself where it may. The kernel does not show how much of it is used.
    """
    limit = _memlock()
    if limit is None or limit >= needed:
        return None
    small = MapShape(MapType.ARRAY, 4, 4, 1)
    maps.create(small, "probe").close()
    limit = _memlock()
    if limit is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, hard))
        maps.create(small, "probe").close()
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return Headroom("RLIMIT_MEMLOCK", limit, "`ulimit -l unlimited`")
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    return None


def _memlock() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def _cgroups(proc: Path) -> Iterator[Headroom]:
    mounts = [line.partition(" - ") for line in _read(proc / "self/mountinfo").splitlines()]
    for line in _read(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        for fields, _, source in mounts:
            kind, _, options = source.split(" ", 2)
            if kind == ("cgroup" if controllers else "cgroup2") and (not controllers or "memory" in options.split(",")):
                root, mount = fields.split()[3:5]
                yield from _upwards(Path(mount), _below(path, root), is_v1=bool(controllers))
                break


def _below(path: str, root: str) -> PurePosixPath:
    """A cgroup's directory below a mount that shows `root` and what is under it."""
    whole = PurePosixPath(path)
    return whole.relative_to(root) if whole.is_relative_to(root) else whole.relative_to("/")


def _upwards(mount: Path, path: PurePosixPath, *, is_v1: bool) -> Iterator[Headroom]:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if is_v1 else ("memory.max", "memory.current")
    for folder in (path, *path.parents):
        limit, used = (_read(mount / folder / name).strip() for name in names)
        if limit.isdigit() and used.isdigit() and int(limit) < _NO_LIMIT:
            left = int(limit) - int(used) + _reclaimable(mount / folder, is_v1=is_v1)
            yield Headroom(f"memory cgroup /{folder if folder.name else ''}", max(0, left), f"raise its {names[0]}")


def _reclaimable(folder: Path, *, is_v1: bool) -> int:
    """Inactive pages of files: the kernel reclaims them before it kills."""
    word = "total_inactive_file" if is_v1 else "inactive_file"
    lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
    return next((int(fields[1]) for fields in lines if fields[0] == word), 0)


def _read(path: Path) -> str:
    """A small file of the kernel's; nothing where it is not there, or not for us."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
