"""Calls of libbpf that fill structures and buffers: records of objects, logs of the verifier, test runs."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable
from ctypes import c_size_t, c_uint32
from typing import TypeVar

from provisioner.kernel import libbpf
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.structures import (
    BtfInfoRecord,
    Buffer,
    MapInfoRecord,
    ProgramInfoRecord,
    ProgramLoadOptions,
    ProgramQueryOptions,
    TestRunOptions,
)


def new_buffer(size: int) -> Buffer:
    """Zeroed memory that the kernel writes to; `.raw` is its bytes."""
    return ctypes.create_string_buffer(size)


InfoRecord = TypeVar("InfoRecord", bound=ctypes.Structure)


def get_info(fd: int, record: InfoRecord) -> InfoRecord:
    """Fill `record` by BPF_OBJ_GET_INFO_BY_FD; fields that the kernel does not know stay zero."""
    libbpf.obj_get_info_by_fd(fd, ctypes.addressof(record), c_uint32(ctypes.sizeof(record)))
    return record


def map_ids_of(fds: Iterable[int]) -> list[int]:
    """The ids of open maps: the kernel gives no more of a record than there is room for."""
    record, ids = MapInfoRecord(), []
    address, size = ctypes.addressof(record), MapInfoRecord.key_size.offset
    for fd in fds:
        libbpf.obj_get_info_by_fd(fd, address, c_uint32(size))
        ids.append(record.id)
    return ids


def program_record(fd: int) -> tuple[ProgramInfoRecord, tuple[int, ...]]:
    """A program's record, and the ids of the maps that it uses."""
    count = get_info(fd, ProgramInfoRecord()).nr_map_ids
    ids = (c_uint32 * max(1, count))()
    record = get_info(fd, ProgramInfoRecord(nr_map_ids=count, map_ids=ctypes.addressof(ids)))
    return record, tuple(ids[: min(count, record.nr_map_ids)])


def verify(kind: int, code: bytes) -> tuple[int, str]:
    """Load a program of type `kind` to hear what the verifier says: its fd, or -1 where it was refused, and the log.

    Raises `KernelError` if the call failed before the verifier ran: then there is no log.
    """
    log = new_buffer(1 << 20)
    options = ProgramLoadOptions(log_level=1, log_size=len(log), log_buf=ctypes.addressof(log))
    try:
        number = libbpf.prog_load(kind, b"probe", b"GPL", code, len(code) // 8, options)
    except KernelError:
        if not log.value:
            raise
        number = -1
    return number, log.value.decode(errors="replace")


def load_program(kind: int, name: str, code: bytes, *, flags: int, btf: int, functions: bytes, record_size: int) -> int:
    """Load a program of type `kind` with records of its functions: its fd."""
    records = ctypes.create_string_buffer(functions, len(functions))
    options = ProgramLoadOptions(
        prog_flags=flags,
        prog_btf_fd=btf,
        func_info=ctypes.addressof(records),
        func_info_cnt=len(functions) // record_size,
        func_info_rec_size=record_size,
    )
    return libbpf.prog_load(kind, name.encode(), b"GPL", code, len(code) // 8, options)


def run_syscall_program(fd: int, options: TestRunOptions | None = None) -> int:
    """BPF_PROG_TEST_RUN of a program of type SYSCALL, which takes neither a packet nor a count: what it returns.

    `options` are those of an earlier run, which take longer to make than the program takes for a few records.
    """
    options = options or TestRunOptions()
    libbpf.prog_test_run(fd, options)
    result: int = options.retval
    return result


def translated(fd: int) -> bytes:
    """A program's instructions as the verifier left them, helpers inlined; empty where it does not return them."""
    size = get_info(fd, ProgramInfoRecord()).xlated_prog_len
    code = new_buffer(size)
    record = get_info(fd, ProgramInfoRecord(xlated_prog_len=size, xlated_prog_insns=ctypes.addressof(code)))
    return code.raw if record.xlated_prog_insns else b""


def btf_data(fd: int) -> bytes:
    """All bytes of a BTF that the kernel holds."""
    size = get_info(fd, BtfInfoRecord()).btf_size
    data = new_buffer(size)
    get_info(fd, BtfInfoRecord(btf=ctypes.addressof(data), btf_size=size))
    return data.raw


def run_program(fd: int, data: bytes, repeat: int) -> tuple[int, bytes]:
    """BPF_PROG_TEST_RUN: the program's return value, and the packet as it left it (at most 256 bytes longer)."""
    out = new_buffer(len(data) + 256)
    options = TestRunOptions(
        data_in=data,
        data_size_in=len(data),
        data_out=ctypes.addressof(out),
        data_size_out=len(out),
        repeat=repeat,
    )
    libbpf.prog_test_run(fd, options)
    return options.retval, out.raw[: options.data_size_out]


def raw_btf(handle: int) -> bytes:
    """The `.BTF` of an open `bpf_object`, as libbpf holds it; empty if it has none."""
    btf = libbpf.object_btf(handle)
    if not btf:
        return b""
    size = c_uint32(0)
    data = libbpf.btf_raw_data(btf, size)
    return ctypes.string_at(data, size.value) if data else b""


def set_initial_bytes(at: int, offset: int, data: bytes) -> None:
    """Change a part of a data section before its object is loaded. Raises `KernelError` for what is not in it."""
    size = c_size_t(0)
    start = libbpf.map_initial_value(at, size)
    if not start or offset + len(data) > size.value:
        raise KernelError("bpf_map__initial_value", errno.EINVAL)
    ctypes.memmove(start + offset, data, len(data))


def query_programs(ifindex: int, attach_type: int, room: int = 64) -> tuple[int, ...]:
    """The ids of the programs at a tcx hook, the first to run first."""
    ids = (c_uint32 * room)()
    options = ProgramQueryOptions(prog_ids=ctypes.addressof(ids), prog_cnt=room)
    libbpf.prog_query(ifindex, attach_type, options)
    return tuple(ids[: min(room, options.prog_cnt)])
