"""Many new maps, created and filled by programs in the kernel: a few system calls for all of them.

A record for each map, with the attributes of BPF_MAP_CREATE, is in an array that is mapped into memory; a program makes
the call for each and writes the fd into it. To be filled, the maps go into the slots of a scratch outer map by one
batch, which waits for one grace period; the entries are records of another such array. What a kernel or a process lacks
shows by an errno: then nothing was done, and the caller does it by system calls. The same goes for what a program could
not do to one map, so that an error is the one of that system call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.stage_program import (
    ATTRIBUTES,
    CREATE_RECORD,
    FD,
    StagedEntry,
    can_fill,
    create_program,
    fill_program,
)
from provisioner.kernel import batch, libbpf, maps, programs, structures, syscalls
from provisioner.kernel.fd import BorrowedMapFd, BtfFd, FdSet, MapFd, MapFds, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import ByteTable, Rows, whole_rows
from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType, object_name

_FEWEST_MAPS: Final = 256
"""From how many maps on a program pays off: it saves about 8 us for each."""

_FEWEST_ENTRIES: Final = 60_000
"""The same for entries: it saves about 0.1 us for each, and waits for a grace period."""

_MAP_COUNTS_FOR: Final = 40
"""Entries that a map counts for besides: without the program, each has a batch of its own."""

_RUN_ENTRIES: Final = 1 << 15
"""Entries of one run of the program: at most about 30 ms, in which a kernel without preemption runs nothing else."""

_RUN_BYTES: Final = 4 << 20
"""Memory for the entries of one run."""

_RUNNING: Final = threading.BoundedSemaphore(8)
"""Outer maps are published side by side: each program has up to five fds, and there is room for 64 besides waves."""


class NewMaps:
    """Creates and fills maps of a shape, by several threads at once. `name` is theirs.

    It remembers what this kernel or process does not take.
    """

    def __init__(self, shape: MapShape, name: str) -> None:
        self._shape = shape
        self._name = name
        self._layout = StagedEntry(shape.key_size, shape.value_size)
        self._creates = True
        self._fills = can_fill(shape)

    def is_worth_it(self, counts: Index) -> bool:
        """Whether a program pays off for maps with so many entries each, shape (m,)."""
        creates = self._creates and programs.is_worth_it(len(counts), _FEWEST_MAPS)
        return creates or self._is_worth_filling(counts)

    def _is_worth_filling(self, counts: Index) -> bool:
        entries = int(counts.sum())
        work = entries + _MAP_COUNTS_FOR * len(counts) if entries else 0
        return self._fills and programs.is_worth_it(work, _FEWEST_ENTRIES)

    def create(self, into: FdSet[MapFd], max_entries: NDArray[np.uint32], btf: tuple[BtfFd | None, int, int]) -> int:
        """Create a map for each of `max_entries` (m,), whose fds go `into`; gives how many: the others are not."""
        if not self._creates or not programs.is_worth_it(len(max_entries), _FEWEST_MAPS):
            return 0
        with _RUNNING, ExitStack() as opened:
            try:
                records = opened.enter_context(_RecordArray(CREATE_RECORD, len(max_entries)))
                program = programs.load(create_program(records.fd.number), "stage")
            except KernelError:
                return 0
            if program is None:
                self._creates = False
                return 0
            opened.enter_context(program)
            table = records.memory[:-1]
            table[:, :FD] = self._record(btf)
            table[:, 12:16] = max_entries.astype(np.uint32)[:, np.newaxis].view(np.uint8)
            table[:, FD:] = 0xFF
            fds = MapFds()
            opened.callback(fds.leave)
            fds.watch(table[:, FD:].view(np.int32)[:, 0])
            into.add_maps(fds)
            _run(program)
            fds.leave()
            return len(fds)

    def fill(
        self,
        fds: list[int],
        slots: Index,
        table: EntryTable,
        pause: Callable[[], None] = batch.go_on,
        wrote: Callable[[int], None] = batch.not_counted,
    ) -> int:
        """Write the entries of `slots` (m,) of a table into new maps; gives how many maps have all of them.

        The maps after these may have some. `pause` is called between two runs of the program, and may raise; `wrote` is
        called after each, with the number of entries.
        """
        counts = table.counts[slots]
        total = int(counts.sum())
        if not self._is_worth_filling(counts) or not batch.slots_batch_waits_once():
            return 0
        run = max(1, min(total, _RUN_ENTRIES, _RUN_BYTES // self._layout.size))
        with _RUNNING, ExitStack() as opened:
            try:
                records = opened.enter_context(_RecordArray(self._layout.size, run))
                scratch = opened.enter_context(_scratch(fds))
                program = programs.load(fill_program(self._layout, records.fd.number, scratch.number), "stage")
                if program is None:
                    self._fills = False
                    return 0
                opened.enter_context(program)
                _put(scratch, fds)
            except KernelError:
                return 0
            written = self._write(records.memory, program, slots, table, run, pause, wrote)
        return len(fds) if written == total else int(np.searchsorted(np.cumsum(counts), written, side="right"))

    def _record(self, btf: tuple[BtfFd | None, int, int]) -> NDArray[np.uint8]:
        """The attributes of each map, without its max_entries, and that it is one: (72 + 4,)."""
        shape, (fd, key_id, value_id) = self._shape, btf
        record = np.zeros(FD, np.uint8)
        words = record.view(np.uint32)
        words[:3] = shape.map_type, shape.key_size, shape.value_size
        words[4], words[6] = shape.created_flags, shape.numa_node or 0
        name = object_name(self._name).encode()
        record[28 : 28 + len(name)] = np.frombuffer(name, np.uint8)
        words[12:15] = fd.number if fd is not None else 0, key_id, value_id
        record[64:72].view(np.uint64)[:] = shape.map_extra
        words[ATTRIBUTES // 4] = 1
        return record

    def _write(
        self,
        memory: ByteTable,
        program: ProgramFd,
        slots: Index,
        table: EntryTable,
        run: int,
        pause: Callable[[], None],
        wrote: Callable[[int], None],
    ) -> int:
        """Run the program for all entries, some at a time; gives how many it wrote, one after the other."""
        layout, counts = self._layout, table.counts[slots]
        ends = np.cumsum(counts)
        total, written = int(ends[-1]), 0
        # The row of the table that an entry is in, less its number here: usually the same for all.
        shift = table.starts[slots] - (ends - counts)
        shifts = shift[counts > 0]
        first, in_order = int(shifts[0]), bool((shifts == shifts[0]).all())
        number = np.repeat(np.arange(1, len(slots) + 1, dtype=np.uint32), counts)
        slot, key, value = (
            whole_rows(memory[:, at : at + size])
            for at, size in ((0, 4), (layout.key, layout.key_size), (layout.value, layout.value_size))
        )
        keys, values = (whole_rows(np.ascontiguousarray(column)) for column in (table.keys, table.values))
        while written < total:
            pause()
            end = min(written + run, total)
            part, here = number[written:end], slice(0, end - written)
            rows: Index | slice = slice(first + written, first + end)
            if not in_order:
                rows = np.arange(written, end) + shift[part - 1]
            slot[here], key[here], value[here] = part, keys[rows], values[rows]
            slot[end - written] = 0
            done = _run(program) - 1
            written += max(0, done)
            wrote(max(0, done))
            if written < end:
                break
        return written


class _RecordArray:
    """An array of records, of which the last ends them; a context manager. `memory` has shape (records, size)."""

    def __init__(self, size: int, most: int) -> None:
        self._shape = MapShape(MapType.ARRAY, 4, size, most + 1, MapFlag.MMAPABLE)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.fd = self._opened.enter_context(maps.create(self._shape, "stage"))
            size = self._shape.value_size, self._shape.max_entries
            memory = self._opened.enter_context(syscalls.memory_of(self.fd.number, size[0] * size[1]))
            self.memory: ByteTable = np.frombuffer(memoryview(memory), np.uint8).reshape(size[1], size[0])
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _scratch(fds: Sequence[int]) -> MapFd:
    """An outer map for these inner maps, which no other program has."""
    shape = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, len(fds))
    return maps.create(shape, "stage", inner=BorrowedMapFd(fds[0]))


def _put(scratch: MapFd, fds: list[int]) -> None:
    """Put maps into the slots, in one grace period. Raises KernelError."""
    keys, numbers = Rows.of(np.arange(len(fds), dtype=np.uint32)), Rows.of(np.array(fds, np.uint32))
    libbpf.map_update_batch(scratch.number, keys.address, numbers.address, structures.Counter(len(fds)), None)


def _run(program: ProgramFd) -> int:
    """What the program returns; 1 where the kernel or the process does not run it: then nothing was done."""
    try:
        return programs.run(program)
    except KernelError:
        return 1
