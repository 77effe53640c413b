"""Changes of replaced maps, carried over into live ones that programs write: by a program, else by system calls.

By system calls, what a program writes between a lookup and the write after it is lost. A per-CPU value is written by a
program on its own CPU: from another one, an increment that is no atomic instruction would be lost.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

import numpy as np

from provisioner.bytecode.merge_program import Changes, EntryEvent, MergeRecord, Winner, merge_program, why_not
from provisioner.kernel import batch, cpus, maps, programs, reading
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.records import RecordRuns, room_for
from provisioner.kernel.rows import ByteTable, put
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType, UpdateFlag

Counters = tuple[tuple[int, int], ...]
"""The offset and width of each counter in a value."""


def can_merge(shape: MapShape, policy: Winner, counters: Counters) -> bool:
    """Whether this kernel and process can run the program: tried on a scratch map, which is empty."""
    if why_not(shape) or (shape.is_percpu and not cpus.reaches_all()):
        return False
    with (
        maps.create(shape.with_capacity(1), "probe") as scratch,
        Merge([scratch], shape, policy, counters, 1, 1) as merge,
    ):
        merge.load()
        return merge.runs_in_kernel


class Merge:
    """Carries changes over into `targets`, live maps of one template; a context manager, which holds the program.

    `most` is how many changes there are at most of one map.
    """

    def __init__(
        self,
        targets: Sequence[MapFd],
        shape: MapShape,
        policy: Winner,
        counters: Counters,
        possible_cpus: int,
        most: int,
    ) -> None:
        self._targets = targets
        self._shape = shape
        self._policy = policy
        self._counters = counters
        self._cpus = possible_cpus
        self._layout = MergeRecord(shape.key_size, shape.value_size)
        self._room = room_for(most, self._layout.size)
        self._opened = ExitStack()
        self._runs: RecordRuns | None = None
        self._slots: MapFd | None = None
        self.grace_periods = 0

    @property
    def runs_in_kernel(self) -> bool:
        return self._runs is not None

    @property
    def _is_shared(self) -> bool:
        """Whether an entry that both sides made can be of both: a sum, or values of several CPUs."""
        return self._shape.is_percpu or self._policy is not Winner.NEW

    def __enter__(self) -> Self:
        return self  # nothing is open yet: what fails in here or on its way out would have no owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def load(self) -> None:
        """Load the program, if this kernel and process take it; without it, all is done by system calls."""
        if not why_not(self._shape) and (not self._shape.is_percpu or cpus.reaches_all()):
            self._load()

    def carry(self, target: int, changes: Changes) -> None:
        """Carry the changes of one map over. Raises KernelError where the new map does not take one."""
        if self._runs is None:
            self._by_calls(target, changes)
            return
        self._show_targets()
        if not self._shape.is_percpu:
            self._runs.run(self._records_of(target, changes))
        else:
            deleted = changes.kind == EntryEvent.DELETE
            self._by_calls(target, changes.rows(deleted))
            self._on_each_cpu(target, changes.rows(~deleted))

    def _load(self) -> None:
        """The program, with the maps that it uses: none of them where the kernel does not take it."""
        shape = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, len(self._targets))
        with ExitStack() as opened:
            targets = opened.enter_context(maps.create(shape, "merge", inner=self._targets[0]))
            records = opened.enter_context(
                maps.create(MapShape(MapType.ARRAY, 4, self._layout.size, self._room), "merge")
            )
            code = merge_program(
                self._layout,
                self._policy,
                self._counters,
                records.number,
                targets.number,
                is_percpu=self._shape.is_percpu,
            )
            program = programs.load(code, "merge")
            if program is None:
                return
            opened.enter_context(program)
            self._runs = RecordRuns(program, records, self._layout.size, self._room, "merge")
            self._slots = targets
            self._opened = opened.pop_all()

    def _show_targets(self) -> None:
        """Let the program reach the new maps: one grace period, which is not waited for where nothing changed."""
        if self.grace_periods or self._slots is None:
            return
        index = np.arange(len(self._targets), dtype=np.uint32)
        fds = np.array([fd.number for fd in self._targets], np.uint32)
        self.grace_periods = batch.publish(self._slots, index, fds, name="merge")

    def _records_of(self, target: int, changes: Changes) -> ByteTable:
        """The records of changes: they end with the value that is written, or with Policy.SUM with what was added."""
        layout, last = self._layout, changes.after
        if self._policy is Winner.SUM:
            added = _subtracted(changes.before, changes.after, self._counters)
            last = changes.after.copy()  # an entry that the new map does not have is written with its other members
            for offset, width in self._counters:
                last[:, offset : offset + width] = added[:, offset : offset + width]
        records = np.zeros((len(changes.kind), layout.size), np.uint8)
        head = records[:, :8].view(np.uint32)
        head[:, 0], head[:, 1] = changes.kind, target
        put(records[:, layout.key : layout.key + layout.key_size], changes.keys)
        put(records[:, layout.before : layout.before + layout.value_size], changes.before)
        put(records[:, layout.after : layout.after + layout.value_size], last)
        return records

    def _on_each_cpu(self, target: int, changes: Changes) -> None:
        """The part of each CPU, in this thread, which runs there meanwhile.

        A new entry is made by the first CPU, though its own value may be zero. A CPU that is offline by now counts no
        more: what it counted is written by a system call.
        """
        stride, size = changes.after.shape[1] // self._cpus, self._shape.value_size
        inserted = changes.kind == EntryEvent.INSERT
        for number, cpu in enumerate(cpus.possible()):
            part = slice(number * stride, number * stride + size)
            before, after = changes.before[:, part], changes.after[:, part]
            changed = (before != after).any(axis=1)
            if number == 0:
                changed |= inserted
            if not changed.any():
                continue
            own = Changes(changes.kind[changed], changes.keys[changed], before[changed], after[changed])
            with cpus.running_on(cpu) as runs:
                if runs:
                    assert self._runs is not None
                    self._runs.run(self._records_of(target, own))
                else:
                    alone = changes.before[changed].copy()
                    alone[:, part] = after[changed]
                    self._by_calls(target, Changes(own.kind, own.keys, changes.before[changed], alone))

    def _by_calls(self, target: int, changes: Changes) -> None:
        """Each change by itself: a lookup, a comparison, a write."""
        fd = self._targets[target]
        stride = reading.value_stride(self._shape, self._cpus)
        for row in range(len(changes.kind)):
            key, before, after = (each[row].tobytes() for each in (changes.keys, changes.before, changes.after))
            kind = EntryEvent(int(changes.kind[row]))
            if kind is EntryEvent.DELETE:
                self._delete(fd, key, before, stride)
            elif kind is EntryEvent.UPDATE or (not _inserted(fd, key, after) and self._is_shared):
                self._write(fd, key, before, after, stride)

    def _delete(self, fd: MapFd, key: bytes, before: bytes, stride: int) -> None:
        now = maps.lookup(fd, key, stride)
        if now is None:
            return
        if now == before or self._policy is Winner.OLD:
            try:
                maps.delete(fd, key)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
        elif self._policy is Winner.SUM:
            self._update(fd, key, self._added(now, before, bytes(stride)))

    def _write(self, fd: MapFd, key: bytes, before: bytes, after: bytes, stride: int) -> None:
        """An entry that changed in the old map, and is in the new one unless programs deleted it."""
        now = maps.lookup(fd, key, stride)
        match self._policy:
            case Winner.SUM:
                self._update(fd, key, self._added(now or bytes(stride), before, after))
            case Winner.OLD:
                self._update(fd, key, after)
            case Winner.NEW if now == before:
                with suppress(KeyError):  # programs deleted it at this moment
                    self._update(fd, key, after, UpdateFlag.EXIST)
            case Winner.NEW:
                pass

    def _update(self, fd: MapFd, key: bytes, value: bytes, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Write an entry. Raises KeyError where it must exist and does not."""
        try:
            maps.update(fd, key, value, flags | UpdateFlag.LOCK if self._shape.is_locked else flags)
        except KernelError as error:
            if error.errno != errno.ENOENT or not flags & UpdateFlag.EXIST:
                raise
            raise KeyError from error

    def _added(self, now: bytes, before: bytes, after: bytes) -> bytes:
        """`now` and the difference of the two others, CPU by CPU."""
        parts = self._cpus if self._shape.is_percpu else 1
        held, old, new = (np.frombuffer(each, np.uint8).reshape(parts, -1) for each in (now, before, after))
        negative = _subtracted(new, old, self._counters)
        return _subtracted(negative, held, self._counters).tobytes()


def _inserted(fd: MapFd, key: bytes, value: bytes) -> bool:
    """Insert an entry unless it is there."""
    try:
        maps.update(fd, key, value, UpdateFlag.NOEXIST)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def _subtracted(before: ByteTable, after: ByteTable, counters: Counters) -> ByteTable:
    """The difference of each counter, as it wraps; other bytes are zero."""
    difference = np.zeros_like(after)
    for offset, width in counters:
        part, kind = slice(offset, offset + width), np.dtype(f"u{width}")
        old, new = (np.ascontiguousarray(each[:, part]).view(kind) for each in (before, after))
        difference[:, part] = (new - old).view(np.uint8)
    return difference
