"""How much kernel memory maps take, worked out before they are made. Pure.

The formulas are those by which the kernel counts a map (`map_mem_usage` of each type, shown as `memlock` in fdinfo);
tests hold them against what it says of real maps, of all types and sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from provisioner.model.desired import DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import LRU_TYPES, MapFlag, MapType
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.plan import Plan
from provisioner.planning.steps import CarrySlots, CreateMap, LoadObject, PublishSlots, WriteEntries

_PAGE: Final = 4096
_OWN: Final = 320
"""A map's own structure, about: `struct bpf_map` and what its type adds."""

_HASH_OWN: Final = 896
"""`struct bpf_htab`, with its counters."""

_POINTER: Final = 8
_ELEMENT: Final = 48
"""`struct htab_elem` without its key."""

_LRU_ELEMENT: Final = 64
"""The same, with its place in the LRU's lists."""

_TRIE_NODE: Final = 24
"""`struct lpm_trie_node` without its prefix. Where two part, a trie has one more, which the kernel does not count: half
as many are taken into account.
"""

_DEVICE: Final = 64
"""`struct bpf_dtab_netdev`."""

_POINTERS: Final = frozenset(
    {
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.SOCKMAP,
        MapType.XSKMAP,
        MapType.DEVMAP,
        MapType.CPUMAP,
        MapType.REUSEPORT_SOCKARRAY,
    }
)
"""Arrays of pointers to what they hold."""


class Footprint(msgspec.Struct, frozen=True):
    """Bytes of kernel memory: what an apply needs in addition to the live objects, and what it frees at its end.

    Maps that are replaced or deleted wait for the end of the apply, so that it can be taken back: until then there is
    room for the old and the new.
    """

    needed: int
    freed: int


def estimate(plan: Plan) -> Footprint:
    """What a plan takes and gives back, about; the entries of others that are copied are not known to it."""
    cpus = plan.desired.host.possible_cpus
    needed = freed = 0
    for step in plan.steps:
        match step:
            case CreateMap():
                change = plan.maps[step.map]
                needed += _created(change, cpus)
            case CarrySlots() if step.create:
                change = plan.maps[step.map]
                needed += map_bytes(change.desired.shape, cpus, 0) + len(step.slots) * entry_bytes(
                    change.desired.shape, cpus
                )
            case PublishSlots():
                change = plan.maps[step.map]
                needed += _slots(_desired(change), change.slots.desired[step.slots], cpus)
            case WriteEntries() if not step.fresh:
                change = plan.maps[step.map]
                inserts = int(change.slots.inserts[step.slots].sum())
                needed += inserts * entry_bytes(_desired(change).entry_shape, cpus)
            case LoadObject():
                shapes = plan.desired.objects[step.object].maps
                needed += sum(map_bytes(shapes[name], cpus, 0) for name in step.fresh)
            case _:
                pass
    for change in plan.maps.values():
        freed += _gone(change, cpus)
    return Footprint(needed, freed)


def map_bytes(shape: MapShape, possible_cpus: int, entries: int) -> int:
    """Bytes that a map of this shape takes with so many entries in it."""
    return _fixed(shape, possible_cpus) + entries * entry_bytes(shape, possible_cpus)


def entry_bytes(shape: MapShape, possible_cpus: int) -> int:
    """What one more entry takes; nothing where the room for all of them is there from the start."""
    if shape.map_type is MapType.LPM_TRIE:
        return (_TRIE_NODE + shape.key_size - 4 + shape.value_size) * 3 // 2
    if shape.map_type is MapType.DEVMAP_HASH:
        return _DEVICE
    if not shape.map_flags & MapFlag.NO_PREALLOC:
        return 0
    return _element(shape, possible_cpus) + (3 if shape.is_percpu else 1) * _POINTER


def _desired(change: MapChange) -> DesiredMap:
    return change.desired


def _created(change: MapChange, cpus: int) -> int:
    desired = _desired(change)
    if desired.outer is None:
        return map_bytes(desired.shape, cpus, int(desired.entries.counts.sum()))
    return _fixed(desired.shape, cpus) + _slots(desired, np.arange(len(desired.slots.keys)), cpus)


