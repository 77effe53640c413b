"""The program that writes some members of entries, and leaves the others to those who write them meanwhile. Pure.

A system call writes a whole value: what a program wrote to another member after it was read is lost. A program in the
kernel has the value itself: it stores the members that are ours, each by an aligned store of up to 8 bytes that touches
nothing else. Where the value has a spin lock, all stores are made under it. An entry that does not exist is made with
BPF_NOEXIST.

In a per-CPU map, a record is of the value of one CPU, and bpf_map_lookup_percpu_elem (07343110b293, 5.19) finds the
value of any CPU. A program that makes an entry there sets the value of its own CPU only: entries that do not exist are
left to a system call, which sets all.

The entries are records in an array, which ends at the first one that is zero. `bpf/members.bpf.c` is the same in C.
"""

from __future__ import annotations

import errno
from typing import Final

import msgspec

from provisioner.bytecode.assembler import R0, R1, R2, R3, R4, R6, R7, R8, R10, Alu, Assembled, Assembler, Helper, Jump
from provisioner.bytecode.digest import Piece, pieces
from provisioner.bytecode.records import BY_KEY, walk
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.special_fields import SPIN_LOCK
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapFlag

_MOST_PIECES: Final = 512
_LONGEST: Final = 16_384
"""Bytes of a value: the instructions have offsets of 16 bits."""

_NOEXIST: Final = 1
_SLOT: Final = 4
_RESULT: Final = 8
CPU: Final = 12
"""Where a record has the number of its CPU, 32 bits."""

_HEADER: Final = 16

WRITTEN: Final = 1
MISSING: Final = 2
"""What a record's result says: its members are written, or a per-CPU map has no such entry. Negative: errno."""


class MemberRecord(msgspec.Struct, frozen=True):
    """Where the parts of a record are: a header, the key, the value that a new entry gets."""

    key_size: int
    value_size: int

    @property
    def key(self) -> int:
        return _HEADER

    @property
    def value(self) -> int:
        return _HEADER + rounded_up(self.key_size)

    @property
    def size(self) -> int:
        return self.value + rounded_up(self.value_size)


def stores(shape: MapShape, owned: Bytes) -> tuple[Piece, ...]:
    """The stores that write the bytes of a mask that are not zero; of a per-CPU value, those for one CPU."""
    return pieces(owned[: shape.value_size])


def why_not(shape: MapShape, owned: Bytes) -> str:
    """Why there is no program for maps of a shape; empty if there is one, which the kernel may not take yet."""
    if shape.map_type not in BY_KEY:
        return f"programs cannot do it in a map of type {shape.map_type.word}"
    if shape.map_flags & MapFlag.RDONLY_PROG:
        return "programs cannot write to a map with the flag rdonly_prog"
    if shape.value_size > _LONGEST or len(stores(shape, owned)) > _MOST_PIECES:
        return "the members are too long"
    return ""


def member_program(
    layout: MemberRecord, shape: MapShape, owned: Bytes, records: int, target: int, *, is_outer: bool = False
) -> Assembled:
    """The program for maps of one shape: `records` and `target` are the fds of the array of records and of the map.

    With `is_outer`, the target is an ARRAY_OF_MAPS, and a record has the slot of its map.
    """
    code = Assembler()
    walk(code, records, "each")
    code.exit(0)
    code.function("each")
    code.mov(R6, R3)
    code.load(R1, R6, 0, 4)
    code.jump_if(Jump.EQ, R1, 0, "end of records")
    if is_outer:
        code.load(R1, R6, _SLOT, 4)
        code.store(R10, -4, R1, 4)
        code.map(R1, target)
        code.mov(R2, R10)
        code.alu(Alu.ADD, R2, -4)
        code.call(Helper.MAP_LOOKUP_ELEM)
        code.jump_if(Jump.EQ, R0, 0, "no map")
        code.mov(R7, R0)
    else:
        code.map(R7, target)
    _arguments(code, layout)
    if shape.is_percpu:
        code.load(R3, R6, CPU, 4)
        code.call(Helper.MAP_LOOKUP_PERCPU_ELEM)
    else:
        code.call(Helper.MAP_LOOKUP_ELEM)
    code.jump_if(Jump.EQ, R0, 0, "missing")
    code.mov(R8, R0)
    _stores(code, layout, shape, owned)
    code.label("written")
    code.store(R6, _RESULT, WRITTEN, 4)
    code.exit(0)
    code.label("missing")
    if shape.is_array:  # there is no such index
        code.store(R6, _RESULT, -errno.E2BIG, 4)
        code.exit(0)
    elif shape.is_percpu:
        code.store(R6, _RESULT, MISSING, 4)
        code.exit(0)
    else:
        _insert(code, layout)
    if is_outer:
        code.label("no map")
        code.store(R6, _RESULT, -errno.ENOENT, 4)
        code.exit(0)
    code.label("end of records")
    code.exit(1)
    return code.assemble()


def _arguments(code: Assembler, layout: MemberRecord) -> None:
    """The map and the key."""
    code.mov(R1, R7)
    code.mov(R2, R6)
    code.alu(Alu.ADD, R2, layout.key)


def _stores(code: Assembler, layout: MemberRecord, shape: MapShape, owned: Bytes) -> None:
    """Write our members of the value at R8. The verifier allows no call while the lock is held."""
    lock = next((special.offset for special in shape.specials or () if special.kind == SPIN_LOCK), None)
    if lock is not None:
        code.mov(R1, R8)
        code.alu(Alu.ADD, R1, lock)
        code.call(Helper.SPIN_LOCK)
    for piece in stores(shape, owned):
        code.load(R1, R6, layout.value + piece.offset, piece.width)
        code.store(R8, piece.offset, R1, piece.width)
    if lock is not None:
        code.mov(R1, R8)
        code.alu(Alu.ADD, R1, lock)
        code.call(Helper.SPIN_UNLOCK)


def _insert(code: Assembler, layout: MemberRecord) -> None:
    """A new entry. If a program makes it at this moment, the record is tried again."""
    _arguments(code, layout)
    code.mov(R3, R6)
    code.alu(Alu.ADD, R3, layout.value)
    code.mov(R4, _NOEXIST)
    code.call(Helper.MAP_UPDATE_ELEM)
    # By 32 bits: before d7ba4cc900bf (6.4), a helper for maps returned an int, without its sign in the upper half.
    code.jump_if(Jump.EQ, R0, 0, "written", bits=32)
    code.jump_if(Jump.NE, R0, -errno.EEXIST, "failed", bits=32)
    code.mov(R0, -errno.EAGAIN)
    code.label("failed")
    code.store(R6, _RESULT, R0, 4)
    code.exit(0)
