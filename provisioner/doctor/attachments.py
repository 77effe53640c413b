"""Which hooks this host has, of those that a kernel may be too old for or built without."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from provisioner.doctor.finding import Finding, Level
from provisioner.kernel import calls, maps, perf_events
from provisioner.kernel.reasons import KernelError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import ENOTSUPP, STRUCT_OPS_LINK, AttachType, MapType

_LSMS: Final = Path("/sys/kernel/security/lsm")

_HINTS: Final = {
    "tcx": "use `tc:`",
    "kprobe": "CONFIG_KPROBE_EVENTS is not set",
    "uprobe": "CONFIG_UPROBE_EVENTS is not set",
    "tracepoint": "`mount -t tracefs tracefs /sys/kernel/tracing`",
    "lsm": "boot with `lsm=...,bpf`",
    "struct_ops": "register the object with `bpftool struct_ops register`",
}

_NO_STRUCT: Final = MapShape(MapType.STRUCT_OPS, 4, 4, 1, STRUCT_OPS_LINK)


def hooks() -> dict[str, bool | None]:
    """Whether the host has each hook; None where this process cannot know."""
    return {
        "tcx": _has_tcx(),
        "kprobe": perf_events.has_source("kprobe"),
        "uprobe": perf_events.has_source("uprobe"),
        "tracepoint": perf_events.has_tracefs(),
        "lsm": "bpf" in _LSMS.read_text(encoding="ascii").split(",") if _LSMS.is_file() else None,
        "struct_ops": has_struct_ops_links(),
    }


def examine() -> Finding:
    """The hooks, and what to do about those that are missing."""
    known = hooks()
    lacks = [name for name, has in known.items() if has is False]
    has = [name for name, there in known.items() if there]
    said = ", ".join(has) + (f"; not {', '.join(lacks)}" if lacks else "")
    hint = "; ".join(f"{name}: {_HINTS[name]}" for name in lacks)
    return Finding("hooks", Level.NOTE if lacks else Level.OK, said, known, hint)


def has_struct_ops_links() -> bool | None:
    """Tried with a value of no struct: a kernel that knows the flag says ENOTSUPP, an older one EINVAL."""
    try:
        maps.create(_NO_STRUCT, btf_vmlinux_value_type_id=1).close()
    except KernelError as error:
        if error.errno == errno.EPERM:
            return None
        return error.errno == ENOTSUPP
    return True


def _has_tcx() -> bool | None:
    """Asked of an interface that every network namespace has: without a program there, the kernel says ENOENT."""
    try:
        calls.query_programs(1, AttachType.TCX_INGRESS)
    except KernelError as error:
        if error.errno in (errno.EPERM, errno.ENODEV):
            return None
        return error.errno == errno.ENOENT
    return True
