"""The program that looks up keys in the inner maps of an outer map, or in one plain map. Pure.

It walks records in an array, each with the key of a slot and the key of an entry. Into each it writes the value, or how
many entries the slot has. The first of state 0 ends them. No system call looks up more than one key, and none counts.
`bpf/lookup.bpf.c` is the same program in C.
"""

from __future__ import annotations

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
    """The state of a record: none, a key to look up, found, no such key, no inner map in the slot, to be counted."""

    END = 0
    ASKED = 1
    FOUND = 2
    MISSING = 3
    EMPTY = 4
    COUNTED = 5


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


def lookup_program(record: LookupRecord, records: int, target: int, id_at: int) -> Assembled:
    """`records` and `target` are fds: of the array, and of the map. `id_at` is the offset of a map's id."""
    code = Assembler()
    walk(code, records, "record")
    code.exit(0)
    code.function("record")
    _record(code, record, target, id_at)
    code.function("entry")
    code.exit(0)
    return code.assemble()


def _record(code: Assembler, record: LookupRecord, target: int, id_at: int) -> None:
    """R6 is the record, R7 the map in its slot."""
    code.mov(R6, R3)
    code.load(R1, R6, _STATE, 4)
    code.jump_if(Jump.EQ, R1, Looked.END, "end of records")
    code.map(R7, target)
    if record.slot_size:
        _look_up(code, R7, record.slot.start)
        code.jump_if(Jump.EQ, R0, 0, "empty")
        code.mov(R7, R0)
    code.load(R1, R7, id_at, 4)
    code.store(R6, _ID, R1, 4)
    code.load(R1, R6, _STATE, 4)
    code.jump_if(Jump.NE, R1, Looked.COUNTED, "key")
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
    code.label("end of records")
    code.exit(1)


def _look_up(code: Assembler, target: Register, key_at: int) -> None:
    """R0 gets the value of the key that the record has at an offset."""
    code.mov(R1, target)
    code.mov(R2, R6)
    code.alu(Alu.ADD, R2, key_at)
    code.call(Helper.MAP_LOOKUP_ELEM)