def _slots(desired: DesiredMap, slots: Index, cpus: int) -> int:
    """New inner maps for desired slots; a shared one is one map, in however many slots."""
    slots = slots[desired.slots.member[slots] < 0]
    if not len(slots):
        return 0
    share = desired.slots.shared[slots]
    _, first = np.unique(np.where(share >= 0, share, -1 - np.arange(len(share))), return_index=True)
    own = slots[first]
    capacity = desired.slots.max_entries[own]
    entries = int(desired.entries.counts[own].sum())
    return _of_capacities(desired.entry_shape, capacity, cpus) + entries * entry_bytes(desired.entry_shape, cpus)


def _gone(change: MapChange, cpus: int) -> int:
    """What the inner maps take that are replaced or deleted: their room, and the entries that were seen in them."""
    live, slots = change.observed, change.slots
    if live is None or live.entry_shape is None or not live.shape.is_outer:
        return 0
    rows = np.flatnonzero(slots.is_any(Action.REPLACE, Action.DELETE) & (slots.observed >= 0))
    seen = int((slots.unchanged[rows] + slots.updates[rows] + slots.deletes[rows]).sum())
    room = _of_capacities(live.entry_shape, slots.capacity_before[rows], cpus)
    return room + seen * entry_bytes(live.entry_shape, cpus)


def _of_capacities(shape: MapShape, capacities: Iterable[int], cpus: int) -> int:
    counts = Counter(np.asarray(capacities).tolist())
    return sum(count * _fixed(shape.with_capacity(size), cpus) for size, count in counts.items())


def _fixed(shape: MapShape, cpus: int) -> int:
    """What a map takes from the start."""
    kind, capacity = shape.map_type, shape.max_entries
    if kind in _POINTERS:
        return _OWN + capacity * _POINTER
    match kind:
        case MapType.ARRAY:
            size = capacity * _up(shape.value_size, 8)
            return _OWN + (_up(size, _PAGE) + _PAGE if shape.map_flags & MapFlag.MMAPABLE else size)
        case MapType.PERCPU_ARRAY:
            return _OWN + capacity * (_POINTER + _up(shape.value_size, 8) * cpus)
        case MapType.LPM_TRIE:
            return _OWN
        case MapType.QUEUE | MapType.STACK:
            return _OWN + (capacity + 1) * shape.value_size
        case MapType.BLOOM_FILTER:
            # nr_hash_funcs * max_entries / ln 2 bits, to a power of two (bloom_map_alloc)
            return _OWN + _power_of_two(capacity * (shape.map_extra or 5) * 7 // 5) // 8
        case MapType.RINGBUF | MapType.USER_RINGBUF:
            return _OWN + capacity + 3 * _PAGE + 2 * capacity // _PAGE * _POINTER
        case MapType.STACK_TRACE:
            return _OWN + _power_of_two(capacity) * _POINTER + capacity * (24 + shape.value_size)
        case MapType.DEVMAP_HASH:
            return _OWN + _power_of_two(capacity) * _POINTER
        case MapType.SOCKHASH:
            return _OWN + _power_of_two(capacity) * 16
        case _:
            return _hash(shape, cpus)


def _hash(shape: MapShape, cpus: int) -> int:
    """htab_map_mem_usage: buckets, and elements that are there from the start unless it is NO_PREALLOC."""
    buckets = _HASH_OWN + _power_of_two(shape.max_entries) * 16
    if shape.map_flags & MapFlag.NO_PREALLOC:
        return buckets
    spare = 0 if shape.map_type in LRU_TYPES or shape.is_percpu else cpus
    return buckets + (shape.max_entries + spare) * _element(shape, cpus)


def _element(shape: MapShape, cpus: int) -> int:
    head = (_LRU_ELEMENT if shape.map_type in LRU_TYPES else _ELEMENT) + _up(shape.key_size, 8)
    value = _up(shape.value_size, 8)
    return head + (_POINTER + value * cpus if shape.is_percpu else value)


def _up(size: int, to: int) -> int:
    return -(-size // to) * to


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
