"""What a map is, apart from what is in it: the arguments of BPF_MAP_CREATE."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from provisioner.uapi import (
    ARRAY_TYPES,
    BARE_TYPES,
    KEYLESS_TYPES,
    LRU_TYPES,
    OUTER_TYPES,
    PERCPU_TYPES,
    SOCKET_TYPES,
    MapFlag,
    MapType,
)


class MapShape(msgspec.Struct, frozen=True):
    """Type, sizes in bytes, capacity and flags of a map, as the kernel takes them and gives them back.

    `value_size` is that of one value: per-CPU maps move `round_up(value_size, 8)` bytes for each possible CPU.
    """

    map_type: MapType
    key_size: int
    value_size: int
    max_entries: int
    map_flags: MapFlag = MapFlag(0)
    map_extra: int = 0
    numa_node: int | None = None

    def with_capacity(self, max_entries: int) -> MapShape:
        """The same shape with other room."""
        return replace(self, max_entries=max_entries)

    def kept_capacity(self, max_entries: int, possible_cpus: int) -> int:
        """What the kernel makes of `max_entries`: an LRU without a common list has equal shares for all CPUs.

        Rounded up to a multiple of the possible CPUs (htab_map_alloc, kernel/bpf/hashtab.c).
        """
        if self.map_type in LRU_TYPES and self.map_flags & MapFlag.NO_COMMON_LRU:
            return -(-max_entries // possible_cpus) * possible_cpus
        return max_entries

    @property
    def is_outer(self) -> bool:
        return self.map_type in OUTER_TYPES

    @property
    def is_array(self) -> bool:
        """Whether the key is an index that always exists."""
        return self.map_type in ARRAY_TYPES

    @property
    def is_listable(self) -> bool:
        """Whether the kernel can list what it holds, and a value that is read means what was written."""
        return self.map_type not in KEYLESS_TYPES | BARE_TYPES | SOCKET_TYPES

    @property
    def is_percpu(self) -> bool:
        return self.map_type in PERCPU_TYPES
