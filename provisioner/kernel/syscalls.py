"""System calls for what libbpf 1.1 has no function for: perf events, tcx links, links of many functions, mmap."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Final

from provisioner.kernel.reasons import KPROBES, LINK, UPROBES, KernelError
from provisioner.kernel.structures import (
    Buffer,
    KprobeMulti,
    MultiLinkCreate,
    PerfEventAttr,
    TcxLinkCreate,
    UprobeMulti,
)
from provisioner.model.uapi import AttachType, Command

_libc = ctypes.CDLL(None, use_errno=True)
_syscall, _mmap, _munmap = _libc.syscall, _libc.mmap, _libc.munmap
_mmap.argtypes, _mmap.restype = (c_void_p, c_size_t, c_int, c_int, c_int, c_int64), c_void_p
_munmap.argtypes, _munmap.restype = (c_void_p, c_size_t), c_int

_PERF_EVENT_OPEN: Final = {"x86_64": 298, "s390x": 331, "ppc64le": 319}
"""The number of the system call, which has no function in the C library; 241 elsewhere (asm-generic/unistd.h)."""

_FREQ: Final = 1 << 10
"""The bit `freq` of `struct perf_event_attr`."""

_FD_CLOEXEC: Final = 1 << 3
"""PERF_FLAG_FD_CLOEXEC."""


def perf_event_open(
    kind: int,
    *,
    config: int,
    symbol: str = "",
    offset: int = 0,
    cpu: int = 0,
    period: int = 0,
    is_frequency: bool = False,
) -> int:
    """Open an event of all processes: gives its fd. For a kprobe, `symbol` is the function of the kernel.

    Tracepoints and probes are on all CPUs, whatever `cpu` is. Other events are sampled at `period`, which is in Hz with
    `is_frequency`.
    """
    name = ctypes.create_string_buffer(symbol.encode())
    attr = PerfEventAttr(type=kind, size=ctypes.sizeof(PerfEventAttr), config=config, config2=offset)
    attr.sample_period, attr.flags = period, _FREQ if is_frequency else 0
    attr.config1 = ctypes.addressof(name) if symbol else 0
    number = _PERF_EVENT_OPEN.get(os.uname().machine, 241)
    fd: int = _syscall(number, ctypes.byref(attr), -1, cpu, -1, c_uint64(_FD_CLOEXEC))
    if fd < 0:
        raise KernelError("perf_event_open", ctypes.get_errno(), name=symbol)
    return fd


_BPF: Final = {"x86_64": 321, "s390x": 351, "ppc64le": 361}
"""The number of bpf(2); 280 elsewhere."""


def tcx_link_create(program: int, ifindex: int, attach_type: int, flags: int, relative: int) -> int:
    """BPF_LINK_CREATE at a place among the programs of a tcx hook: gives the fd of the link."""
    attr = TcxLinkCreate(prog_fd=program, ifindex=ifindex, attach_type=attach_type, flags=flags, relative=relative)
    number = _BPF.get(os.uname().machine, 280)
    fd: int = _syscall(number, int(Command.LINK_CREATE), ctypes.byref(attr), ctypes.sizeof(attr))
    if fd < 0:
        raise KernelError(LINK, ctypes.get_errno())
    return fd


def kprobe_multi_create(program: int, attach_type: int, functions: Sequence[bytes], *, at_return: bool) -> int:
    """BPF_LINK_CREATE at functions of the kernel, by their names: gives the fd of the link."""
    names = (c_char_p * len(functions))(*functions)
    how = KprobeMulti(flags=at_return, cnt=len(functions), syms=ctypes.addressof(names))
    return _multi_link(KPROBES, program, attach_type, how)


def uprobe_multi_create(
    program: int,
    path: bytes,
    offsets: Sequence[int],
    *,
    counters: Sequence[int] = (),
    cookies: Sequence[int] = (),
    at_return: bool = False,
) -> int:
    """BPF_LINK_CREATE at offsets of a file: gives the fd of the link.

    `counters` are the offsets of the semaphores that the kernel counts up while the link exists, 0 for none.
    """
    name = ctypes.create_string_buffer(path)
    words = [(c_uint64 * len(offsets))(*values) if values else None for values in (offsets, counters, cookies)]
    at, counted, marked = (ctypes.addressof(each) if each is not None else 0 for each in words)
    how = UprobeMulti(
        path=ctypes.addressof(name),
        offsets=at,
        ref_ctr_offsets=counted,
        cookies=marked,
        cnt=len(offsets),
        flags=at_return,
    )
    return _multi_link(UPROBES, program, AttachType.TRACE_UPROBE_MULTI, how)


def _multi_link(operation: str, program: int, attach_type: int, how: KprobeMulti | UprobeMulti) -> int:
    attr = MultiLinkCreate(prog_fd=program, attach_type=attach_type)
    ctypes.memmove(ctypes.addressof(attr) + MultiLinkCreate.union.offset, ctypes.addressof(how), ctypes.sizeof(how))
    fd: int = _syscall(
        _BPF.get(os.uname().machine, 280), int(Command.LINK_CREATE), ctypes.byref(attr), ctypes.sizeof(attr)
    )
    if fd < 0:
        raise KernelError(operation, ctypes.get_errno())
    return fd


_PROT_READ_WRITE, _MAP_SHARED = 3, 1


@contextmanager
def memory_of(fd: int, size: int) -> Iterator[Buffer]:
    """The first `size` bytes of an array map with BPF_F_MMAPABLE; nothing may use them after the block.

    `mmap.mmap` would hold a second fd of the map, and not let go of it while an array refers to the memory, as after an
    exception. Raises `KernelError`.
    """
    address = _mmap(None, size, _PROT_READ_WRITE, _MAP_SHARED, fd, 0)
    if address == c_void_p(-1).value:
        raise KernelError("mmap", ctypes.get_errno())
    try:
        yield (ctypes.c_char * size).from_address(address)
    finally:
        _munmap(address, size)
