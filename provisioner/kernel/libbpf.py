"""The table of libbpf's functions, each with its signature. What fills structures and buffers is in `calls`."""

from __future__ import annotations

from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from provisioner.kernel.binding import Function, major_version, minor_version
from provisioner.kernel.reasons import CREATE, DELETE, FILTER, GET, LINK, LOAD, PIN, QDISC, RELINK, UPDATE
from provisioner.kernel.structures import (
    BatchOptions,
    LinkCreateOptions,
    MapCreateOptions,
    ObjectGetOptions,
    ObjectOpenOptions,
    ProgramLoadOptions,
    ProgramQueryOptions,
    TcHook,
    TcOptions,
    TestRunOptions,
)

_number = POINTER(c_uint32)

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
program_autoload: Function[bool] = Function("bpf_program__autoload", c_bool, c_void_p)
program_set_autoload: Function[int] = Function(
    "bpf_program__set_autoload", c_int, c_void_p, c_bool, fails="bpf_program__set_autoload"
)


def version() -> tuple[int, int]:
    """Major and minor version of the libbpf in use. Raises `HostError` if there is none, or too old a one."""
    return major_version(), minor_version()
