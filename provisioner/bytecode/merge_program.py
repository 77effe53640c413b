"""The program that carries changes of a replaced map over into the new one, while programs write the new one. Pure.

User space knows what changed in the old map since it was copied: nothing writes that map any more. The new map is live,
so each change has to be carried over in one step: an atomic add, a compare-and-exchange, BPF_NOEXIST. What the kernel
has no such step for (the comparison of a longer value, and a delete) is a few instructions without a system call.

The changes are records in an array, which ends at the first one of kind 0. `bpf/merge.bpf.c` is the same program in C.
"""

from __future__ import annotations

import errno
from enum import Enum, IntEnum
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.assembler import R0, R1, R2, R3, R4, R6, R7, R8, R10, Alu, Assembled, Assembler, Helper, Jump
from provisioner.bytecode.records import BY_KEY, walk, words
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.types import Bytes

_MAX_VALUE: Final = 1024
"""The longest value in bytes: it is compared word by word, without a loop."""

_ANY, _NOEXIST, _EXIST = 0, 1, 2
_KIND, _SLOT, _RESULT = 0, 4, 8
_HEADER: Final = 16

CARRIED: Final = 1
KEPT: Final = 2
"""What a record's result says: it was carried over, or the new map keeps what programs wrote there. Negative: errno."""


class EntryEvent(IntEnum):
    """What happened to an entry of the old map after it was copied."""

    INSERT = 1
    UPDATE = 2
    DELETE = 3


class Winner(Enum):
    """Which side wins where an entry changed in both maps."""

    NEW = "new"
    OLD = "old"
    SUM = "sum"


class Changes(msgspec.Struct, frozen=True):
    """What changed in an old map after it was copied: c rows.

    `kind` has shape (c,), `keys` (c, key size); `before` and `after` are the values, (c, bytes that the system call
    moves), zero where there was none.
    """

    kind: NDArray[np.uint8]
    keys: Bytes
    before: Bytes
    after: Bytes

    def rows(self, which: NDArray[np.bool_]) -> Changes:
        return Changes(self.kind[which], self.keys[which], self.before[which], self.after[which])


def why_not(shape: MapShape) -> str:
    """Why there is no program for maps of a shape; empty if there is one, which the kernel may not take yet."""
    if shape.map_type not in BY_KEY:
        return f"programs cannot do it in a map of type {shape.map_type.word}"
    if shape.specials:
        return f"values hold {shape.specials_in_words()}"
    return f"values are longer than {_MAX_VALUE:,} bytes" if shape.value_size > _MAX_VALUE else ""


class MergeRecord(msgspec.Struct, frozen=True):
    """Where the parts of a record are: a header, the key, the value as it was copied, the value after that.

    With Policy.SUM, the last part is the difference of the two.
    """

    key_size: int
    value_size: int

    @property
    def key(self) -> int:
        return _HEADER

    @property
    def before(self) -> int:
        return _HEADER + rounded_up(self.key_size)

    @property
    def after(self) -> int:
        return self.before + rounded_up(self.value_size)

    @property
    def size(self) -> int:
        return self.after + rounded_up(self.value_size)


def merge_program(
    layout: MergeRecord,
    policy: Winner,
    counters: tuple[tuple[int, int], ...],
    records: int,
    maps: int,
    *,
    is_percpu: bool,
) -> Assembled:
    """The program for one shape of map. `records` is the fd of the array of changes, `maps` that of an ARRAY_OF_MAPS.

    `counters` are the offset and width of each integer of a value, for Policy.SUM. In a per-CPU map, a change is of the
    value of the CPU that the program runs on; there is no Kind.DELETE then.
    """
    return _Merge(layout, policy, counters, is_percpu).program(records, maps)


