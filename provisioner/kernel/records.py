"""Runs of a generated program over records in an array: written, worked through in the kernel, and read back."""

from __future__ import annotations

import errno
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.kernel import batch, programs, reading
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.reasons import UPDATE, KernelError
from provisioner.kernel.rows import ByteTable

RECORDS_BYTES: Final = 4 << 20
"""Memory for the records of one run of a program."""

_TRIES: Final = 1000
"""How often a record is tried again that met a program at work: each try meets another moment."""

_AGAIN: Final = (-errno.EAGAIN, -errno.EBUSY, -errno.ENOMEM)
"""Results to try again after: at that moment a program deleted the entry, held its bucket, or had the last element."""


def room_for(most: int, size: int) -> int:
    """The records of one run, if there are at most so many of so many bytes."""
    return max(1, min(most, RECORDS_BYTES // size))


class RecordRuns(msgspec.Struct, frozen=True):
    """A program and its array of `room` records of `size` bytes, which end at the first one that is zero.

    A record has its result at byte 8, 32 bits that are not zero once the program came to it; negative: errno.
    """

    program: ProgramFd
    records: MapFd
    size: int
    room: int
    name: str

    def run(self, records: ByteTable) -> NDArray[np.int32]:
        """Run the program for all records, in as many runs as there is room for; some again. Gives their results.

        Raises KernelError.
        """
        done = np.zeros(len(records), np.int32)
        for start in range(0, len(records), self.room):
            rows = np.arange(start, min(start + self.room, len(records)))
            for _ in range(_TRIES):
                done[rows] = results = self._once(records[rows])
                failed = results[(results < 0) & ~np.isin(results, _AGAIN)]
                if len(failed):
                    raise KernelError(UPDATE, -int(failed[0]))
                again = results < 0
                if not again.any():
                    break
                rows = rows[again]
            else:
                raise KernelError(UPDATE, -int(results[again][0]))
        return done

    def _once(self, records: ByteTable) -> NDArray[np.int32]:
        count = len(records)
        index = np.arange(min(count + 1, self.room), dtype=np.uint32)
        written = np.zeros((len(index), self.size), np.uint8)  # one of zeros ends them
        written[:count] = records
        batch.write_batch(self.records, index, written, name=self.name)
        programs.run(self.program)
        back = reading.read_first(self.records, count, self.size)
        results: NDArray[np.int32] = back[:, 8:12].copy().view(np.int32).ravel()
        if not results.all():  # it never came to them
            raise KernelError("BPF_PROG_TEST_RUN", errno.EINVAL, name=self.name)
        return results
