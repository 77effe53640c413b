"""The program that computes the digest of each inner map of an outer map, or of one plain map. Pure.

It walks records in an array, each with the key of a slot, and writes into each what the inner map in that slot is. The
first of state 0 ends them. `bpf/digest.bpf.c` is the same program in C.
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
    R5,
    R6,
    R7,
    R10,
    Alu,
    Assembled,
    Assembler,
    Helper,
    Jump,
)
from provisioner.bytecode.digest import LANES, Secret, Words
from provisioner.bytecode.entry_hash import EntryHash
from provisioner.bytecode.records import walk
from provisioner.model.map_shape import rounded_up

_STATE, _CAPACITY, _ID, _COUNT, _SUMS, _FIRST, _END, _KEY = 0, 4, 8, 12, 16, 32, 36, 40
"""Where the parts of a record are."""

RANGE: Final = slice(_FIRST, _KEY)
"""Where a record has the first index of its range and the one after the last, 32 bits each."""

_ACCUMULATED: Final = -40
"""Where on the stack the sums and the count of a map are while it is walked."""

_INNER, _NEXT, _STOP = 24, 32, 36
"""What follows them for a range of indexes: the inner map, the first index, and the one after the last."""

_INDEX: Final = -4
"""Where an index is on the stack for its lookup."""

_UNROLLED: Final = 8
"""Elements of one pass of a loop: the verifier sees one pass, and no element pays for a call."""

_MAP, _CONTEXT, _ZERO = -8, -16, -24
"""What an entry of a per-CPU map keeps on the stack: its map, the sums, and whether all of it is zero."""


class RecordState(IntEnum):
    """Of a record: no record, to be done, done, nothing in the slot."""

    END = 0
    ASKED = 1
    DONE = 2
    EMPTY = 3


class Fields(msgspec.Struct, frozen=True):
    """Where `struct bpf_map` has max_entries and the id, in this kernel."""

    max_entries: int
    id: int


def record_size(key_size: int) -> int:
    """Bytes of a record."""
    return _KEY + rounded_up(key_size)


def digest_program(
    words: Words, secret: Secret, fields: Fields, records: int, target: int, *, is_outer: bool, by_ranges: bool = False
) -> Assembled:
    """The program for maps of one shape. `records` and `target` are fds: of the array, and of the map to walk.

    With `by_ranges`, a record has a range of indexes of an array, and no other elements are looked at: this takes
    bpf_loop (5.17, e6f2dd0f8067), and is several times as fast as a call for each element.
    """
    return _Digest(words, secret, fields).program(records, target, is_outer, by_ranges)


class _Digest:
    def __init__(self, words: Words, secret: Secret, fields: Fields) -> None:
        self._words = words
        self._fields = fields
        self._code = Assembler()
        self._hash = EntryHash(self._code, words, secret)

    def program(self, records: int, target: int, is_outer: bool, by_ranges: bool) -> Assembled:
        code = self._code
        walk(code, records, "slot")
        code.exit(0)
        code.function("slot")
        self._slot(target, is_outer, by_ranges)
        code.function("entry")
        if by_ranges:
            self._elements(target, is_outer)
        else:
            self._entry()
        return code.assemble()

    def _slot(self, target: int, is_outer: bool, by_ranges: bool) -> None:
        """R6 is the record, R7 the map of its slot."""
        code = self._code
        code.mov(R6, R3)
        code.load(R1, R6, _STATE, 4)
        code.jump_if(Jump.EQ, R1, RecordState.END, "end of records")
        code.map(R7, target)
        if is_outer:
            code.mov(R1, R7)
            code.mov(R2, R6)
            code.alu(Alu.ADD, R2, _KEY)
            code.call(Helper.MAP_LOOKUP_ELEM)
            code.jump_if(Jump.EQ, R0, 0, "empty")
            code.mov(R7, R0)
        for number in range(LANES + 1):
            code.store(R10, _ACCUMULATED + 8 * number, 0, 8)
        if by_ranges:
            self._count_passes()
        else:
            code.mov(R1, R7)
        code.callback(R2, "entry")
        code.mov(R3, R10)
        code.alu(Alu.ADD, R3, _ACCUMULATED)
        code.mov(R4, 0)
        code.call(Helper.LOOP if by_ranges else Helper.FOR_EACH_MAP_ELEM)
        for lane in range(LANES):
            code.load(R1, R10, _ACCUMULATED + 8 * lane, 8)
            code.store(R6, _SUMS + 8 * lane, R1, 8)
        code.load(R1, R10, _ACCUMULATED + 8 * LANES, 8)
        code.store(R6, _COUNT, R1, 4)
        code.load(R1, R7, self._fields.max_entries, 4)
        code.store(R6, _CAPACITY, R1, 4)
        code.load(R1, R7, self._fields.id, 4)
        code.store(R6, _ID, R1, 4)
        code.store(R6, _STATE, RecordState.DONE, 4)
        code.exit(0)
        if is_outer:
            code.label("empty")
            code.store(R6, _STATE, RecordState.EMPTY, 4)
            code.exit(0)
        code.label("end of records")
        code.exit(1)

    def _count_passes(self) -> None:
        """R1 gets how many passes the range of the record at R6 takes; range and map, R7, go where they find them."""
        code = self._code
        code.store(R10, _ACCUMULATED + _INNER, R7, 8)
        code.load(R2, R6, _FIRST, 4)
        code.load(R1, R6, _END, 4)
        code.store(R10, _ACCUMULATED + _NEXT, R2, 4)
        code.store(R10, _ACCUMULATED + _STOP, R1, 4)
        code.alu(Alu.SUB, R1, R2)
        code.alu(Alu.ADD, R1, _UNROLLED - 1)
        code.alu(Alu.RSH, R1, _UNROLLED.bit_length() - 1)

    def _elements(self, target: int, is_outer: bool) -> None:
        """One pass: R1 is its number, R2 the sums with what follows them."""
        code = self._code
        code.mov(R6, R2)
        code.mov(R7, R1)
        code.alu(Alu.LSH, R7, _UNROLLED.bit_length() - 1)
        code.load(R1, R6, _NEXT, 4)
        code.alu(Alu.ADD, R7, R1)
        for number in range(_UNROLLED):
            code.mov(R1, R7)
            code.alu(Alu.ADD, R1, number)
            code.load(R2, R6, _STOP, 4)
            code.jump_if(Jump.LE, R2, R1, "end of the range")
            code.store(R10, _INDEX, R1, 4)
            if is_outer:
                code.load(R1, R6, _INNER, 8)
            else:
                code.map(R1, target)
            code.mov(R2, R10)
            code.alu(Alu.ADD, R2, _INDEX)
            code.call(Helper.MAP_LOOKUP_ELEM)
            code.jump_if(Jump.EQ, R0, 0, "end of the range")
            code.mov(R5, R0)
            code.mov(R0, 0)
            self._hash.gather_bits()
            code.jump_if(Jump.EQ, R0, 0, f"zero {number}")
            self._hash.begin(R10, _INDEX)
            self._hash.value()
            self._hash.add()
            code.label(f"zero {number}")
        code.exit(0)
        code.label("end of the range")
        code.exit(1)

    def _entry(self) -> None:
        """R6 is the map, R7 the key, R8 and R9 the hashes of both lanes; the value is in R5 where it is loaded from."""
        if self._words.is_percpu:
            self._entry_of_all_cpus()
        else:
            self._entry_of_one()

    def _entry_of_one(self) -> None:
        code, words = self._code, self._words
        code.mov(R7, R2)
        code.mov(R5, R3)
        code.mov(R6, R4)
        self._count_others()
        if words.is_array:
            code.mov(R0, 0)
            self._hash.gather_bits()
            code.jump_if(Jump.EQ, R0, 0, "nothing")
        self._hash.begin(R7)
        self._hash.value()
        self._add()

    def _entry_of_all_cpus(self) -> None:
        """The helper gives the value of one CPU (07343110b293, 5.19)."""
        code, words = self._code, self._words
        code.store(R10, _MAP, R1, 8)
        code.store(R10, _CONTEXT, R4, 8)
        if words.is_array:
            code.store(R10, _ZERO, 0, 8)
        code.mov(R7, R2)
        code.mov(R6, R4)
        self._count_others()
        self._hash.begin(R7)
        for cpu in range(words.cpus):
            code.load(R1, R10, _MAP, 8)
            code.mov(R2, R7)
            code.mov(R3, cpu)
            code.call(Helper.MAP_LOOKUP_PERCPU_ELEM)
            code.jump_if(Jump.EQ, R0, 0, "nothing")
            code.mov(R5, R0)
            if words.is_array:
                code.load(R0, R10, _ZERO, 8)
                self._hash.gather_bits()
                code.store(R10, _ZERO, R0, 8)
            self._hash.value(cpu)
        if words.is_array:
            code.load(R0, R10, _ZERO, 8)
            code.jump_if(Jump.EQ, R0, 0, "nothing")
        code.load(R6, R10, _CONTEXT, 8)
        self._add()

    def _add(self) -> None:
        self._hash.add()
        if self._code.is_used("nothing"):
            self._code.label("nothing")
        self._code.exit(0)

    def _count_others(self) -> None:
        """Count an entry whose key, at R7, is in none of the ranges, and leave."""
        code, words = self._code, self._words
        if not words.owned:
            return
        (key,) = words.key
        code.load(R0, R7, 0, key.width)
        if key.width > 1:
            code.host_order(R0, words.key_order, key.width)
        for number, (first, last) in enumerate(words.owned):
            code.constant(R1, first)
            code.jump_if(Jump.LT, R0, R1, f"not in {number}")
            code.constant(R1, last)
            code.jump_if(Jump.LE, R0, R1, "owned")
            code.label(f"not in {number}")
        self._hash.count()
        code.exit(0)
        code.label("owned")
