"""Reading all of a map: by batches where the kernel has them, else key by key. Other writers may be at work."""

from __future__ import annotations

import errno
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provisioner.kernel import binding, calls, libbpf, structures
from provisioner.kernel.batch import BATCHING, Batching, locked_elements
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import ByteTable, from_pairs, without_duplicates
from provisioner.model.map_shape import MapShape
from provisioner.model.map_shape import value_stride as value_stride
from provisioner.model.uapi import ENOTSUPP, MapType, UpdateFlag

CHUNK_BYTES: Final = 16 << 20
"""Memory for one batch; the kernel fills only as much of it as there are entries."""

CHUNK_ENTRIES: Final = 1 << 18
"""Entries of one batch, about 80 ms: between two batches, a signal is answered."""

RESTARTING: Final = frozenset({MapType.LPM_TRIE})
"""Types whose walk starts again when its current key is deleted: batches of them may repeat keys."""

NO_BATCH: Final = frozenset({ENOTSUPP, *binding.ASKS_AGAIN})
"""What to read one by one after. EINTR: before 9644db01dd19, a batch gave up on an ARRAY_OF_MAPS with empty slots."""


NO_LOCKED_BATCH: Final = NO_BATCH | {errno.EINVAL}
"""The same for values under their locks: a batch that takes no flags for its elements says EINVAL."""


def read_entries(
    fd: MapFd, shape: MapShape, possible_cpus: int, *, batching: Batching = BATCHING
) -> tuple[ByteTable, ByteTable]:
    """All entries: keys (n, key_size) and values (n, `value_stride`), in the kernel's order, each key once.

    If the map changes during the read, no entry that stays is missed, except in LPM tries and maps that are read key by
    key, where the kernel can start again; the walk then ends after twice `max_entries` steps. Values that
    hold a spin lock, by `shape`, are copied under it. Raises `KernelError`, with errno 524 for types that cannot
    be listed.
    """
    return _read(fd, shape, value_stride(shape, possible_cpus), batching.entries)


def read_slots(fd: MapFd, shape: MapShape, *, batching: Batching = BATCHING) -> tuple[ByteTable, NDArray[np.uint32]]:
    """The occupied slots of an outer map: keys (m, key_size) and the ids (m,) of their inner maps."""
    keys, values = _read(fd, shape, 4, batching.slots)
    return keys, values.view(np.uint32).ravel()


def read_first(fd: MapFd, count: int, size: int) -> ByteTable:
    """The values of the first elements of an array, by one batch: shape (count, size)."""
    keys, values = np.empty((count, 4), np.uint8), np.empty((count, size), np.uint8)
    token, done = calls.new_buffer(8), structures.Counter(count)
    libbpf.map_lookup_batch(fd.number, None, token, keys.ctypes.data, values.ctypes.data, done, None)
    return values


def has_batch(fd: MapFd, shape: MapShape, possible_cpus: int) -> bool:
    """Whether the kernel reads maps of this type by batches; other batches came with the same patches."""
    try:
        _by_batch(fd, shape, value_stride(shape, possible_cpus))
    except KernelError as error:
        if error.errno == ENOTSUPP:
            return False
        raise
    return True


def _read(fd: MapFd, shape: MapShape, stride: int, batched: bool) -> tuple[ByteTable, ByteTable]:
    if shape.key_size == 0 or stride == 0:
        raise KernelError("BPF_MAP_GET_NEXT_KEY", ENOTSUPP)
    if batched:
        try:
            return _by_batch(fd, shape, stride)
        except KernelError as error:
            if error.errno not in (NO_LOCKED_BATCH if shape.is_locked else NO_BATCH):
                raise
    if shape.is_array:
        return read_indexes(fd, shape, stride, range(shape.max_entries))
    return from_pairs(_by_key(fd, shape, stride), shape.key_size, stride)


def read_indexes(fd: MapFd, shape: MapShape, stride: int, indexes: range) -> tuple[ByteTable, ByteTable]:
    """Elements of an array, one by one; empty slots are left out."""
    value, flags = calls.new_buffer(stride), lookup_flags(shape)
    keys = map(np.uint32.tobytes, np.arange(indexes.start, indexes.stop, dtype=np.uint32))
    return from_pairs({key: value.raw for key in keys if _present(fd, key, value, flags)}, shape.key_size, stride)


def _by_batch(fd: MapFd, shape: MapShape, stride: int) -> tuple[ByteTable, ByteTable]:
    """Batch after batch from the kernel's token on, until ENOENT or, for arrays, until all indexes were read."""
    # One more than there can be: then the first batch of a full LPM trie ends with ENOENT as well.
    chunk = max(1, min(shape.max_entries + 1, CHUNK_ENTRIES, CHUNK_BYTES // (shape.key_size + stride)))
    limit = shape.max_entries if shape.is_array else 2 * shape.max_entries + chunk
    token = calls.new_buffer(max(8, shape.key_size))
    start: structures.Buffer | None = None
    options = locked_elements() if shape.is_locked else None
    parts: list[tuple[ByteTable, ByteTable]] = []
    total, ended = 0, False
    while not ended and total < limit:
        keys = np.empty((chunk, shape.key_size), dtype=np.uint8)
        values = np.empty((chunk, stride), dtype=np.uint8)
        count = structures.Counter(chunk)
        try:
            libbpf.map_lookup_batch(fd.number, start, token, keys.ctypes.data, values.ctypes.data, count, options)
        except KernelError as error:
            if error.errno == errno.ENOSPC:  # a bucket that holds more than the buffer
                chunk *= 2
                continue
            if error.errno != errno.ENOENT:
                raise
            ended = True
        read, start = count.value, token
        total += read
        parts.append((keys[:read].copy(), values[:read].copy()) if read < chunk // 2 else (keys[:read], values[:read]))
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    return without_duplicates(*whole) if shape.map_type in RESTARTING else whole


def _joined(parts: list[tuple[ByteTable, ByteTable]]) -> tuple[ByteTable, ByteTable]:
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([values for _, values in parts])


def _by_key(fd: MapFd, shape: MapShape, stride: int) -> dict[bytes, bytes]:
    """Key after key, as `get_next_key` returns them; it starts again at a key that was deleted in the meantime."""
    pairs: dict[bytes, bytes] = {}
    value, following = calls.new_buffer(stride), calls.new_buffer(shape.key_size)
    flags = lookup_flags(shape)
    key: bytes | None = None
    for _ in range(2 * shape.max_entries + 1):
        try:
            libbpf.map_get_next_key(fd.number, key, following)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                break
            raise
        key = following.raw
        if _present(fd, key, value, flags):
            pairs[key] = value.raw
    return pairs


def lookup_flags(shape: MapShape) -> UpdateFlag:
    """Flags of a lookup: a value that holds a spin lock is copied under it."""
    return UpdateFlag.LOCK if shape.is_locked else UpdateFlag.ANY


def _present(fd: MapFd, key: bytes, value: structures.Buffer, flags: UpdateFlag) -> bool:
    """Read one value into `value`; False if the key is not there, or not there any more."""
    try:
        libbpf.map_lookup_elem_flags(fd.number, key, value, flags)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True
