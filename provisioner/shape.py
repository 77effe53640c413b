"""What a map is, apart from what is in it: the arguments of BPF_MAP_CREATE."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.uapi import ARRAY_TYPES, OUTER_TYPES, PERCPU_TYPES, MapFlag, MapType


@dataclass(frozen=True, slots=True)
class MapShape:
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

    @property
    def is_outer(self) -> bool:
        return self.map_type in OUTER_TYPES

    @property
    def is_array(self) -> bool:
        """Whether the key is an index that always exists."""
        return self.map_type in ARRAY_TYPES

    @property
    def is_percpu(self) -> bool:
        return self.map_type in PERCPU_TYPES
