"""The program that looks up keys in the inner maps of an outer map, or in one plain map, and writes them. Pure.

It walks records in an array, each with the key of a slot and the key of an entry. Into each it writes the value, or how
many entries the slot has. The first of state 0 ends them. No system call looks up more than one key, and none counts.

An entry is written or deleted only in the map with the id that its record has, and not in a frozen one, which a program
could write. Then it is looked up, as any other. The first that is not written ends the records, too.
`bpf/lookup.bpf.c` is the same program in C.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final

import msgspec

from provisioner.bytecode.assembler import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    Alu,
    Assembled,
    Assembler,
    Helper,
    Jump,
    Register,
)
from provisioner.bytecode.records import walk, words
from provisioner.model.map_shape import rounded_up
from provisioner.model.uapi import MapType

TYPES: Final = frozenset({MapType.HASH, MapType.ARRAY})
"""The types in which a lookup gives the whole value, and changes nothing.

In an LRU map, a lookup by a program marks the entry as used, so that the kernel evicts another one in its place; one by
a system call does not (htab_lru_map_lookup_elem, htab_lru_map_lookup_elem_sys). In a per-CPU map, it gives the value of
one CPU; in a trie, that of a shorter prefix.
"""

_STATE, _ID, _COUNT, _SLOT = 0, 4, 8, 16
"""Where the parts of a record are: the slot's key is followed by the entry's key, then the value, each aligned."""


class Looked(IntEnum):
    """The state of a record: none, a key to look up, found, no such key, no inner map in the slot, to be counted.

    The others are of a program that writes: an entry to write, one to delete, another map or a frozen one in the slot,
    and a write that failed, with its errno as the count.
    """

    END = 0
    ASKED = 1
    FOUND = 2
    MISSING = 3
    EMPTY = 4
    COUNTED = 5
    WRITTEN = 6
    DELETED = 7
    OTHER = 8
    FAILED = 9


class LookupRecord(msgspec.Struct, frozen=True):
    """The sizes of a record's parts in bytes. `slot_size` is 0 for a plain map."""

    slot_size: int
    key_size: int
    value_size: int

    @property
    def slot(self) -> slice:
        return slice(_SLOT, _SLOT + self.slot_size)

    @property
    def key(self) -> slice:
        start = _SLOT + rounded_up(self.slot_size)
        return slice(start, start + self.key_size)

    @property
    def value(self) -> slice:
        start = self.key.start + rounded_up(self.key_size)
        return slice(start, start + self.value_size)

    @property
    def size(self) -> int:
        return int(self.value.start) + rounded_up(self.value_size)


def lookup_program(
    record: LookupRecord, records: int, target: int, id_at: int, frozen_at: int | None = None
) -> Assembled:
    """`records` and `target` are fds: of the array, and of the map.

    `id_at` is the offset of a map's id. With `frozen_at`, the offset of whether it is frozen, the program writes, too.
    """
    code = Assembler()
    walk(code, records, "record")
    code.exit(0)
    code.function("record")
    _record(code, record, target, id_at, frozen_at)
    code.function("entry")
    code.exit(0)
    return code.assemble()


def _record(code: Assembler, record: LookupRecord, target: int, id_at: int, frozen_at: int | None) -> None:
    """R6 is the record, R7 the map in its slot, R8 what is asked."""
    code.mov(R6, R3)
    code.load(R8, R6, _STATE, 4)
    code.jump_if(Jump.EQ, R8, Looked.END, "end of records")
    code.map(R7, target)
    if record.slot_size:
        _look_up(code, R7, record.slot.start)
        code.jump_if(Jump.EQ, R0, 0, "empty")
        code.mov(R7, R0)
    code.load(R1, R7, id_at, 4)
    if frozen_at is not None:
        _write(code, record, frozen_at)
    code.store(R6, _ID, R1, 4)
    code.jump_if(Jump.NE, R8, Looked.COUNTED, "key")
    code.mov(R1, R7)
    code.callback(R2, "entry")
    code.mov(R3, 0)
    code.mov(R4, 0)
    code.call(Helper.FOR_EACH_MAP_ELEM)
    code.store(R6, _COUNT, R0, 4)
    code.exit(0)
    code.label("key")
    _look_up(code, R7, record.key.start)
    code.jump_if(Jump.EQ, R0, 0, "missing")
    for offset, width in words(record.value_size):
        code.load(R1, R0, offset, width)
        code.store(R6, record.value.start + offset, R1, width)
    code.store(R6, _STATE, Looked.FOUND, 4)
    code.exit(0)
    code.label("missing")
    code.store(R6, _STATE, Looked.MISSING, 4)
    code.exit(0)
    if record.slot_size:
        code.label("empty")
        code.store(R6, _ID, 0, 4)
        code.store(R6, _STATE, Looked.EMPTY, 4)
        code.exit(0)
    if frozen_at is not None:
        code.label("other")
        code.store(R6, _ID, R1, 4)
        code.store(R6, _STATE, Looked.OTHER, 4)
        code.exit(1)
        code.label("failed")
        code.mov(R1, 0)
        code.alu(Alu.SUB, R1, R0)
        code.store(R6, _COUNT, R1, 4)
        code.store(R6, _STATE, Looked.FAILED, 4)
        code.exit(1)
    code.label("end of records")
    code.exit(1)


def _write(code: Assembler, record: LookupRecord, frozen_at: int) -> None:
    """Write or delete the entry, if that is asked, and then look it up; R1 is the id of the map."""
    code.jump_if(Jump.LE, R8, Looked.COUNTED, "look")
    code.load(R2, R6, _ID, 4)
    code.jump_if(Jump.NE, R1, R2, "other")
    code.load(R2, R7, frozen_at, 1)
    code.jump_if(Jump.NE, R2, 0, "other")
    code.mov(R1, R7)
    code.mov(R2, R6)
    code.alu(Alu.ADD, R2, record.key.start)
    code.jump_if(Jump.NE, R8, Looked.WRITTEN, "delete")
    code.mov(R3, R6)
    code.alu(Alu.ADD, R3, record.value.start)
    code.mov(R4, 0)
    code.call(Helper.MAP_UPDATE_ELEM)
    # By 32 bits: before d7ba4cc900bf (6.4), a helper for maps returned an int, without its sign in the upper half.
    code.jump_if(Jump.NE, R0, 0, "failed", bits=32)
    code.jump("key")
    code.label("delete")
    code.call(Helper.MAP_DELETE_ELEM)
    code.jump_if(Jump.EQ, R0, 0, "key", bits=32)
    code.jump_if(Jump.NE, R0, -errno.ENOENT, "failed", bits=32)
    code.jump("key")
    code.label("look")


def _look_up(code: Assembler, target: Register, key_at: int) -> None:
    """R0 gets the value of the key that the record has at an offset."""
    code.mov(R1, target)
    code.mov(R2, R6)
    code.alu(Alu.ADD, R2, key_at)
    code.call(Helper.MAP_LOOKUP_ELEM)
