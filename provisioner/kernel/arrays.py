"""Reading the elements of an array that are not zero, in ranges of indexes: an element that was never written is zero.

An array always has all its elements, and the largest have tens of millions. The kernel spends about 220 ns on each one
that a batch reads, so several threads read batches of one array at a time. A map with BPF_F_MMAPABLE is mapped instead,
which takes no system call for its elements.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from provisioner.kernel import calls, libbpf, maps, reading, structures
from provisioner.kernel.batch import BATCHING, Batching, locked_elements
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import ByteTable
from provisioner.kernel.workers import run_together
from provisioner.model import entry_table
from provisioner.model.map_shape import MapShape, rounded_up
from provisioner.model.uapi import MapFlag, MapType

Range = tuple[int, int]
"""The first and last index of a range."""

_FULL: Final = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
"""Types without empty slots: a batch of them has an element for each index."""

_BATCH_ELEMENTS: Final = 1 << 16
"""Elements of one batch: about 15 ms, so that a signal is answered soon and threads share the work evenly."""

_BATCH_BYTES: Final = 1 << 20
"""Memory for the values of one batch, so that they stay in the cache until they are looked at."""


def read_nonzero(
    fd: MapFd,
    shape: MapShape,
    possible_cpus: int,
    ranges: Sequence[Range] = (),
    *,
    batching: Batching = BATCHING,
) -> tuple[ByteTable, ByteTable]:
    """The elements of an array with a byte that is not zero: keys (n, 4), ascending, and values (n, stride).

    Only those whose index is in one of `ranges`, if there are any; nothing else is read. Values that hold a spin lock
    are copied under it. Raises `KernelError`.
    """
    if shape.map_type not in _FULL:
        keys, values = _held(*reading.read_entries(fd, shape, possible_cpus, batching=batching))
        inside = entry_table.within(keys, sys.byteorder, ranges)
        return keys[inside], values[inside]
    wanted = merged(ranges or [(0, shape.max_entries - 1)], shape.max_entries)
    stride = reading.value_stride(shape, possible_cpus)
    columns = _mapped(fd, shape, wanted) if _may_be_mapped(shape) else None
    if columns is None and batching.entries:
        columns = _by_batches(fd, shape, stride, wanted)
    if columns is None:
        columns = [_held(*reading.read_indexes(fd, shape, stride, range(first, end))) for first, end in wanted]
    parts = columns or [(np.zeros((0, 4), np.uint8), np.zeros((0, stride), np.uint8))]
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([values for _, values in parts])


def merged(ranges: Iterable[Range], size: int) -> list[Range]:
    """The ranges in order as (first, end), without overlaps and without indexes that the array does not have."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        end = min(last + 1, size)
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        elif first < end:
            joined.append((first, end))
    return joined


def _held(keys: ByteTable, values: ByteTable) -> tuple[ByteTable, ByteTable]:
    held = np.flatnonzero(entry_table.is_nonzero(values))
    return keys[held], values[held]


def _keys(first: int, held: entry_table.Index) -> ByteTable:
    """The keys of the elements `held`, counted from index `first` on."""
    return (held + first).astype(np.uint32).view(np.uint8).reshape(-1, 4)


def _may_be_mapped(shape: MapShape) -> bool:
    return shape.map_type is MapType.ARRAY and bool(shape.map_flags & MapFlag.MMAPABLE) and not shape.specials


def _mapped(fd: MapFd, shape: MapShape, wanted: Sequence[Range]) -> list[tuple[ByteTable, ByteTable]] | None:
    """The elements in memory that is mapped; None where the kernel maps none of it.

    An element takes its size rounded up to 8 bytes, from the start of the mapping on (array_map_mmap).
    """
    room = rounded_up(shape.value_size)
    columns = []
    for first, end in wanted:
        start = first * room // mmap.PAGESIZE * mmap.PAGESIZE
        memory = _memory(fd, end * room - start, start)
        if memory is None:
            return None
        with memory:
            elements = np.frombuffer(memory, np.uint8)[first * room - start :].reshape(-1, room)
            try:
                columns += list(_pieces(elements, first, shape.value_size))
            finally:
                del elements  # a mapping cannot be closed while an array has its memory
    return columns


