"""Reading many inner maps of one template, one after the other into one pair of columns.

A hundred entries cost the kernel some 30 us. So that Python costs less than that, nothing is made for each map: no
array, no buffer, and no exception where its walk ends.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.kernel import calls, libbpf, structures
from provisioner.kernel.arrays import Range, read_nonzero
from provisioner.kernel.batch import BATCHING, Batching, locked_elements
from provisioner.kernel.fd import MapFd
from provisioner.kernel.inner_pins import OPENED_BY_ID, InnerPins
from provisioner.kernel.reading import CHUNK_BYTES, RESTARTING, read_entries, value_stride
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import ByteTable, without_duplicates
from provisioner.model.entry_table import key_rank
from provisioner.model.map_shape import MapShape

LARGE_ARRAY: Final = 4096
"""Elements from which on an inner array is read in ranges: below, one batch of all of it is faster."""


class InnerMaps(msgspec.Struct, frozen=True):
    """What m inner maps held: `max_entries` and `counts`, both (m,), and their n entries, one map after the other.

    `keys` has shape (n, key_size), `values` (n, `value_stride`). A map that is gone has `max_entries` 0.
    """

    max_entries: NDArray[np.uint32]
    counts: NDArray[np.int64]
    keys: ByteTable
    values: ByteTable

    def owners(self) -> NDArray[np.int64]:
        """Shape (n,): the number of the map that each entry is of."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int64), self.counts)


def read_inner_maps(
    ids: Sequence[int],
    whole: Sequence[bool],
    shape: MapShape,
    possible_cpus: int,
    rows: int,
    *,
    pins: InnerPins = OPENED_BY_ID,
    batching: Batching = BATCHING,
    nonzero: Sequence[Range] | None = None,
) -> InnerMaps:
    """The maps in `ids`, from the first on until there are about `rows` entries; of one that is not `whole`, the size.

    `shape` is that of their template. Each is read as `read_entries` would, which does what a batch cannot. Of large
    arrays, `nonzero` are the ranges to read, without zeros. Raises `KernelError`.
    """
    room = _Room(shape, value_stride(shape, possible_cpus), rows)
    capacities: list[int] = []
    counts: list[int] = []
    for number, entries in zip(ids, whole, strict=True):
        if room.used >= rows:
            break
        fd = _open(number, pins)
        if fd is None:
            capacities.append(0)
            counts.append(0)
            continue
        with fd:
            capacity = room.capacity_of(fd)
            count = 0
            if entries and capacity:
                own = shape.with_capacity(capacity)
                if nonzero is not None and shape.is_array and capacity >= LARGE_ARRAY:
                    count = room.append(*read_nonzero(fd, own, possible_cpus, nonzero, batching=batching))
                elif room.is_short_of(capacity):
                    break
                else:
                    count = room.read(fd, capacity) if batching.entries else -1
                if count < 0:
                    count = room.append(*read_entries(fd, own, possible_cpus, batching=batching))
        capacities.append(capacity)
        counts.append(count)
    inner = InnerMaps(np.array(capacities, np.uint32), np.array(counts, np.int64), *room.taken())
    return each_key_once(inner) if shape.map_type in RESTARTING else inner


def _open(number: int, pins: InnerPins) -> MapFd | None:
    """A map by its id, or by the pin of that name; None if it is gone."""
    fd = libbpf.try_map_get_fd_by_id(number) if pins.folder is None else -errno.EAGAIN
    if fd >= 0:
        return MapFd(fd)
    if fd == -errno.ENOENT:
        return None
    try:
        return pins.open(number, readonly=True)  # it knows which failures pass, and says what others mean
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


class _Room:
    """Columns that fill up, and the buffers of the system calls, allocated once."""

    def __init__(self, shape: MapShape, stride: int, rows: int) -> None:
        self._shape = shape
        self._stride = stride
        # One row more than there can be: then a batch ends with ENOENT, and says so that nothing is left.
        wanted = rows + shape.max_entries + 1
        self.rows = max(1, min(wanted, CHUNK_BYTES // max(1, shape.key_size + stride)))
        self.used = 0
        self._keys = np.empty((self.rows, shape.key_size), np.uint8)
        self._values = np.empty((self.rows, stride), np.uint8)
        self._key_address = self._keys.ctypes.data
        self._value_address = self._values.ctypes.data
        self._token = calls.new_buffer(max(8, shape.key_size))
        self._count = structures.Counter()
        self._info = structures.MapInfoRecord()
        self._options = locked_elements() if shape.is_locked else None

    def capacity_of(self, fd: MapFd) -> int:
        """The `max_entries` of an inner map; 0 where its sizes are not the template's, and it is another map by now."""
        record = calls.get_info(fd.number, self._info)
        if record.key_size != self._shape.key_size or record.value_size != self._shape.value_size:
            return 0
        capacity: int = record.max_entries
        return capacity

    def is_short_of(self, capacity: int) -> bool:
        """Whether a map with so much room may not fit in what is left, but would in all of it."""
        return self.used > 0 and self.rows - self.used <= capacity < self.rows

    def read(self, fd: MapFd, capacity: int) -> int:
        """Read a whole map by one batch; how many entries it held, or -1 where one batch did not do."""
        if capacity >= self.rows - self.used:
            return -1
        self._count.value = capacity + 1
        keys = self._key_address + self.used * self._shape.key_size
        values = self._value_address + self.used * self._stride
        failed = libbpf.try_map_lookup_batch(fd.number, None, self._token, keys, values, self._count, self._options)
        if failed != -errno.ENOENT:
            return -1
        count: int = self._count.value
        self.used += count
        return count

    def append(self, keys: ByteTable, values: ByteTable) -> int:
        """Take over entries that were read otherwise; how many they are. Where they do not fit, there is more room."""
        end = self.used + len(keys)
        if end > self.rows:
            self._keys = np.concatenate((self._keys[: self.used], keys))
            self._values = np.concatenate((self._values[: self.used], values))
            self._key_address, self._value_address = self._keys.ctypes.data, self._values.ctypes.data
            self.rows = end
        else:
            self._keys[self.used : end] = keys
            self._values[self.used : end] = values
        self.used = end
        return len(keys)

    def taken(self) -> tuple[ByteTable, ByteTable]:
        return self._keys[: self.used], self._values[: self.used]


def each_key_once(inner: InnerMaps) -> InnerMaps:
    """Each map's keys once, for walks that the kernel restarts when a key goes."""
    rank = np.sort(key_rank(inner.keys) ^ (inner.owners().astype(np.uint64) << np.uint64(32)))
    if not (rank[1:] == rank[:-1]).any():
        return inner
    ends = np.cumsum(inner.counts).tolist()
    parts = [
        without_duplicates(inner.keys[start:end], inner.values[start:end])
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    keys = [keys for keys, _ in parts]
    counts = np.array([len(each) for each in keys], np.int64)
    return InnerMaps(inner.max_entries, counts, np.concatenate(keys), np.concatenate([values for _, values in parts]))
