"""The C structures that libbpf and the kernel take and fill, and the types of single arguments.

Structures are filled, passed and dropped; none leaves this package. Layouts are those of libbpf 1.1 (`bpf.h`,
`libbpf.h`) and `include/uapi/linux/bpf.h`; `sz` gives a newer libbpf their size.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, ClassVar

Counter = c_uint32
Buffer = ctypes.Array[ctypes.c_char]


class _Options(ctypes.Structure):
    """A structure of libbpf's that begins with its own size."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [("sz", c_size_t)]

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        self.sz = ctypes.sizeof(self)


class MapCreateOptions(_Options):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("btf_fd", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_value_type_id")),
        *((name, c_uint32) for name in ("inner_map_fd", "map_flags")),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    ]


class BatchOptions(_Options):
    _fields_: ClassVar[list[tuple[str, Any]]] = [("elem_flags", c_uint64), ("flags", c_uint64)]


class ObjectGetOptions(_Options):
    _fields_: ClassVar[list[tuple[str, Any]]] = [("file_flags", c_uint32)]


class LinkCreateOptions(_Options):
    """Cut before `target_btf_id`'s union, which XDP does not use."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
    ]


class ProgramQueryOptions(_Options):
    """Cut after `prog_cnt`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("query_flags", "attach_flags")),
        ("prog_ids", c_void_p),
        ("prog_cnt", c_uint32),
    ]


class TcxLinkCreate(ctypes.Structure):
    """`link_create` of `union bpf_attr` for tcx, which libbpf 1.1 does not know."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("prog_fd", "ifindex", "attach_type", "flags", "relative", "_pad")),
        ("expected_revision", c_uint64),
        ("_rest", c_uint64 * 4),
    ]


class MultiLinkCreate(ctypes.Structure):
    """`link_create` of `union bpf_attr` for many functions; the union is that of kprobe.multi or of uprobe.multi."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("prog_fd", "target_fd", "attach_type", "flags")),
        ("union", c_uint32 * 12),
    ]


class KprobeMulti(ctypes.Structure):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("flags", "cnt")),
        *((name, c_uint64) for name in ("syms", "addrs", "cookies")),
    ]


class UprobeMulti(ctypes.Structure):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint64) for name in ("path", "offsets", "ref_ctr_offsets", "cookies")),
        *((name, c_uint32) for name in ("cnt", "flags", "pid")),
    ]


class TcHook(_Options):
    """`struct bpf_tc_hook`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32)]


class TcOptions(_Options):
    """`struct bpf_tc_opts`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("prog_fd", c_int),
        *((name, c_uint32) for name in ("flags", "prog_id", "handle", "priority")),
    ]


class ObjectOpenOptions(_Options):
    """Cut after `object_name`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [("object_name", c_char_p)]


class ProgramLoadOptions(_Options):
    """All of libbpf 1.1's; `log_buf` gets what the verifier says."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_int) for name in ("attempts", "expected_attach_type")),
        *((name, c_uint32) for name in ("prog_btf_fd", "prog_flags", "prog_ifindex", "kern_version")),
        *((name, c_uint32) for name in ("attach_btf_id", "attach_prog_fd", "attach_btf_obj_fd")),
        ("fd_array", c_void_p),
        *(("func_info", c_void_p), ("func_info_cnt", c_uint32), ("func_info_rec_size", c_uint32)),
        *(("line_info", c_void_p), ("line_info_cnt", c_uint32), ("line_info_rec_size", c_uint32)),
        *(("log_level", c_uint32), ("log_size", c_uint32), ("log_buf", c_void_p)),
    ]


class TestRunOptions(_Options):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        *((name, c_uint32) for name in ("ctx_size_in", "ctx_size_out", "retval")),
        ("repeat", c_int),
        *((name, c_uint32) for name in ("duration", "flags", "cpu", "batch_size")),
    ]


class MapInfoRecord(ctypes.Structure):
    """`struct bpf_map_info`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("type", "id", "key_size", "value_size", "max_entries", "map_flags")),
        ("name", ctypes.c_char * 16),
        ("ifindex", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        *((name, c_uint32) for name in ("btf_id", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_id")),
        ("map_extra", c_uint64),
    ]


class ProgramInfoRecord(ctypes.Structure):
    """`struct bpf_prog_info` up to `name`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", ctypes.c_ubyte * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", ctypes.c_char * 16),
    ]


class BtfInfoRecord(ctypes.Structure):
    """`struct bpf_btf_info` up to `id`."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [("btf", c_uint64), ("btf_size", c_uint32), ("id", c_uint32)]


class LinkInfoRecord(ctypes.Structure):
    """`struct bpf_link_info`; `words` is its union: for XDP, the first is the ifindex."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, c_uint32) for name in ("type", "id", "prog_id", "_pad")),
        ("words", c_uint32 * 12),
    ]


class PerfEventAttr(ctypes.Structure):
    """`struct perf_event_attr`, PERF_ATTR_SIZE_VER1."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("type", c_uint32),
        ("size", c_uint32),
        *((name, c_uint64) for name in ("config", "sample_period", "sample_type", "read_format", "flags")),
        ("wakeup_events", c_uint32),
        ("bp_type", c_uint32),
        ("config1", c_uint64),
        ("config2", c_uint64),
    ]
