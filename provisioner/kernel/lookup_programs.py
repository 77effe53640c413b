"""Many keys of many inner maps looked up by one program, which is loaded once: 0.1 us a key, and no call for each.

It writes them, too: no inner map is opened for that.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from struct import Struct
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.lookup_program import Looked, LookupRecord, lookup_program
from provisioner.kernel import map_fields, maps, programs, structures
from provisioner.kernel.batch import BatchError
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.reasons import DELETE, UPDATE, KernelError
from provisioner.kernel.rows import ByteTable, whole_rows
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.uapi import MapFlag, MapType

LARGEST_VALUE: Final = 512
"""Bytes of a value: it is copied word by word, by two instructions each."""

_MOST: Final = 4096
"""Keys of one run of the program, about 0.5 ms: without preemption, no other task gets the CPU meanwhile."""

_ROOM: Final = 1 << 20
"""Bytes for the records of a run."""

_END: Final = int(Looked.END)
_FOUND: Final = int(Looked.FOUND)
_MISSING: Final = int(Looked.MISSING)


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
    """Looks up keys in one map, and writes them. Holds the program, which holds the map, until it is closed."""

    def __init__(self, record: LookupRecord, records: MapFd, program: ProgramFd, room: int, *, writes: bool) -> None:
        self._program = program
        self._most = room - 1
        self.writes = writes
        """Whether it writes, too: not where it cannot see that a map is frozen."""
        self._held = ExitStack()
        self._held.enter_context(records)
        self._held.enter_context(program)
        try:
            memory = mmap.mmap(records.number, room * record.size)
        except BaseException:
            self._held.close()
            raise
        self._held.callback(_close, memory)
        self._columns: _Columns | None = _Columns(np.frombuffer(memory, np.uint8).reshape(room, record.size), record)
        self._single: _Single | None = _Single(memory, record)
        self._options = structures.TestRunOptions()

    @classmethod
    def load(cls, target: MapFd, record: LookupRecord, *, writes: bool = False) -> Self | None:
        """None where this kernel or process takes no such program. It writes only with `writes`."""
        if record.value_size > LARGEST_VALUE:
            return None
        places = map_fields.fields()
        if places is None:
            return None
        frozen_at = map_fields.frozen_at() if writes else None
        room = max(2, min(_MOST + 1, _ROOM // record.size))
        shape = MapShape(MapType.ARRAY, 4, record.size, room, MapFlag.MMAPABLE)
        with ExitStack() as opened:
            records = opened.enter_context(maps.create(shape, "lookup"))
            code = lookup_program(record, records.number, target.number, places.id, frozen_at)
            program = programs.load(code, "lookup")
            if program is None:
                return cls.load(target, record) if frozen_at is not None else None
            opened.enter_context(program)
            opened.pop_all()
        return cls(record, records, program, room, writes=frozen_at is not None)

    def look_up(self, slots: ByteTable, keys: ByteTable) -> LookedUp:
        """`keys` (n, key size), each in the slot of `slots` (n, slot size). Raises KernelError."""
        columns, count = self._mapped(), len(keys)
        if count == 1 and self._single is not None:
            self._single.put(Looked.ASKED, 0, slots, keys)
            programs.run(self._program, self._options)
            return self._single.seen()
        ids, states = np.empty(count, np.uint32), np.empty(count, np.uint32)
        values = np.empty((count, columns.value_size), np.uint8)
        for part, here in self._parts(count):
            columns.put(here, slots[part], keys[part])
            columns.state[here] = Looked.ASKED
            self._run(columns, here)
            states[part], ids[part] = columns.state[here], columns.id[here]
            columns.take(here, values[part])
        return LookedUp(ids, states == Looked.FOUND, values)

    def write(
        self,
        slots: ByteTable,
        ids: NDArray[np.uint32],
        keys: ByteTable,
        values: ByteTable,
        deleted: NDArray[np.bool_],
    ) -> None:
        """Write or delete `keys` (n, key size) in the maps `ids` (n,), which are in `slots` (n, slot size).

        One to delete may be missing. Raises BatchError, with EPERM for a frozen map, ESTALE for another one in a slot.
        """
        count = len(keys)
        states = np.full(count, Looked.WRITTEN, np.uint32)
        states[deleted] = Looked.DELETED
        for part, here in self._parts(count):
            failed = self._written(here, slots[part], ids[part], keys[part], values[part], states[part])
            if failed is not None:
                at, why = part.start + failed[0], failed[1]
                error = KernelError(DELETE if deleted[at] else UPDATE, why)
                raise BatchError(error, np.arange(count) < at, at)

    def _written(
        self,
        here: slice,
        slots: ByteTable,
        ids: NDArray[np.uint32],
        keys: ByteTable,
        values: ByteTable,
        states: NDArray[np.uint32],
    ) -> tuple[int, int] | None:
        """One run; the first record that is not written, and why. An exception holds none of the memory of this."""
        columns = self._mapped()
        if len(keys) == 1 and self._single is not None:
            self._single.put(int(states[0]), int(ids[0]), slots, keys, values)
            programs.run(self._program, self._options)
        else:
            columns.put(here, slots, keys, values)
            columns.id[here], columns.state[here] = ids, states
            self._run(columns, here)
        failed = columns.state[here] > _MISSING
        if not np.count_nonzero(failed):
            return None
        at = int(np.flatnonzero(failed)[0])
        if columns.state[at] == Looked.FAILED:
            return at, int(columns.count[at])
        return at, errno.EPERM if columns.id[at] == ids[at] else errno.ESTALE

    def count(self, slots: ByteTable) -> NDArray[np.uint32]:
        """The number of entries in each of `slots` (n, slot size), 0 where it has no map. Raises KernelError."""
        columns, counts = self._mapped(), np.zeros(len(slots), np.uint32)
        for part, here in self._parts(len(slots)):
            columns.put(here, slots[part])
            columns.count[here], columns.state[here] = 0, Looked.COUNTED
            self._run(columns, here)
            counts[part] = columns.count[here]
        return counts

    def _mapped(self) -> _Columns:
        assert self._columns is not None, "closed"
        return self._columns

    def _parts(self, count: int) -> Iterator[tuple[slice, slice]]:
        """The rows of each run, and where they are in the records."""
        for first in range(0, count, self._most):
            last = min(first + self._most, count)
            yield slice(first, last), slice(0, last - first)

    def _run(self, columns: _Columns, here: slice) -> None:
        columns.state[here.stop] = Looked.END
        programs.run(self._program, self._options)

    def close(self) -> None:
        self._columns = self._single = None  # a mapping cannot be closed while an array has its memory
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Single:
    """The first record, and the end after it: NumPy takes longer for one key than the program."""

    __slots__ = ("_layout", "_memory")

    def __init__(self, memory: mmap.mmap, record: LookupRecord) -> None:
        sizes = record.slot_size, record.key_size, record.value_size
        padded = "".join(f"{size}s{rounded_up(size) - size}x" for size in sizes)
        self._memory, self._layout = memory, Struct(f"=IIII{padded}I")

    def put(self, state: int, number: int, slots: ByteTable, keys: ByteTable, values: ByteTable | None = None) -> None:
        """Put the record in."""
        value = b"" if values is None else values.tobytes()
        self._layout.pack_into(self._memory, 0, state, number, 0, 0, slots.tobytes(), keys.tobytes(), value, _END)

    def seen(self) -> LookedUp:
        """What the program found."""
        state, number, _, _, _, _, value, _ = self._layout.unpack_from(self._memory)
        ids, there = np.array((number,), np.uint32), np.array((state == _FOUND,))
        return LookedUp(ids, there, np.frombuffer(value, np.uint8)[np.newaxis])


class _Columns:
    """The records in memory that the kernel shares, by column; each key and value is one element, not its bytes."""

    __slots__ = ("_key", "_slot", "_value", "count", "id", "state", "value_size")

    def __init__(self, records: ByteTable, record: LookupRecord) -> None:
        head = records[:, :16].view(np.uint32)
        self.state, self.id, self.count = head[:, 0], head[:, 1], head[:, 2]
        self._slot = whole_rows(records[:, record.slot]) if record.slot_size else None
        self._key, self._value = whole_rows(records[:, record.key]), whole_rows(records[:, record.value])
        self.value_size = record.value_size

    def put(
        self, here: slice, slots: ByteTable, keys: ByteTable | None = None, values: ByteTable | None = None
    ) -> None:
        """Put parts of records in."""
        if self._slot is not None:
            self._slot[here] = whole_rows(np.ascontiguousarray(slots))
        if keys is not None:
            self._key[here] = whole_rows(np.ascontiguousarray(keys))
        if values is not None:
            self._value[here] = whole_rows(np.ascontiguousarray(values))

    def take(self, here: slice, values: ByteTable) -> None:
        """Copy the values of records."""
        whole_rows(values)[...] = self._value[here]
