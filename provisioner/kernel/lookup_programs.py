"""Many keys of many inner maps looked up by one program, which is loaded once: 0.1 us a key, and no call for each."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.lookup_program import Looked, LookupRecord, lookup_program
from provisioner.kernel import map_fields, maps, programs
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.rows import ByteTable
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType

LARGEST_VALUE: Final = 512
"""Bytes of a value: it is copied word by word, by two instructions each."""

_MOST: Final = 4096
"""Keys of one run of the program, about 0.5 ms: without preemption, no other task gets the CPU meanwhile."""

_ROOM: Final = 1 << 20
"""Bytes for the records of a run."""


def _close(memory: mmap.mmap) -> None:
    """Close a mapping. The traceback of an exception can hold arrays in it: then it goes with the last of them."""
    with suppress(BufferError):
        memory.close()


class LookedUp(msgspec.Struct, frozen=True):
    """n keys: the id of the inner map in the slot, 0 for none; whether the key is in it; its value (n, value size)."""

    ids: NDArray[np.uint32]
    there: NDArray[np.bool_]
    values: ByteTable


class LookupProgram:
    """Looks up keys in one map. Holds the program, which holds the map, until it is closed."""

    def __init__(self, record: LookupRecord, records: MapFd, program: ProgramFd, room: int) -> None:
        self._record = record
        self._program = program
        self._held = ExitStack()
        self._held.enter_context(records)
        self._held.enter_context(program)
        try:
            memory = mmap.mmap(records.number, room * record.size)
        except BaseException:
            self._held.close()
            raise
        self._held.callback(_close, memory)
        self._records: ByteTable | None = np.frombuffer(memory, np.uint8).reshape(room, record.size)

    @classmethod
    def load(cls, target: MapFd, record: LookupRecord) -> Self | None:
        """None where this kernel or process takes no such program."""
        if record.value_size > LARGEST_VALUE:
            return None
        places = map_fields.fields()
        if places is None:
            return None
        room = max(2, min(_MOST + 1, _ROOM // record.size))
        shape = MapShape(MapType.ARRAY, 4, record.size, room, MapFlag.MMAPABLE)
        with ExitStack() as opened:
            records = opened.enter_context(maps.create(shape, "lookup"))
            code = lookup_program(record, records.number, target.number, places.id)
            program = programs.load(code, "lookup")
            if program is None:
                return None
            opened.enter_context(program)
            opened.pop_all()
        return cls(record, records, program, room)

    def look_up(self, slots: ByteTable, keys: ByteTable) -> LookedUp:
        """`keys` (n, key size), each in the slot of `slots` (n, slot size). Raises KernelError."""
        record, records = self._record, self._mapped()
        count, head = len(keys), records[:, :8].view(np.uint32)
        ids, states = np.empty(count, np.uint32), np.empty(count, np.uint32)
        values = np.empty((count, record.value_size), np.uint8)
        for part, here in self._parts(count, len(records) - 1):
            records[here, record.slot] = slots[part]
            records[here, record.key] = keys[part]
            self._run(head, here, Looked.ASKED)
            states[part], ids[part] = head[here, 0], head[here, 1]
            values[part] = records[here, record.value]
        return LookedUp(ids, states == Looked.FOUND, values)

    def count(self, slots: ByteTable) -> NDArray[np.uint32]:
        """The number of entries in each of `slots` (n, slot size), 0 where it has no map. Raises KernelError."""
        records, counts = self._mapped(), np.zeros(len(slots), np.uint32)
        head = records[:, :16].view(np.uint32)
        for part, here in self._parts(len(slots), len(records) - 1):
            records[here, self._record.slot] = slots[part]
            head[here, 2] = 0
            self._run(head, here, Looked.COUNTED)
            counts[part] = head[here, 2]
        return counts

    def _mapped(self) -> ByteTable:
        assert self._records is not None, "closed"
        return self._records

    @staticmethod
    def _parts(count: int, most: int) -> Iterator[tuple[slice, slice]]:
        """The rows of each run, and where they are in the records."""
        for first in range(0, count, most):
            last = min(first + most, count)
            yield slice(first, last), slice(0, last - first)

    def _run(self, head: NDArray[np.uint32], here: slice, state: Looked) -> None:
        head[here, 0] = state
        head[here.stop, 0] = Looked.END
        programs.run(self._program)

    def close(self) -> None:
        self._records = None  # a mapping cannot be closed while an array has its memory
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
