"""The perf events that programs are attached to: tracepoints, probes at functions of the kernel or a file, samples."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from provisioner.kernel import function_offsets, syscalls
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import OpenPerfEvent, OpenSampled
from provisioner.model.errors import HostError, Problem

_TRACEPOINT: Final = 2
"""PERF_TYPE_TRACEPOINT."""

_IOC_ENABLE: Final = 0x2400
"""PERF_EVENT_IOC_ENABLE."""

_TRACEFS: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_SOURCES: Final = Path("/sys/bus/event_source/devices")
_OPTIONS: Final = {"kprobe": "CONFIG_KPROBE_EVENTS", "uprobe": "CONFIG_UPROBE_EVENTS"}

_WRAPPED: Final = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_", "s390x": "__s390x_sys_"}
"""How the function of a system call begins (ARCH_HAS_SYSCALL_WRAPPER); elsewhere it is `__se_sys_`."""


@contextmanager
def opened(request: OpenPerfEvent | OpenSampled) -> Iterator[int]:
    """The fd of the event, enabled. A link that is made on it holds the event, so the fd is closed afterwards.

    Raises HostError where the host has no such event, `KernelError` (perf_event_open) where the kernel refuses it.
    """
    fd = _open(request)
    try:
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
        yield fd
    except OSError as error:
        raise KernelError("perf_event_open", error.errno or 0, name=request.name) from error
    finally:
        os.close(fd)


def has_source(source: str) -> bool:
    """Whether the kernel has kprobes or uprobes."""
    return (_SOURCES / source / "type").is_file()


def has_tracefs() -> bool:
    """Whether tracepoints can be looked up."""
    return any((path / "events").is_dir() for path in _TRACEFS)


def _open(request: OpenPerfEvent | OpenSampled) -> int:
    if isinstance(request, OpenSampled):
        return _sampled(request)
    if request.kind == "tracepoint":
        return syscalls.perf_event_open(_TRACEPOINT, config=_tracepoint_id(request.name))
    source = "uprobe" if request.file else "kprobe"
    kind, config = _type_of(source), int(request.kind in ("kretprobe", "uretprobe"))
    if not request.file:
        prefix = _WRAPPED.get(os.uname().machine, "__se_sys_") if request.is_syscall else ""
        return syscalls.perf_event_open(kind, config=config, symbol=prefix + request.name, offset=request.offset)
    file = function_offsets.resolve(request.file)
    if file is None:
        what, hint = f"file {request.file} does not exist", "write its full path in the section or in `target:`"
        raise HostError(Problem(what, hint=hint, id="attach-target-missing"))
    offset = function_offsets.find(file, request.name) + request.offset
    return syscalls.perf_event_open(kind, config=config, symbol=str(file), offset=offset)


def _sampled(request: OpenSampled) -> int:
    try:
        return syscalls.perf_event_open(
            request.type,
            config=request.config,
            cpu=request.cpu,
            period=request.rate,
            is_frequency=request.is_frequency,
        )
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            what = f"this host has no event `{request.name}`"
            hint = "a virtual machine may have software events only: `cpu_clock`"
        elif error.errno == errno.EINVAL and request.is_frequency:
            what = f"the kernel refuses {request.rate} Hz"
            hint = "the sysctl `kernel.perf_event_max_sample_rate` is the highest frequency"
        else:
            raise error.about(request.name) from None
        raise HostError(Problem(what, hint=hint, id="attach-unsupported")) from error


def tracefs() -> Path:
    """Where tracefs is mounted. Raises HostError if it is not."""
    mount = next((path for path in _TRACEFS if (path / "events").is_dir()), None)
    if mount is None:
        raise HostError(
            Problem("tracefs is not mounted", hint="mount -t tracefs tracefs /sys/kernel/tracing", id="tracefs-missing")
        )
    return mount


def _tracepoint_id(name: str) -> int:
    mount = tracefs()
    try:
        return int((mount / "events" / name / "id").read_text(encoding="ascii"))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise KernelError("open", error.errno or 0, name=str(mount / "events" / name)) from error
        what = f"this kernel has no tracepoint `{name}`"
        hint = f"{mount}/available_events lists the tracepoints"
        raise HostError(Problem(what, hint=hint, id="attach-target-missing")) from error


def _type_of(source: str) -> int:
    try:
        return int((_SOURCES / source / "type").read_text(encoding="ascii"))
    except OSError as error:
        what, hint = f"this kernel has no {source}s", f"{_OPTIONS[source]} is needed"
        raise HostError(Problem(what, hint=hint, id="attach-unsupported")) from error