class _Merge:
    """R6 is the record, R7 the new map, R8 a value in it."""

    def __init__(
        self, layout: MergeRecord, policy: Winner, counters: tuple[tuple[int, int], ...], is_percpu: bool
    ) -> None:
        self._layout = layout
        self._policy = policy
        self._counters = counters
        self._is_percpu = is_percpu
        self._code = Assembler()

    def program(self, records: int, maps: int) -> Assembled:
        code = self._code
        walk(code, records, "each")
        code.exit(0)
        code.function("each")
        self._begin(maps)
        if not self._is_percpu:
            self._delete()
        self._insert()
        self._update()
        self._ends()
        return code.assemble()

    def _begin(self, maps: int) -> None:
        """The record of this call, and the map that it is for."""
        code = self._code
        code.mov(R6, R3)
        code.load(R1, R6, _KIND, 4)
        code.jump_if(Jump.EQ, R1, 0, "end of records")
        code.load(R1, R6, _SLOT, 4)
        code.store(R10, -4, R1, 4)
        code.map(R1, maps)
        code.mov(R2, R10)
        code.alu(Alu.ADD, R2, -4)
        code.call(Helper.MAP_LOOKUP_ELEM)
        code.jump_if(Jump.EQ, R0, 0, "again")
        code.mov(R7, R0)

    def _delete(self) -> None:
        code = self._code
        code.load(R1, R6, _KIND, 4)
        code.jump_if(Jump.NE, R1, EntryEvent.DELETE, "not deleted")
        self._look_up("carried")
        if self._policy is not Winner.OLD:
            self._if_different("both changed")
        self._arguments()
        code.call(Helper.MAP_DELETE_ELEM)
        code.jump("check")
        if self._policy is not Winner.OLD:
            code.label("both changed")
            if self._policy is Winner.SUM:
                self._add("carried")
            else:
                code.jump("kept")
        code.label("not deleted")

    def _insert(self) -> None:
        """An entry that is new: BPF_NOEXIST, so that one that a program made meanwhile is not written over."""
        code, policy = self._code, self._policy
        if policy is not Winner.SUM:
            code.load(R1, R6, _KIND, 4)
            code.jump_if(Jump.NE, R1, EntryEvent.INSERT, "update")
        if policy is Winner.SUM or self._is_percpu:
            self._look_up("missing")
            code.jump("there")
            code.label("missing")
        self._write(_NOEXIST)
        # By 32 bits: before d7ba4cc900bf (6.4), a helper for maps returned an int, without its sign in the upper half.
        code.jump_if(Jump.NE, R0, -errno.EEXIST, "check", bits=32)
        if policy is Winner.SUM or self._is_percpu:
            self._look_up("again")
            code.label("there")
            if policy is Winner.SUM:
                self._add("carried")
            else:
                self._exchange()
        elif policy is Winner.OLD:
            self._write(_ANY)
            code.jump("check")
        else:
            code.jump("kept")

    def _update(self) -> None:
        """An entry that was copied, and changed in the old map after that."""
        if self._policy is Winner.SUM:
            return
        code = self._code
        code.label("update")
        if self._policy is Winner.NEW:
            self._look_up("kept")
        else:
            self._look_up("write")
        self._exchange()
        if self._policy is Winner.OLD:
            code.label("write")
            self._write(_ANY)
            code.jump("check")

    def _exchange(self) -> None:
        """Write the value at R8 where it is the one that was copied, or where the old one wins anyway."""
        code, layout = self._code, self._layout
        if self._policy is Winner.OLD:
            self._write(_ANY)
            code.jump("check")
        elif layout.value_size in (4, 8):
            size = layout.value_size
            code.load(R0, R6, layout.before, size)
            code.load(R2, R6, layout.after, size)
            code.compare_exchange(R8, 0, R2, size)
            code.load(R1, R6, layout.before, size)
            code.jump_if(Jump.NE, R0, R1, "kept")
            code.jump("carried")
        else:
            self._if_different("kept")
            self._write(_EXIST)
            code.jump("check")

    def _add(self, then: str) -> None:
        """Add the difference to each counter of the value at R8."""
        for offset, width in self._counters:
            self._code.load(R1, R6, self._layout.after + offset, width)
            self._code.atomic_add(R8, offset, R1, width)
        self._code.jump(then)

    def _if_different(self, name: str) -> None:
        """Go to a label if the value at R8 is not the one that was copied."""
        for offset, width in words(self._layout.value_size):
            self._code.load(R1, R8, offset, width)
            self._code.load(R2, R6, self._layout.before + offset, width)
            self._code.jump_if(Jump.NE, R1, R2, name)

    def _arguments(self) -> None:
        """The map and the key."""
        self._code.mov(R1, R7)
        self._code.mov(R2, R6)
        self._code.alu(Alu.ADD, R2, self._layout.key)

    def _look_up(self, otherwise: str) -> None:
        """R8 becomes the value in the new map; go to a label if there is none."""
        self._arguments()
        self._code.call(Helper.MAP_LOOKUP_ELEM)
        self._code.jump_if(Jump.EQ, R0, 0, otherwise)
        self._code.mov(R8, R0)

    def _write(self, flags: int) -> None:
        """Write the last part of the record by a helper."""
        self._arguments()
        self._code.mov(R3, R6)
        self._code.alu(Alu.ADD, R3, self._layout.after)
        self._code.mov(R4, flags)
        self._code.call(Helper.MAP_UPDATE_ELEM)

    def _ends(self) -> None:
        """Where a record ends: with what was returned by a helper, or with a word of ours."""
        code = self._code
        code.label("check")
        code.jump_if(Jump.EQ, R0, 0, "carried", bits=32)
        code.store(R6, _RESULT, R0, 4)
        code.exit(0)
        for name, result in (("carried", CARRIED), ("kept", KEPT), ("again", -errno.EAGAIN)):
            if not code.is_used(name):  # the verifier refuses what is never reached
                continue
            code.label(name)
            code.store(R6, _RESULT, result, 4)
            code.exit(0)
        code.label("end of records")
        code.exit(1)
