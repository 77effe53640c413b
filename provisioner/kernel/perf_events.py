"""The perf events that programs are attached to: tracepoints, and kprobes at functions of the kernel."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from provisioner.kernel import libbpf
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import OpenPerfEvent
from provisioner.model.errors import HostError, Problem

_TRACEPOINT: Final = 2
"""PERF_TYPE_TRACEPOINT."""

_IOC_ENABLE: Final = 0x2400
"""PERF_EVENT_IOC_ENABLE."""

_TRACEFS: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_KPROBE: Final = Path("/sys/bus/event_source/devices/kprobe")


@contextmanager
def opened(request: OpenPerfEvent) -> Iterator[int]:
    """The fd of the event, enabled. A link that is made on it holds the event, so the fd is closed afterwards.

    Raises HostError where the host has no such event, `KernelError` (perf_event_open) where the kernel refuses it.
    """
    if request.kind == "tracepoint":
        fd = libbpf.perf_event_open(_TRACEPOINT, config=_tracepoint_id(request.name))
    else:
        is_return = request.kind == "kretprobe"
        fd = libbpf.perf_event_open(_kprobe_type(), config=int(is_return), symbol=request.name, offset=request.offset)
    try:
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
        yield fd
    except OSError as error:
        raise KernelError("perf_event_open", error.errno or 0, name=request.name) from error
    finally:
        os.close(fd)


def _tracepoint_id(name: str) -> int:
    tracefs = next((path for path in _TRACEFS if (path / "events").is_dir()), None)
    if tracefs is None:
        raise HostError(
            Problem("tracefs is not mounted", hint="mount -t tracefs tracefs /sys/kernel/tracing", id="tracefs-missing")
        )
    try:
        return int((tracefs / "events" / name / "id").read_text(encoding="ascii"))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise KernelError("open", error.errno or 0, name=str(tracefs / "events" / name)) from error
        what = f"this kernel has no tracepoint `{name}`"
        hint = f"{tracefs}/available_events lists the tracepoints"
        raise HostError(Problem(what, hint=hint, id="attach-target-missing")) from error


def _kprobe_type() -> int:
    try:
        return int((_KPROBE / "type").read_text(encoding="ascii"))
    except OSError as error:
        raise HostError(
            Problem("this kernel has no kprobes", hint="CONFIG_KPROBE_EVENTS is needed", id="attach-unsupported")
        ) from error
