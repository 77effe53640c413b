"""Special fields of map values, which the kernel manages: locks, timers, kernel pointers.

The kernel finds them by the names of their types in the BTF that a map is created with (`btf_get_field_type`,
kernel/bpf/btf.c), and inner maps must agree on them with their template (`btf_record_equal`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from provisioner.model.uapi import LRU_TYPES, PERCPU_TYPES, U32, MapType

SPIN_LOCK: Final = "bpf_spin_lock"

STRUCTS: Final = frozenset(
    {
        SPIN_LOCK,
        "bpf_res_spin_lock",
        "bpf_timer",
        "bpf_wq",
        "bpf_task_work",
        "bpf_list_head",
        "bpf_list_node",
        "bpf_rb_root",
        "bpf_rb_node",
        "bpf_refcount",
    }
)
"""Structs that the kernel manages inside map values."""

POINTER_TAGS: Final = frozenset({"kptr", "kptr_untrusted", "percpu_kptr"})
"""Type tags of pointers that the kernel manages: to its own structs, which it finds by name, or to the program's."""

LINKED: Final = frozenset({"bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node"})
"""Fields whose record refers to the BTF of the object, so that no other BTF makes an equal inner map."""

CALLED_BACK: Final = frozenset({"bpf_timer", "bpf_wq", "bpf_task_work"})
"""Fields with callbacks into the program. They work only in maps that user space keeps by an fd or a pin."""

_HASH_OR_ARRAY: Final = frozenset({MapType.HASH, MapType.ARRAY})
_HASHES_OR_ARRAYS: Final = _HASH_OR_ARRAY | LRU_TYPES | PERCPU_TYPES
_WITH_CALLBACKS: Final = _HASH_OR_ARRAY | {MapType.LRU_HASH}

TAKEN_BY: Final[Mapping[str, frozenset[MapType]]] = {
    SPIN_LOCK: _HASH_OR_ARRAY,
    "bpf_res_spin_lock": _HASH_OR_ARRAY,
    "bpf_timer": _WITH_CALLBACKS,
    "bpf_wq": _WITH_CALLBACKS,
    "bpf_task_work": _WITH_CALLBACKS,
    "kptr": _HASHES_OR_ARRAYS,
    "kptr_untrusted": _HASHES_OR_ARRAYS,
    "percpu_kptr": _HASHES_OR_ARRAYS,
}
"""Types of inner maps whose values can have a field (`map_check_btf`, kernel/bpf/syscall.c)."""


class Special(msgspec.Struct, frozen=True, order=True):
    """A field that belongs to the kernel: `offset` in bytes from the value's start, `kind` as the kernel calls it.

    A pointer's kind says what it points to: `kptr task_struct`.
    """

    offset: U32
    kind: str

    def moved(self, offset: int) -> Special:
        """The same field at an offset that is larger by `offset`."""
        return Special(self.offset + offset, self.kind)

    @property
    def word(self) -> str:
        """The kind without the target of a pointer."""
        return self.kind.partition(" ")[0]


def in_words(specials: Iterable[Special]) -> str:
    """`bpf_spin_lock at 4, bpf_timer at 8`, or `none`."""
    return ", ".join(f"{special.kind} at {special.offset}" for special in specials) or "none"
