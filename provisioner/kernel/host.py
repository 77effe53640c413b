"""What the kernel's side of this machine is: CPUs, byte order, interfaces, limits, privileges."""

from __future__ import annotations

import grp
import os
import re
import resource
import shlex
import socket
import sys
from pathlib import Path
from typing import Final

from provisioner.kernel import cpus
from provisioner.model.errors import HostError, Problem
from provisioner.model.host import Host

_CAP_CHOWN: Final = 0
_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
_CAP_BPF: Final = 39


def read_host() -> Host:
    """This machine's `Host`. Raises `HostError` where sysfs is missing."""
    return Host(sys.byteorder, possible_cpus())


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """The number of possible CPUs: `0-3,8` are five, as `num_possible_cpus` counts them."""
    try:
        return len(cpus.possible(path))
    except (OSError, ValueError) as error:
        raise HostError(
            Problem(f"cannot read the possible CPUs: {error}", address=str(path), id="host-unreadable")
        ) from error


def ifindex(name: str) -> int:
    """The index of the network interface `name`. Raises `HostError` if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise HostError(
            Problem("network interface does not exist", None, "`ip link` lists them", name, id="attach-target-missing")
        ) from error


def find_ifindex(name: str) -> int | None:
    """The index of the network interface `name`; None if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def interfaces() -> dict[str, int]:
    """All network interfaces that this process sees: name -> index."""
    return {name: index for index, name in socket.if_nameindex()}


def find_cgroup_id(path: str) -> int | None:
    """The id of a cgroup v2 folder, below its mount (`system.slice/web.service`): its inode; None if it is missing.

    Raises HostError where this process may not look.
    """
    folder = cgroup_path(path)
    try:
        return None if folder is None else folder.stat().st_ino
    except PermissionError as error:
        raise access_denied(folder or path) from error
    except OSError:
        return None


def access_denied(path: Path | str) -> HostError:
    """This process may not look at a path: so it is not known whether there is something."""
    hint = f"`namei -l {shlex.quote(str(path))}` shows who has access; /proc/PID/ns requires CAP_SYS_PTRACE"
    return HostError(Problem("access denied", hint=hint, address=str(path), id="access-denied"))


def cgroup_path(path: str) -> Path | None:
    """The directory of a cgroup v2, from its path below the mount; None if none is mounted."""
    mount = _cgroup_mount()
    return None if mount is None else mount / path.lstrip("/")


def cgroups() -> dict[str, int]:
    """All cgroup v2 directories: path below the mount -> id."""
    mount = _cgroup_mount()
    ids = {}
    for folder, _, _ in os.walk(mount) if mount is not None else ():
        try:
            ids[str(Path(folder).relative_to(mount or "")).removeprefix(".")] = os.stat(folder).st_ino
        except OSError:  # it was removed in the meantime
            continue
    return ids


def _cgroup_mount() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, source = line.partition(" - ")
        if source.split()[0] == "cgroup2":
            return Path(fields.split()[4])
    return None


_LAST_GID: Final = (1 << 32) - 2
"""The kernel reads the number after it as `unchanged`."""


def gid(group: str) -> int:
    """The number of a group, by its name or number. Raises `HostError` if there is none of that name."""
    if group.isdecimal() and group.isascii():
        number = int(group[:20])
        if number > _LAST_GID:
            hint = f"write a number from 0 to {_LAST_GID}"
            raise HostError(Problem("not the number of a group", None, hint, group[:20], id="unknown-group"))
        return number
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        name = group if re.fullmatch("[a-z_][a-z0-9_-]*", group) else "NAME"
        raise HostError(
            Problem("group does not exist", None, f"create it: `groupadd --system {name}`", group, id="unknown-group")
        ) from error


def may_give_to(group: int) -> bool:
    """Whether this process may give its own files to a group without CAP_CHOWN: it is in it."""
    return group in (os.getegid(), *os.getgroups())


def raise_nofile_limit() -> int:
    """Raise the soft limit of open files to the hard one, and give the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # a container may refuse it; what we have is then the limit
        return soft
    return hard


def capabilities() -> frozenset[str]:
    """The effective capabilities among those that BPF operations need, and CAP_CHOWN."""
    bits = 0
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
    known = {
        "CAP_CHOWN": _CAP_CHOWN,
        "CAP_NET_ADMIN": _CAP_NET_ADMIN,
        "CAP_SYS_ADMIN": _CAP_SYS_ADMIN,
        "CAP_PERFMON": _CAP_PERFMON,
        "CAP_BPF": _CAP_BPF,
    }
    return frozenset(name for name, bit in known.items() if bits >> bit & 1)


def privilege_hint() -> str:
    """What to do about a missing privilege; empty if this process has all that BPF operations need."""
    held = capabilities()
    if "CAP_SYS_ADMIN" in held:
        return ""
    who = "" if os.geteuid() == 0 else "this process is not root: "
    missing = " and ".join(sorted({"CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"} - held))
    return f"{who}run it as root, or give it {missing}"


def verifier_hint() -> str:
    """What to do about a rejected program; empty where no capability makes the verifier accept more."""
    if capabilities() & {"CAP_PERFMON", "CAP_SYS_ADMIN"}:
        return ""
    return "the verifier accepts more with CAP_PERFMON: add that capability, or run it as root"
