"""The programs that create inner maps and fill them, before any slot has them. Pure.

One creates a map for each record of an array, by the system call that a program of type SYSCALL can make (79a7f8bdb159,
5.14): the fds are those of the process that runs it. The other writes entries, which are records of another array, into
maps that are in the slots of a scratch outer map. `bpf/stage.bpf.c` has the same programs in C.

Both return how many records they looked at. The last of these is the one that ends them, or one that failed: either
way, all before it are done.
"""

from __future__ import annotations

from typing import Final

import msgspec

from provisioner.bytecode.assembler import R0, R1, R2, R3, R4, R6, R10, Alu, Assembled, Assembler, Helper, Jump
from provisioner.bytecode.records import walk
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.uapi import Command, MapFlag, MapType

ATTRIBUTES: Final = 72
"""Bytes of `union bpf_attr` up to `map_extra`."""

FD: Final = 76
"""Where a record to create has the new map's fd, or -errno."""

CREATE_RECORD: Final = 80
"""Bytes of a record to create: the attributes, whether it is one, and the fd."""

_IS_RECORD: Final = 72
_SLOT, _KEY = 0, 8

_TYPES: Final = frozenset({MapType.HASH, MapType.ARRAY, MapType.LPM_TRIE, MapType.LRU_HASH})
"""The types that a program can fill: of a per-CPU map, it writes the value of its own CPU only."""

_MAX_ENTRY: Final = 1 << 16
"""The longest entry in bytes: an array of records has room for many."""


class StagedEntry(msgspec.Struct, frozen=True):
    """Where a record to write has its parts: the slot of the map, from 1 on, or 0 for no record; the key; the value."""

    key_size: int
    value_size: int

    @property
    def key(self) -> int:
        return _KEY

    @property
    def value(self) -> int:
        return _KEY + rounded_up(self.key_size)

    @property
    def size(self) -> int:
        return self.value + rounded_up(self.value_size)


def can_fill(shape: MapShape) -> bool:
    """Whether there is a program for maps of a shape, which the kernel may not take yet.

    Special fields would be no part of what a program writes, and a map that user space must not write stays refused.
    """
    is_ours = shape.map_type in _TYPES and shape.specials == () and not shape.map_flags & MapFlag.RDONLY
    return is_ours and shape.key_size + shape.value_size <= _MAX_ENTRY


def create_program(records: int) -> Assembled:
    """The program that creates a map for each record of the array with this fd."""
    code = Assembler()
    _for_each(code, records)
    code.load(R1, R6, _IS_RECORD, 4)
    code.jump_if(Jump.EQ, R1, 0, "end")
    code.mov(R1, Command.MAP_CREATE)
    code.mov(R2, R6)
    code.mov(R3, ATTRIBUTES)
    code.call(Helper.SYS_BPF)
    code.store(R6, FD, R0, 4)
    code.alu(Alu.RSH, R0, 31)
    code.alu(Alu.AND, R0, 1)
    code.exit()
    code.label("end")
    code.exit(1)
    return code.assemble()


def fill_program(layout: StagedEntry, records: int, maps: int) -> Assembled:
    """The program that writes each record of the array with this fd. `maps` is the fd of an ARRAY_OF_MAPS."""
    code = Assembler()
    _for_each(code, records)
    code.load(R1, R6, _SLOT, 4)
    code.jump_if(Jump.EQ, R1, 0, "end")
    code.alu(Alu.SUB, R1, 1)
    code.store(R10, -4, R1, 4)
    code.map(R1, maps)
    code.mov(R2, R10)
    code.alu(Alu.ADD, R2, -4)
    code.call(Helper.MAP_LOOKUP_ELEM)
    code.jump_if(Jump.EQ, R0, 0, "end")
    code.mov(R1, R0)
    code.mov(R2, R6)
    code.alu(Alu.ADD, R2, layout.key)
    code.mov(R3, R6)
    code.alu(Alu.ADD, R3, layout.value)
    code.mov(R4, 0)
    code.call(Helper.MAP_UPDATE_ELEM)
    # By 32 bits: before d7ba4cc900bf (6.4), a helper for maps returned an int, without its sign in the upper half.
    code.jump_if(Jump.NE, R0, 0, "end", bits=32)
    code.exit(0)
    code.label("end")
    code.exit(1)
    return code.assemble()


def _for_each(code: Assembler, records: int) -> None:
    """The main function, and the beginning of the one that is called for each record, which is in R6."""
    walk(code, records, "record")
    code.exit()
    code.function("record")
    code.mov(R6, R3)
