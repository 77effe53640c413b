"""Live maps as an export reads them. Pure."""

from __future__ import annotations

import msgspec

from provisioner.model.map_shape import MapShape
from provisioner.model.types import Bytes
from provisioner.model.uapi import LRU_TYPES, MapType


class FoundTypes(msgspec.Struct, frozen=True):
    """The types of a map in the kernel: BTF, and the ids of key and value in it, 0 if unknown."""

    btf: bytes
    key_id: int
    value_id: int


class FoundInner(msgspec.Struct, frozen=True):
    """A map with entries: `keys` (n, key size) and `values` (n, value size), empty if they are not exported."""

    id: int
    max_entries: int
    keys: Bytes
    values: Bytes


class FoundMap(msgspec.Struct, frozen=True):
    """A live map. `pin` is empty if it has no pin.

    An outer map has `slots`, its keys (m, key size), and for each the number of its inner map in `slot_inner`;
    `entry_shape` is the shape of the first inner map, None without one. `template` is that of a project whose map it
    is, which the kernel does not show. A plain map is its own only inner map.
    """

    id: int
    name: str
    pin: str
    shape: MapShape
    types: FoundTypes
    entry_shape: MapShape | None
    entry_types: FoundTypes
    slots: Bytes
    slot_inner: tuple[int, ...]
    inners: tuple[FoundInner, ...]
    template: MapShape | None = None


def lists_entries(shape: MapShape) -> bool:
    """Whether a spec can declare the entries of such a map: not if programs or the kernel change them.

    The kernel evicts entries of LRU maps; per-CPU values are counters of programs; a prog_array has programs of another
    loader, which a spec cannot name.
    """
    if shape.map_type is MapType.PROG_ARRAY:
        return False
    return shape.is_listable and shape.map_type not in LRU_TYPES and not shape.is_percpu
