"""Global variables of a loaded object: the map of a data section, written as memory.

A write by system call would copy the whole section over what programs write to it at the same time.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import KernelError


def write_word(fd: MapFd, offset: int, data: bytes) -> bytes:
    """Write 1, 2, 4 or 8 aligned bytes of the first value of an array by one store; gives the bytes before.

    The map has BPF_F_MMAPABLE (fc9702273e2e). Raises `KernelError` if it cannot be mapped.
    """
    with _mapped(fd, offset + len(data)) as memory:
        word = np.frombuffer(memory, f"u{len(data)}", 1, offset)
        before = word.tobytes()
        word[0] = np.frombuffer(data, word.dtype)[0]
        del word  # or the memory cannot be unmapped
        return before


@contextmanager
def _mapped(fd: MapFd, size: int) -> Iterator[mmap.mmap]:
    try:
        memory = mmap.mmap(fd.number, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    except OSError as error:
        raise KernelError("mmap", error.errno or 0) from error
    with memory:
        yield memory
