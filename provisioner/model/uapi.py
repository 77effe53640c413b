"""The names and numbers of the kernel, as in `include/uapi/linux/bpf.h`. It imports no other module of the package."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Annotated, Final

import msgspec

ENOTSUPP: Final = 524
"""The errno for an operation that a map type does not support; Python's `errno` does not have it."""

OBJ_NAME_LEN: Final = 15
"""Characters of a kernel object's name (BPF_OBJ_NAME_LEN less its NUL)."""

ADDRESS_SIZE: Final = 8
STACK_SIZE: Final = 127 * ADDRESS_SIZE
"""Bytes of a stack as deep as the kernel allows unless asked (kernel.perf_event_max_stack)."""

PERF_EVENT_SIZE: Final = 4
"""Bytes of the keys and values of a perf_event_array (perf_event_array_map_alloc_check)."""

U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
"""`__u32`: what is decoded is checked."""

Id = Annotated[int, msgspec.Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]
"""A number that the kernel gives: an id, an inode."""


class MapType(IntEnum):
    """`enum bpf_map_type`; the members' lower-case names are the spec's words."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33
    INSN_ARRAY = 34

    @classmethod
    def _missing_(cls, value: object) -> MapType | None:
        """A type that is newer than this table, which live maps can have."""
        if not isinstance(value, int) or value < 0:
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = f"TYPE_{value}", value
        return member

    @property
    def word(self) -> str:
        """The name in the spec: `hash_of_maps`."""
        return self.name.lower()


class MapFlag(IntFlag):
    """`BPF_F_*` flags of BPF_MAP_CREATE."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    STACK_BUILD_ID = 1 << 5
    ZERO_SEED = 1 << 6
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    CLONE = 1 << 9
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12


STRUCT_OPS_LINK: Final = MapFlag(1 << 13)
"""BPF_F_LINK: a struct_ops map with it is attached by a link, not by its value. No other map has it."""

FD_MODES: Final = MapFlag.RDONLY | MapFlag.WRONLY
"""Flags for the use of an fd; the map itself does not have them."""


class UpdateFlag(IntFlag):
    """Flags of BPF_MAP_UPDATE_ELEM."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2
    LOCK = 4


class Command(IntEnum):
    """`enum bpf_cmd`."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    ITER_CREATE = 33
    LINK_DETACH = 34
    PROG_BIND_MAP = 35
    TOKEN_CREATE = 36


class XdpMode(IntFlag):
    """`XDP_FLAGS_*` of `if_link.h`: the mode of an XDP attachment; AUTO leaves the choice to the kernel."""

    AUTO = 0
    GENERIC = 1 << 1
    NATIVE = 1 << 2
    OFFLOAD = 1 << 3


XDP_MODES: Final = {
    "auto": XdpMode.AUTO,
    "native": XdpMode.NATIVE,
    "generic": XdpMode.GENERIC,
    "offload": XdpMode.OFFLOAD,
}
"""Modes by their names in the spec."""


class LinkType(IntEnum):
    """`enum bpf_link_type`."""

    UNSPEC = 0
    RAW_TRACEPOINT = 1
    TRACING = 2
    CGROUP = 3
    ITER = 4
    NETNS = 5
    XDP = 6
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    STRUCT_OPS = 9
    NETFILTER = 10
    TCX = 11
    UPROBE_MULTI = 12
    NETKIT = 13


class TcPoint(IntFlag):
    """`enum bpf_tc_attach_point` of libbpf: the hooks of a clsact qdisc."""

    INGRESS = 1
    EGRESS = 2

    @property
    def word(self) -> str:
        """`ingress`."""
        return str(self.name).lower()


class AttachType(IntEnum):
    """Members of `enum bpf_attach_type` that are named here; a program's section says which it is made for."""

    CGROUP_INET_INGRESS = 0
    FLOW_DISSECTOR = 17
    TRACE_ITER = 28
    SK_LOOKUP = 36
    XDP = 37
    PERF_EVENT = 41
    TRACE_KPROBE_MULTI = 42
    STRUCT_OPS = 44
    TCX_INGRESS = 46
    TCX_EGRESS = 47
    TRACE_UPROBE_MULTI = 48
    TRACE_KPROBE_SESSION = 56


OUTER_TYPES: Final = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})

ARRAY_TYPES: Final = frozenset(
    {
        MapType.ARRAY,
        MapType.PERCPU_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.DEVMAP,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.REUSEPORT_SOCKARRAY,
    }
)
"""Types whose key is a u32 index below max_entries."""

GENERATIONAL_TYPES: Final = frozenset({MapType.PROG_ARRAY, MapType.STRUCT_OPS})
"""Types whose maps belong to the programs that were loaded with them: an upgrade does not carry them over."""

PERCPU_TYPES: Final = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
"""Types with one value per possible CPU, each rounded up to 8 bytes when copied to or from user space."""

KEYLESS_TYPES: Final = frozenset({MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER})
"""Types with values and no keys."""

BARE_TYPES: Final = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF, MapType.ARENA})
"""Types with neither keys nor values."""

LRU_TYPES: Final = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})
"""Types from which the kernel evicts entries."""

STORAGE_TYPES: Final = frozenset(
    {
        MapType.SK_STORAGE,
        MapType.INODE_STORAGE,
        MapType.TASK_STORAGE,
        MapType.CGRP_STORAGE,
        MapType.CGROUP_STORAGE,
        MapType.PERCPU_CGROUP_STORAGE,
    }
)
"""Local storage: its values belong to sockets, inodes, tasks or cgroups, and it has no max_entries."""

SOCKET_TYPES: Final = frozenset(
    {
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.STACK_TRACE,
        MapType.SOCKMAP,
        MapType.SOCKHASH,
        MapType.XSKMAP,
        MapType.REUSEPORT_SOCKARRAY,
    }
)
"""Types whose values are sockets or events of a process: what is read is not what was written."""

INNER_TYPES: Final = (
    frozenset(MapType)
    - OUTER_TYPES
    - {
        MapType.PROG_ARRAY,
        MapType.STRUCT_OPS,
        MapType.CGROUP_STORAGE,
        MapType.PERCPU_CGROUP_STORAGE,
        MapType.INSN_ARRAY,
    }
)
"""Types that `bpf_map_meta_alloc` (kernel/bpf/map_in_map.c) accepts as inner maps."""


NEEDED_FLAGS: Final = {
    MapType.LPM_TRIE: MapFlag.NO_PREALLOC,
    MapType.SK_STORAGE: MapFlag.NO_PREALLOC,
    MapType.INODE_STORAGE: MapFlag.NO_PREALLOC,
    MapType.TASK_STORAGE: MapFlag.NO_PREALLOC,
    MapType.CGRP_STORAGE: MapFlag.NO_PREALLOC,
    MapType.ARENA: MapFlag.MMAPABLE,
}
"""Flags that a type requires (trie_alloc, bpf_local_storage_map_alloc_check, arena_map_alloc)."""


def flag_names(flags: MapFlag) -> list[str]:
    """The names of flags in the spec, in the order of their bits."""
    return [str(flag.name).lower() for flag in MapFlag if flag & flags]


def flag_words(flags: MapFlag) -> str:
    """Flags as the kernel has them, and by name: `0x1 (no_prealloc)`."""
    names = " ".join(flag_names(flags))
    return f"{flags.value:#x} ({names})" if names else f"{flags.value:#x}"


def object_name(name: str) -> str:
    """`name` as the kernel stores it: 15 characters of [A-Za-z0-9_.], which are never compared."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "_.") else "_" for char in name)
    return kept[:OBJ_NAME_LEN]
