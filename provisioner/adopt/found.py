"""Live maps as they were found, whoever made them: values that `kernel` reads and an export is written from. Pure."""

from __future__ import annotations

import msgspec

from provisioner.model.map_shape import MapShape
from provisioner.model.types import Bytes
from provisioner.model.uapi import LRU_TYPES


class FoundTypes(msgspec.Struct, frozen=True):
    """What the kernel knows of a map's types: BTF, and the ids of key and value in it, 0 where it knows none."""

    btf: bytes
    key_id: int
    value_id: int


class FoundInner(msgspec.Struct, frozen=True):
    """A map that holds entries: `keys` (n, key size) and `values` (n, value size), none where they do not count."""

    id: int
    max_entries: int
    keys: Bytes
    values: Bytes


class FoundMap(msgspec.Struct, frozen=True):
    """A live map. `pin` is empty where it is pinned nowhere.

    An outer map has `slots`, its keys (m, key size), and for each the number of its inner map in `slot_inner`;
    `entry_shape` is that of the first of them, None where there is none. A plain map is its own one inner map.
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


def lists_entries(shape: MapShape) -> bool:
    """Whether entries of such a map are a state that a spec can hold: not those that programs or the kernel change.

    The kernel drops entries of LRU maps by itself; per-CPU values are what programs count.
    """
    return shape.is_listable and shape.map_type not in LRU_TYPES and not shape.is_percpu
