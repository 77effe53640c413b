"""Looking up single entries by their keys: no batch does that."""

from __future__ import annotations

import errno

import numpy as np
from numpy.typing import NDArray

from provisioner.kernel import libbpf, reading
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import ByteTable, Rows
from provisioner.model.map_shape import MapShape


def look_up(fd: MapFd, shape: MapShape, keys: ByteTable, possible_cpus: int) -> tuple[ByteTable, NDArray[np.bool_]]:
    """The values of `keys` (n, key size): shape (n, stride), and which of them are there.

    Values that hold a spin lock, as `shape` tells, are copied under it. Raises `KernelError`.
    """
    rows, count = Rows.of(np.ascontiguousarray(keys)), len(keys)
    values = np.zeros((count, reading.value_stride(shape, possible_cpus)), np.uint8)
    out, number, flags = Rows.of(values), fd.number, reading.lookup_flags(shape)
    look, key, value = libbpf.try_map_lookup_elem_flags, rows.address, out.address
    there = np.ones(count, np.bool_)
    for row in range(count):
        failed = look(number, key, value, flags)
        if failed:
            if failed != -errno.ENOENT:
                raise KernelError("BPF_MAP_LOOKUP_ELEM", -failed)
            there[row] = False
        key += rows.size
        value += out.size
    return values, there
