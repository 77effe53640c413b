"""Some members of entries, written into live maps that programs write too: by a program, else by system calls.

By system calls, what another writer writes to the entry between the lookup and the write after it is lost, with or
without a lock: BPF_F_LOCK makes each of the two calls atomic, and not both together.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import numpy as np

from provisioner.bytecode.member_program import CPU, MISSING, MemberRecord, member_program, stores, why_not
from provisioner.codec.lpm import masked, prefix_length
from provisioner.kernel import batch, libbpf, maps, programs, reading
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import UPDATE, KernelError
from provisioner.kernel.records import RecordRuns, room_for
from provisioner.kernel.rows import ByteTable, Rows, put
from provisioner.model import entry_table
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType, UpdateFlag

_TRIES: Final = 1000
"""How often an entry is tried again that another writer makes or deletes at that moment."""

_PAUSES: Final = 4096
"""Entries that are written by system calls between two pauses."""

_NEW: Final = UpdateFlag.NOEXIST


class MemberWriter:
    """Writes members of the entries of live maps of one template; a context manager, which holds the program.

    `owned` is the mask of the members, as long as a value as the system call moves it: of a per-CPU map, those of all
    CPUs. `most` is how many entries one map has at most.
    """

    def __init__(self, targets: Sequence[MapFd], shape: MapShape, owned: Bytes, most: int) -> None:
        self._targets = targets
        self._shape = shape
        self._owned = owned
        self._cpus = len(owned) // rounded_up(shape.value_size) if shape.is_percpu else 1
        self._layout = MemberRecord(shape.key_size, shape.value_size)
        self._room = room_for(most * self._cpus, self._layout.size)
        self._opened = ExitStack()
        self._runs: RecordRuns | None = None
        self.grace_periods = 0

    @property
    def runs_in_kernel(self) -> bool:
        return self._runs is not None

    def __enter__(self) -> Self:
        return self  # nothing is open yet: what fails in here or on its way out would have no owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def load(self) -> None:
        """Load the program, if this kernel and process take it; without it, all is done by system calls.

        A program for several maps reaches them by a map of maps, which takes a grace period.
        """
        if why_not(self._shape, self._owned):
            return
        is_outer = len(self._targets) > 1
        with ExitStack() as opened:
            shape = MapShape(MapType.ARRAY, 4, self._layout.size, self._room)
            records = opened.enter_context(maps.create(shape, "members"))
            target = self._targets[0]
            if is_outer:
                shape = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, len(self._targets))
                target = opened.enter_context(maps.create(shape, "members", inner=target))
            code = member_program(
                self._layout, self._shape, self._owned, records.number, target.number, is_outer=is_outer
            )
            program = programs.load(code, "members")
            if program is None:
                return
            opened.enter_context(program)
            if is_outer:
                fds = np.array([fd.number for fd in self._targets], np.uint32)
                index = np.arange(len(fds), dtype=np.uint32)
                self.grace_periods += batch.publish(target, index, fds, name="members")
            self._runs = RecordRuns(program, records, self._layout.size, self._room, "members")
            self._opened = opened.pop_all()

    def write(self, target: int, keys: ByteTable, values: ByteTable, pause: Callable[[], None] = batch.go_on) -> None:
        """Write our members of entries of one map, (n, key size) and (n, bytes of `owned`); missing ones get all of it.

        `pause` is called now and then, and may raise. Raises KernelError where the map does not take one.
        """
        if self._runs is None:
            self._by_calls(self._targets[target], keys, values, pause)
            return
        step = max(1, self._room // self._cpus)
        for start in range(0, len(keys), step):
            pause()
            part = slice(start, start + step)
            if self._shape.is_percpu:
                self._of_all_cpus(self._runs, target, np.ascontiguousarray(keys[part]), values[part])
            else:
                self._runs.run(self._records(target, keys[part], values[part]))

    def _records(self, target: int, keys: ByteTable, values: ByteTable) -> ByteTable:
        """A record for each entry; `values` has what one value has."""
        layout = self._layout
        records = np.zeros((len(keys), layout.size), np.uint8)
        head = records[:, :8].view(np.uint32)
        head[:, 0], head[:, 1] = 1, target
        put(records[:, layout.key : layout.key + layout.key_size], keys)
        put(records[:, layout.value : layout.value + layout.value_size], values)
        return records

    def _of_all_cpus(self, runs: RecordRuns, target: int, keys: ByteTable, values: ByteTable) -> None:
        """A record for each CPU of each entry. A new entry is made by a system call, which sets all CPUs at once."""
        cpus, size = self._cpus, self._shape.value_size
        each = np.ascontiguousarray(values).reshape(len(keys) * cpus, -1)[:, :size]
        records = self._records(target, np.repeat(keys, cpus, axis=0), each)
        records[:, CPU : CPU + 4].view(np.uint32)[:, 0] = np.tile(np.arange(cpus, dtype=np.uint32), len(keys))
        rows = np.arange(len(keys))
        for _ in range(_TRIES):
            results = runs.run(records.reshape(len(keys), cpus, -1)[rows].reshape(len(rows) * cpus, -1))
            missing = rows[(results.reshape(len(rows), cpus) == MISSING).any(axis=1)]
            made = [self._insert(self._targets[target], keys[row], values[row]) for row in missing.tolist()]
            rows = missing[~np.array(made, np.bool_)]  # another writer made these at this moment
            if not len(rows):
                return
        raise KernelError(UPDATE, errno.EAGAIN)

    @staticmethod
    def _insert(target: MapFd, key: Bytes, value: Bytes) -> bool:
        """Make an entry; whether there was none. Raises KernelError."""
        try:
            maps.update(target, key.tobytes(), value.tobytes(), flags=_NEW)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            return False
        return True

    def _by_calls(self, target: MapFd, keys: ByteTable, values: ByteTable, pause: Callable[[], None]) -> None:
        """A lookup of each entry, and a write of the whole value at once: the time between is what others can lose."""
        row = _Row(target, self._shape, self._owned)
        if self._shape.map_type is MapType.LPM_TRIE:
            row.held = held_by_trie(target, self._shape, keys)
        key_rows, value_rows = Rows.of(np.ascontiguousarray(keys)), Rows.of(np.ascontiguousarray(values))
        data = value_rows.array.data.cast("B")
        for at in range(key_rows.count):
            if at % _PAUSES == 0:
                pause()
            start = at * value_rows.size
            key = keys[at].tobytes() if row.held is not None else b""
            row.write(key_rows.at(at), value_rows.at(at), data[start : start + value_rows.size], key)


class _Row:
    """One entry at a time: the value that is live, in which the members are written. `held` has those of a trie."""

    def __init__(self, target: MapFd, shape: MapShape, owned: Bytes) -> None:
        self.held: dict[bytes, bytes] | None = None
        self._number = target.number
        self._lock = UpdateFlag.LOCK if shape.is_locked else UpdateFlag.ANY
        self._live = Rows.of(np.zeros((1, len(owned)), np.uint8))
        self._bytes = self._live.array.data.cast("B")
        starts = range(0, len(owned), rounded_up(shape.value_size) if shape.is_percpu else len(owned))
        spots = [(piece.offset, piece.width) for piece in stores(shape, owned)]
        self._spans = tuple(slice(at + offset, at + offset + width) for at in starts for offset, width in spots)

    def write(self, key: int, value: int, data: memoryview, name: bytes) -> None:
        """Write an entry by the addresses of its key and value; `data` is that value, `name` its key in a trie.

        Raises KernelError.
        """
        for _ in range(_TRIES):
            is_there = self._look_up(key, name)
            for span in self._spans if is_there else ():
                self._bytes[span] = data[span]
            source, flags = (self._live.address, UpdateFlag.EXIST | self._lock) if is_there else (value, _NEW)
            try:
                libbpf.map_update_elem(self._number, key, source, flags)
            except KernelError as error:
                # Another writer deleted it at this moment, or made it.
                if error.errno != (errno.ENOENT if is_there else errno.EEXIST):
                    raise
            else:
                return
        raise KernelError(UPDATE, errno.EAGAIN)

    def _look_up(self, key: int, name: bytes) -> bool:
        if self.held is not None:
            value = self.held.pop(name, None)
            if value is not None:
                self._bytes[:] = value
            return value is not None
        failed = libbpf.try_map_lookup_elem_flags(self._number, key, self._live.address, self._lock)
        if failed and failed != -errno.ENOENT:
            raise KernelError("BPF_MAP_LOOKUP_ELEM", -failed)
        return not failed


def held_by_trie(fd: MapFd, shape: MapShape, keys: ByteTable) -> dict[bytes, bytes]:
    """The values of those of `keys` that a trie has. A lookup would find a shorter prefix, so all of it is read."""
    live, values = reading.read_entries(fd, shape, 1)
    pairs = entry_table.match_keys(keys, masked(live, prefix_length(sys.byteorder)))
    rows = zip(pairs.both_left.tolist(), pairs.both_right.tolist(), strict=True)
    return {keys[left].tobytes(): values[right, : shape.value_size].tobytes() for left, right in rows}