def _memory(fd: MapFd, length: int, start: int) -> mmap.mmap | None:
    """A read-only mapping of a part of a map; None where the kernel makes none.

    It makes none of an fd that was opened read-only: a mapping of such a file is not VM_SHARED (do_mmap), which
    bpf_map_mmap answers with EINVAL. So the map is opened by its id, which takes CAP_SYS_ADMIN.
    """
    try:
        return mmap.mmap(fd.number, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=start)
    except OSError as error:
        if error.errno != errno.EINVAL:
            return None
    try:
        with maps.open_id(InnerId(maps.info(fd).id)) as opened:
            return mmap.mmap(opened.number, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=start)
    except (KernelError, OSError):
        return None


def _pieces(elements: ByteTable, first: int, size: int) -> Iterator[tuple[ByteTable, ByteTable]]:
    for start in range(0, len(elements), _BATCH_ELEMENTS):
        values = np.ascontiguousarray(elements[start : start + _BATCH_ELEMENTS, :size])
        held = np.flatnonzero(entry_table.is_nonzero(values))
        if len(held):
            yield _keys(first + start, held), values[held]


def _by_batches(
    fd: MapFd, shape: MapShape, stride: int, wanted: Sequence[Range]
) -> list[tuple[ByteTable, ByteTable]] | None:
    """The elements by batches, from as many threads as there are CPUs; None where the kernel has no such batch."""
    size = max(1, min(_BATCH_ELEMENTS, _BATCH_BYTES // stride))
    parts = [(start, min(start + size, end)) for first, end in wanted for start in range(first, end, size)]
    by_number: dict[int, tuple[ByteTable, ByteTable]] = {}
    failures: list[int] = []
    indexes = iter(range(len(parts)))  # shared: `next` of a range is atomic

    def work() -> None:
        reader = _BatchReader(fd, shape, stride, size)
        for number in indexes:
            if failures:
                return
            first, end = parts[number]
            failed = reader.read(first, end - first)
            if failed:
                failures.append(failed)
                return
            held = np.flatnonzero(entry_table.is_nonzero(values := reader.values[: end - first]))
            if len(held):
                by_number[number] = _keys(first, held), values[held]

    run_together(work, min(len(parts), len(os.sched_getaffinity(0))))
    if failures:
        missing = reading.NO_LOCKED_BATCH if shape.is_locked else reading.NO_BATCH
        if -failures[0] in missing:
            return None
        raise KernelError("BPF_MAP_LOOKUP_BATCH", -failures[0])
    return [by_number[number] for number in sorted(by_number)]


class _BatchReader:
    """The memory that one thread reads batches into, made once."""

    def __init__(self, fd: MapFd, shape: MapShape, stride: int, size: int) -> None:
        self._fd = fd.number
        self._keys = np.empty((size, 4), np.uint8)
        self.values = np.empty((size, stride), np.uint8)
        self._addresses = self._keys.ctypes.data, self.values.ctypes.data
        self._token, self._following = np.zeros(2, np.uint32), calls.new_buffer(8)
        self._start = self._token.ctypes.data
        self._count = structures.Counter()
        self._options = locked_elements() if shape.is_locked else None

    def read(self, first: int, count: int) -> int:
        """Read `count` elements from an index on; gives 0, or -errno.

        A batch begins after the index in its token (generic_map_lookup_batch), and ENOENT means that the last element
        was among those that it read.
        """
        self._count.value = count
        start = None
        if first:
            self._token[0], start = first - 1, self._start
        failed = libbpf.try_map_lookup_batch(
            self._fd, start, self._following, *self._addresses, self._count, self._options
        )
        if failed and failed != -errno.ENOENT:
            return failed
        return 0 if self._count.value == count else -errno.EAGAIN
