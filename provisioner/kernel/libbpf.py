"""libbpf through ctypes: one table, bound once, on first use. The only module that imports ctypes.

Each `Function` of the table carries its signature and its error check: one that fails raises `KernelError`. Calls
release the GIL. Structures are filled, passed and dropped; none leaves this package. Layouts are those of libbpf 1.1
(`bpf.h`, `libbpf.h`) and `include/uapi/linux/bpf.h`; `sz` gives a newer libbpf their size.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, ClassVar, Final, Generic, TypeVar

from provisioner.kernel.reasons import (
    CREATE,
    DELETE,
    FILTER,
    GET,
    KPROBES,
    LINK,
    LOAD,
    PIN,
    QDISC,
    RELINK,
    UPDATE,
    UPROBES,
    KernelError,
)
from provisioner.model.errors import HostError, Problem
from provisioner.model.uapi import AttachType, Command

OLDEST: Final = (1, 1)
"""The first libbpf that has all we call: that of Debian 12."""

ASKS_AGAIN: Final = frozenset({errno.EINTR, errno.EAGAIN})
"""What the kernel says to a call that was interrupted and did nothing: the same call again may go through."""

REPEATS: Final = 5
"""How often a call is repeated that the kernel asks for again: as often as libbpf does with BPF_PROG_LOAD."""

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


Result = TypeVar("Result")


class Function(Generic[Result]):
    """One row of the table: a symbol, its signature, and the operation that its failure is called by."""

    __slots__ = ("_bound", "_is_repeatable", "argtypes", "name", "operation", "restype")
    table: ClassVar[list[Function[Any]]] = []

    def __init__(self, name: str, restype: Any, *argtypes: Any, fails: str = "") -> None:
        self.name = name
        self.restype = restype
        self.argtypes = argtypes
        self.operation = fails
        # A batch says how far it came, and libbpf itself repeats the load of a program: neither is repeated here.
        self._is_repeatable = fails.startswith("BPF_") and not fails.endswith("_BATCH") and fails != LOAD
        self._bound: Any = None
        self.table.append(self)

    def __call__(self, *arguments: Any) -> Result:
        if self._bound is None:
            _load()
        try:
            result: Result = self._bound(*arguments)
        except KernelError as error:
            if error.errno not in ASKS_AGAIN or not self._is_repeatable:
                raise
            result = self._once_more(*arguments)
        return result

    def _once_more(self, *arguments: Any) -> Result:
        """Up to `REPEATS` times more, as long as that is all that the kernel asks for."""
        for _ in range(REPEATS - 1):
            try:
                result: Result = self._bound(*arguments)
            except KernelError as error:
                if error.errno not in ASKS_AGAIN:
                    raise
            else:
                return result
        last: Result = self._bound(*arguments)
        return last

    def bind(self, library: ctypes.CDLL) -> None:
        """Find the symbol and fix its signature. Raises `HostError` if the library lacks it."""
        try:
            symbol = library[self.name]
        except AttributeError as error:
            raise _unusable(f"libbpf has no {self.name}") from error
        symbol.restype, symbol.argtypes = self.restype, self.argtypes
        if self.operation:
            check: Any = self._check_pointer if self.restype is c_void_p else self._check_number
            symbol.errcheck = check
        self._bound = symbol

    def _check_number(self, result: int, _symbol: Any, _arguments: Any) -> int:
        if result < 0:  # libbpf 1.x gives -errno
            raise KernelError(self.operation, -result)
        return result

    def _check_pointer(self, result: int | None, _symbol: Any, _arguments: Any) -> int:
        if not result:
            raise KernelError(self.operation, ctypes.get_errno())
        return result


_number = POINTER(c_uint32)

major_version: Function[int] = Function("libbpf_major_version", c_uint32)
minor_version: Function[int] = Function("libbpf_minor_version", c_uint32)
set_print: Function[int | None] = Function("libbpf_set_print", c_void_p, c_void_p)

map_create: Function[int] = Function(
    "bpf_map_create",
    c_int,
    *(c_int, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(MapCreateOptions)),
    fails=CREATE,
)
map_update_elem: Function[int] = Function(
    "bpf_map_update_elem", c_int, c_int, c_void_p, c_void_p, c_uint64, fails=UPDATE
)
map_lookup_elem: Function[int] = Function(
    "bpf_map_lookup_elem", c_int, c_int, c_void_p, c_void_p, fails="BPF_MAP_LOOKUP_ELEM"
)
map_lookup_elem_flags: Function[int] = Function(
    "bpf_map_lookup_elem_flags", c_int, c_int, c_void_p, c_void_p, c_uint64, fails="BPF_MAP_LOOKUP_ELEM"
)
map_delete_elem: Function[int] = Function("bpf_map_delete_elem", c_int, c_int, c_void_p, fails=DELETE)
map_get_next_key: Function[int] = Function(
    "bpf_map_get_next_key", c_int, c_int, c_void_p, c_void_p, fails="BPF_MAP_GET_NEXT_KEY"
)
map_freeze: Function[int] = Function("bpf_map_freeze", c_int, c_int, fails="BPF_MAP_FREEZE")
map_update_batch: Function[int] = Function(
    "bpf_map_update_batch",
    c_int,
    *(c_int, c_void_p, c_void_p, _number, POINTER(BatchOptions)),
    fails="BPF_MAP_UPDATE_BATCH",
)
map_delete_batch: Function[int] = Function(
    "bpf_map_delete_batch", c_int, c_int, c_void_p, _number, c_void_p, fails="BPF_MAP_DELETE_BATCH"
)
map_lookup_batch: Function[int] = Function(
    "bpf_map_lookup_batch",
    c_int,
    *(c_int, c_void_p, c_void_p, c_void_p, c_void_p, _number, POINTER(BatchOptions)),
    fails="BPF_MAP_LOOKUP_BATCH",
)

# The same without a check, for what is done to thousands of maps: these give -errno. An exception costs more than the
# call, and ENOENT is how most walks end.
try_map_lookup_elem_flags: Function[int] = Function(
    "bpf_map_lookup_elem_flags", c_int, c_int, c_void_p, c_void_p, c_uint64
)
try_map_get_fd_by_id: Function[int] = Function("bpf_map_get_fd_by_id", c_int, c_uint32)
try_map_lookup_batch: Function[int] = Function(
    "bpf_map_lookup_batch",
    c_int,
    *(c_int, c_void_p, c_void_p, c_void_p, c_void_p, _number, POINTER(BatchOptions)),
)

map_get_next_id: Function[int] = Function("bpf_map_get_next_id", c_int, c_uint32, _number, fails="BPF_MAP_GET_NEXT_ID")
prog_get_next_id: Function[int] = Function(
    "bpf_prog_get_next_id", c_int, c_uint32, _number, fails="BPF_PROG_GET_NEXT_ID"
)
link_get_next_id: Function[int] = Function(
    "bpf_link_get_next_id", c_int, c_uint32, _number, fails="BPF_LINK_GET_NEXT_ID"
)
map_get_fd_by_id: Function[int] = Function("bpf_map_get_fd_by_id", c_int, c_uint32, fails="BPF_MAP_GET_FD_BY_ID")
prog_get_fd_by_id: Function[int] = Function("bpf_prog_get_fd_by_id", c_int, c_uint32, fails="BPF_PROG_GET_FD_BY_ID")
btf_get_fd_by_id: Function[int] = Function("bpf_btf_get_fd_by_id", c_int, c_uint32, fails="BPF_BTF_GET_FD_BY_ID")
btf_load: Function[int] = Function("bpf_btf_load", c_int, c_char_p, c_size_t, c_void_p, fails="BPF_BTF_LOAD")
obj_get_info_by_fd: Function[int] = Function(
    "bpf_obj_get_info_by_fd", c_int, c_int, c_void_p, _number, fails="BPF_OBJ_GET_INFO_BY_FD"
)
obj_pin: Function[int] = Function("bpf_obj_pin", c_int, c_int, c_char_p, fails=PIN)
obj_get_opts: Function[int] = Function("bpf_obj_get_opts", c_int, c_char_p, POINTER(ObjectGetOptions), fails=GET)

link_create: Function[int] = Function(
    "bpf_link_create", c_int, c_int, c_int, c_int, POINTER(LinkCreateOptions), fails=LINK
)
raw_tracepoint_open: Function[int] = Function(
    "bpf_raw_tracepoint_open", c_int, c_char_p, c_int, fails="BPF_RAW_TRACEPOINT_OPEN"
)
link_update: Function[int] = Function("bpf_link_update", c_int, c_int, c_int, c_void_p, fails=RELINK)
link_detach: Function[int] = Function("bpf_link_detach", c_int, c_int, fails="BPF_LINK_DETACH")
prog_query: Function[int] = Function(
    "bpf_prog_query_opts", c_int, c_int, c_int, POINTER(ProgramQueryOptions), fails="BPF_PROG_QUERY"
)
xdp_query_id: Function[int] = Function("bpf_xdp_query_id", c_int, c_int, c_int, _number, fails="RTM_GETLINK")
tc_hook_create: Function[int] = Function("bpf_tc_hook_create", c_int, POINTER(TcHook), fails=QDISC)
tc_hook_destroy: Function[int] = Function("bpf_tc_hook_destroy", c_int, POINTER(TcHook), fails="RTM_DELQDISC")
tc_attach: Function[int] = Function("bpf_tc_attach", c_int, POINTER(TcHook), POINTER(TcOptions), fails=FILTER)
tc_detach: Function[int] = Function("bpf_tc_detach", c_int, POINTER(TcHook), POINTER(TcOptions), fails="RTM_DELTFILTER")
tc_query: Function[int] = Function("bpf_tc_query", c_int, POINTER(TcHook), POINTER(TcOptions), fails="RTM_GETTFILTER")
prog_test_run: Function[int] = Function(
    "bpf_prog_test_run_opts", c_int, c_int, POINTER(TestRunOptions), fails="BPF_PROG_TEST_RUN"
)

prog_load: Function[int] = Function(
    "bpf_prog_load",
    c_int,
    *(c_int, c_char_p, c_char_p, c_char_p, c_size_t, POINTER(ProgramLoadOptions)),
    fails=LOAD,
)

object_open_mem: Function[int] = Function(
    "bpf_object__open_mem", c_void_p, c_char_p, c_size_t, POINTER(ObjectOpenOptions), fails="open"
)
object_load: Function[int] = Function("bpf_object__load", c_int, c_void_p, fails=LOAD)
object_close: Function[None] = Function("bpf_object__close", None, c_void_p)
object_btf: Function[int | None] = Function("bpf_object__btf", c_void_p, c_void_p)
btf_raw_data: Function[int | None] = Function("btf__raw_data", c_void_p, c_void_p, _number)
object_next_map: Function[int | None] = Function("bpf_object__next_map", c_void_p, c_void_p, c_void_p)
object_next_program: Function[int | None] = Function("bpf_object__next_program", c_void_p, c_void_p, c_void_p)
map_name: Function[bytes] = Function("bpf_map__name", c_char_p, c_void_p)
map_type: Function[int] = Function("bpf_map__type", c_uint32, c_void_p)
map_key_size: Function[int] = Function("bpf_map__key_size", c_uint32, c_void_p)
map_value_size: Function[int] = Function("bpf_map__value_size", c_uint32, c_void_p)
map_max_entries: Function[int] = Function("bpf_map__max_entries", c_uint32, c_void_p)
map_map_flags: Function[int] = Function("bpf_map__map_flags", c_uint32, c_void_p)
map_map_extra: Function[int] = Function("bpf_map__map_extra", c_uint64, c_void_p)
map_numa_node: Function[int] = Function("bpf_map__numa_node", c_uint32, c_void_p)
map_btf_key_type_id: Function[int] = Function("bpf_map__btf_key_type_id", c_uint32, c_void_p)
map_btf_value_type_id: Function[int] = Function("bpf_map__btf_value_type_id", c_uint32, c_void_p)
map_inner_map: Function[int | None] = Function("bpf_map__inner_map", c_void_p, c_void_p)
map_is_internal: Function[bool] = Function("bpf_map__is_internal", c_bool, c_void_p)
map_fd: Function[int] = Function("bpf_map__fd", c_int, c_void_p)
map_set_inner_map_fd: Function[int] = Function(
    "bpf_map__set_inner_map_fd", c_int, c_void_p, c_int, fails="bpf_map__set_inner_map_fd"
)
map_reuse_fd: Function[int] = Function("bpf_map__reuse_fd", c_int, c_void_p, c_int, fails="bpf_map__reuse_fd")
map_pin_path: Function[bytes | None] = Function("bpf_map__pin_path", c_char_p, c_void_p)
map_set_pin_path: Function[int] = Function(
    "bpf_map__set_pin_path", c_int, c_void_p, c_char_p, fails="bpf_map__set_pin_path"
)
map_set_max_entries: Function[int] = Function(
    "bpf_map__set_max_entries", c_int, c_void_p, c_uint32, fails="bpf_map__set_max_entries"
)
map_set_key_size: Function[int] = Function(
    "bpf_map__set_key_size", c_int, c_void_p, c_uint32, fails="bpf_map__set_key_size"
)
map_set_value_size: Function[int] = Function(
    "bpf_map__set_value_size", c_int, c_void_p, c_uint32, fails="bpf_map__set_value_size"
)
map_set_numa_node: Function[int] = Function(
    "bpf_map__set_numa_node", c_int, c_void_p, c_uint32, fails="bpf_map__set_numa_node"
)
map_set_map_flags: Function[int] = Function(
    "bpf_map__set_map_flags", c_int, c_void_p, c_uint32, fails="bpf_map__set_map_flags"
)
map_initial_value: Function[int | None] = Function("bpf_map__initial_value", c_void_p, c_void_p, POINTER(c_size_t))
map_set_autocreate: Function[int] = Function(
    "bpf_map__set_autocreate", c_int, c_void_p, c_bool, fails="bpf_map__set_autocreate"
)
program_name: Function[bytes] = Function("bpf_program__name", c_char_p, c_void_p)
program_section: Function[bytes] = Function("bpf_program__section_name", c_char_p, c_void_p)
program_type: Function[int] = Function("bpf_program__type", c_int, c_void_p)
program_attach_type: Function[int] = Function("bpf_program__expected_attach_type", c_int, c_void_p)
program_fd: Function[int] = Function("bpf_program__fd", c_int, c_void_p)
program_set_type: Function[int] = Function(
    "bpf_program__set_type", c_int, c_void_p, c_int, fails="bpf_program__set_type"
)
program_set_attach_type: Function[int] = Function(
    "bpf_program__set_expected_attach_type", c_int, c_void_p, c_int, fails="bpf_program__set_expected_attach_type"
)
program_set_attach_target: Function[int] = Function(
    "bpf_program__set_attach_target", c_int, c_void_p, c_int, c_char_p, fails="bpf_program__set_attach_target"
)
program_set_autoload: Function[int] = Function(
    "bpf_program__set_autoload", c_int, c_void_p, c_bool, fails="bpf_program__set_autoload"
)

_lock = threading.Lock()
_loaded: list[ctypes.CDLL] = []


def _unusable(what: str) -> HostError:
    return HostError(
        Problem(what, hint="install libbpf 1.1 or later (package libbpf1 on Debian and Ubuntu)", id="libbpf-missing")
    )


def _load() -> None:
    """Load libbpf, refuse one that is too old, bind the whole table, take over its messages."""
    with _lock:
        if _loaded:
            return
        path = os.environ.get("PROVISIONER_LIBBPF") or "libbpf.so.1"
        try:
            library = ctypes.CDLL(path, use_errno=True)
        except OSError as error:
            raise _unusable(f"cannot load libbpf: {error}") from error
        major_version.bind(library)
        minor_version.bind(library)
        version = (major_version(), minor_version())
        if version < OLDEST:
            raise _unusable(f"libbpf {version[0]}.{version[1]} is too old")
        for function in Function.table:
            function.bind(library)
        set_print(ctypes.cast(_print_callback, c_void_p))
        _loaded.append(library)


def version() -> tuple[int, int]:
    """Major and minor version of the libbpf in use. Raises `HostError` if there is none, or too old a one."""
    return major_version(), minor_version()


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


_PERF_EVENT_OPEN: Final = {"x86_64": 298, "s390x": 331, "ppc64le": 319}
"""The number of the system call, which has no function in the C library; 241 elsewhere (asm-generic/unistd.h)."""

_FD_CLOEXEC: Final = 1 << 3
"""PERF_FLAG_FD_CLOEXEC."""


def perf_event_open(kind: int, *, config: int, symbol: str = "", offset: int = 0) -> int:
    """Open an event of all processes: gives its fd. For a kprobe, `symbol` is the function of the kernel."""
    name = ctypes.create_string_buffer(symbol.encode())
    attr = PerfEventAttr(type=kind, size=ctypes.sizeof(PerfEventAttr), config=config, config2=offset)
    attr.config1 = ctypes.addressof(name) if symbol else 0
    number = _PERF_EVENT_OPEN.get(os.uname().machine, 241)
    fd: int = _syscall(number, ctypes.byref(attr), -1, 0, -1, c_uint64(_FD_CLOEXEC))
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


def query_programs(ifindex: int, attach_type: int, room: int = 64) -> tuple[int, ...]:
    """The ids of the programs at a tcx hook, the first to run first."""
    ids = (c_uint32 * room)()
    options = ProgramQueryOptions(prog_ids=ctypes.addressof(ids), prog_cnt=room)
    prog_query(ifindex, attach_type, options)
    return tuple(ids[: min(room, options.prog_cnt)])


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


class _Logs(threading.local):
    """What libbpf says in this thread, for each `captured_log` that is open in it."""

    def __init__(self) -> None:
        self.open: list[list[str]] = []


_logs = _Logs()
_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes, _vsnprintf.restype = (c_char_p, c_size_t, c_char_p, c_void_p), c_int
_libc = ctypes.CDLL(None, use_errno=True)
_syscall, _mmap, _munmap = _libc.syscall, _libc.mmap, _libc.munmap
_mmap.argtypes, _mmap.restype = (c_void_p, c_size_t, c_int, c_int, c_int, c_int64), c_void_p
_munmap.argtypes, _munmap.restype = (c_void_p, c_size_t), c_int
_DEBUG: Final = 2


def _print(level: int, form: bytes, arguments: int) -> int:
    """A `libbpf_print_fn_t`. Its `va_list` reaches us as a pointer in every ABI that Linux runs BPF on."""
    if _logs.open and level < _DEBUG:
        text = ctypes.create_string_buffer(1 << 16)
        _vsnprintf(text, len(text), form, arguments)
        _logs.open[-1].append(text.value.decode(errors="replace"))
    return 0


_print_callback: Final = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)(_print)


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """What libbpf logs in this thread inside the block, with verifier logs. It is not shown elsewhere."""
    said: list[str] = []
    _logs.open.append(said)
    try:
        yield said
    finally:
        _logs.open.remove(said)


def new_buffer(size: int) -> Buffer:
    """Zeroed memory that the kernel writes to; `.raw` is its bytes."""
    return ctypes.create_string_buffer(size)


InfoRecord = TypeVar("InfoRecord", bound=ctypes.Structure)


def get_info(fd: int, record: InfoRecord) -> InfoRecord:
    """Fill `record` by BPF_OBJ_GET_INFO_BY_FD; fields that the kernel does not know stay zero."""
    obj_get_info_by_fd(fd, ctypes.addressof(record), c_uint32(ctypes.sizeof(record)))
    return record


def map_ids_of(fds: Iterable[int]) -> list[int]:
    """The ids of open maps: the kernel gives no more of a record than there is room for."""
    record, ids = MapInfoRecord(), []
    address, size = ctypes.addressof(record), MapInfoRecord.key_size.offset
    for fd in fds:
        obj_get_info_by_fd(fd, address, c_uint32(size))
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
        number = prog_load(kind, b"probe", b"GPL", code, len(code) // 8, options)
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
    return prog_load(kind, name.encode(), b"GPL", code, len(code) // 8, options)


def run_syscall_program(fd: int) -> int:
    """BPF_PROG_TEST_RUN of a program of type SYSCALL, which takes neither a packet nor a count: what it returns."""
    options = TestRunOptions()
    prog_test_run(fd, options)
    result: int = options.retval
    return result


def translated(fd: int) -> bytes:
    """A program's instructions as the verifier left them, with what it put inline; empty where it does not tell."""
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
    prog_test_run(fd, options)
    return options.retval, out.raw[: options.data_size_out]


def raw_btf(handle: int) -> bytes:
    """The `.BTF` of an open `bpf_object`, as libbpf holds it; empty if it has none."""
    btf = object_btf(handle)
    if not btf:
        return b""
    size = c_uint32(0)
    data = btf_raw_data(btf, size)
    return ctypes.string_at(data, size.value) if data else b""


def set_initial_bytes(at: int, offset: int, data: bytes) -> None:
    """Change a part of a data section before its object is loaded. Raises `KernelError` for what is not in it."""
    size = c_size_t(0)
    start = map_initial_value(at, size)
    if not start or offset + len(data) > size.value:
        raise KernelError("bpf_map__initial_value", errno.EINVAL)
    ctypes.memmove(start + offset, data, len(data))
