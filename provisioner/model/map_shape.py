"""The shape of a map: the arguments of BPF_MAP_CREATE."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from provisioner.model.special_fields import LINKED, SPIN_LOCK, TAKEN_BY, Special, in_words
from provisioner.model.uapi import (
    ARRAY_TYPES,
    BARE_TYPES,
    KEYLESS_TYPES,
    LRU_TYPES,
    OUTER_TYPES,
    PERCPU_TYPES,
    SOCKET_TYPES,
    STORAGE_TYPES,
    U32,
    Id,
    MapFlag,
    MapType,
    flag_words,
)
from provisioner.model.words import with_article

_UNLISTABLE: Final = KEYLESS_TYPES | BARE_TYPES | SOCKET_TYPES | STORAGE_TYPES | {MapType.STRUCT_OPS}

UINT32_MAX: Final = (1 << 32) - 1


class MapShape(msgspec.Struct, frozen=True):
    """Type, sizes in bytes, capacity and flags of a map, as the kernel takes them and gives them back.

    `value_size` is that of one value: per-CPU maps move `round_up(value_size, 8)` bytes for each possible CPU.
    `specials` are the fields of its values that belong to the kernel, by offset; None where the BTF of a live map may
    not be read.
    """

    map_type: MapType
    key_size: U32
    value_size: U32
    max_entries: U32
    map_flags: MapFlag = MapFlag(0)
    map_extra: Id = 0
    numa_node: U32 | None = None
    specials: tuple[Special, ...] | None = ()

    def with_capacity(self, max_entries: int) -> MapShape:
        """The same shape with another max_entries."""
        return replace(self, max_entries=max_entries)

    def with_sizes(self, key_size: int, value_size: int) -> MapShape:
        """The same shape with these sizes where it has none: an object can leave them to its loader."""
        return replace(self, key_size=self.key_size or key_size, value_size=self.value_size or value_size)

    def kept_capacity(self, max_entries: int, possible_cpus: int) -> int:
        """What the kernel makes of `max_entries`: an LRU without a common list has equal shares for all CPUs.

        Rounded up to a multiple of the possible CPUs, or down where 32 bits do not hold it (htab_map_alloc,
        kernel/bpf/hashtab.c).
        """
        if self.map_type in LRU_TYPES and self.map_flags & MapFlag.NO_COMMON_LRU:
            rounded = -(-max_entries // possible_cpus) * possible_cpus
            return rounded if rounded <= UINT32_MAX else rounded - possible_cpus
        return max_entries

    @property
    def created_flags(self) -> MapFlag:
        """The flags for the creation of the map: a NUMA node has its own flag."""
        return self.map_flags | (MapFlag.NUMA_NODE if self.numa_node is not None else MapFlag(0))

    @property
    def has_fixed_capacity(self) -> bool:
        """Whether an outer map takes inner maps of one max_entries only (`map_meta_equal` of each type).

        An array's bound is compiled into programs unless it has BPF_F_INNER_MAP (4a8f87e60f6d), an XSKMAP's always.
        """
        bound_by_flag = self.map_type is MapType.ARRAY and not self.map_flags & MapFlag.INNER_MAP
        return bound_by_flag or self.map_type is MapType.XSKMAP

    @property
    def is_outer(self) -> bool:
        return self.map_type in OUTER_TYPES

    @property
    def is_array(self) -> bool:
        """Whether the key is an index that always exists."""
        return self.map_type in ARRAY_TYPES

    @property
    def deletes_by_zero(self) -> bool:
        """Whether an entry cannot be deleted, but only set to zero: every array except one with empty slots."""
        return self.is_array and self.map_type is not MapType.PROG_ARRAY

    @property
    def is_listable(self) -> bool:
        """Whether the kernel can list the entries, and a value that is read is the value that was written."""
        return self.map_type not in _UNLISTABLE

    @property
    def is_locked(self) -> bool:
        """Whether values have a spin lock, under which the kernel copies them on request (BPF_F_LOCK)."""
        return any(special.kind == SPIN_LOCK for special in self.specials or ())

    def same_specials(self, other: MapShape) -> bool:
        """Whether both have the same special fields (`btf_record_equal`), as far as is known."""
        return self.specials is None or other.specials is None or self.specials == other.specials

    def specials_in_words(self) -> str:
        return in_words(self.specials or ())

    @property
    def is_percpu(self) -> bool:
        return self.map_type in PERCPU_TYPES


def rounded_up(size: int) -> int:
    """Bytes that a part takes which the kernel, or a record of ours, aligns to 8 bytes."""
    return -(-size // 8) * 8


def value_stride(shape: MapShape, possible_cpus: int) -> int:
    """Bytes that the system call moves for one value: per-CPU maps move one, rounded up to 8, for each possible CPU."""
    return rounded_up(shape.value_size) * possible_cpus if shape.is_percpu else shape.value_size


_WITH_EXTRA: Final = frozenset({MapType.BLOOM_FILTER, MapType.ARENA})


def unmakeable(shape: MapShape) -> str:
    """The reason why no map of this shape can be created; empty if it is possible.

    For map_extra see map_create, kernel/bpf/syscall.c.
    """
    word = shape.map_type.word
    if shape.map_extra and shape.map_type not in _WITH_EXTRA:
        return f"{with_article(word)} cannot have map_extra: it is for a bloom_filter or an arena"
    for special in shape.specials or ():
        if special.word in LINKED:
            at = f"(byte {special.offset} of the value)"
            return f"a {special.word} {at} refers to the BTF of its program: only libbpf can create such a map"
        if shape.map_type not in TAKEN_BY.get(special.word, {shape.map_type}):
            return f"values of {with_article(word)} cannot have a {special.word} (byte {special.offset} of the value)"
    return ""


def shape_differences(desired: MapShape, observed: MapShape, *, capacity: bool = True) -> str:
    """The differences between two shapes, in words; empty if there are none."""
    if desired == observed:
        return ""
    if desired.map_type is observed.map_type is MapType.STRUCT_OPS:
        return ""  # libbpf gives it the size of the running kernel's struct (bpf_map__init_kern_struct_ops)
    differences: list[str] = []
    if desired.map_type != observed.map_type:
        differences.append(f"type {observed.map_type.word} -> {desired.map_type.word}")
    fields = [
        ("key_size", desired.key_size, observed.key_size),
        ("value_size", desired.value_size, observed.value_size),
        ("map_extra", desired.map_extra, observed.map_extra),
    ]
    if capacity:
        fields.append(("max_entries", desired.max_entries, observed.max_entries))
    differences += [f"{name} {before} -> {after}" for name, after, before in fields if after != before]
    if desired.map_flags != observed.map_flags:
        differences.append(f"map_flags {flag_words(observed.map_flags)} -> {flag_words(desired.map_flags)}")
    if not desired.same_specials(observed):
        differences.append(f"special fields {observed.specials_in_words()} -> {desired.specials_in_words()}")
    return ", ".join(differences)
