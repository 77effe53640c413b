"""What publishing costs on a kernel: one write of a slot, a batch, many by threads, and what apply chooses.

`python -m benchmarks.publishing`, as root. It prints a row of the table in docs/kernels.md: medians of a few calls, but
for the last, which is one call, with how many times it waited. Nothing is pinned, and all slots take one inner map: it
is the wait that is measured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from provisioner.kernel import batch, maps
from provisioner.kernel.batch import Batching
from provisioner.kernel.fd import MapFd
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.model.words import plural

_EXPEDITED: Final = Path("/sys/kernel/rcu_expedited")
_INNER: Final = MapShape(MapType.ARRAY, 4, 4, 1)
_SLOTS: Final = 10_000


def main() -> None:
    if _EXPEDITED.read_text().strip() != "0":
        print(f"{_EXPEDITED} is not 0: these are not the grace periods of a host in service", file=sys.stderr)
    outer_shape = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, _SLOTS)
    with maps.create(_INNER) as inner, maps.create(outer_shape, inner=inner) as outer:
        cells = (os.uname().release, *_row(outer, inner))
    print("| kernel | one write | a batch of 16 | 100 writes by 100 threads | 10,000 slots, as apply chooses |")
    print(f"| {' | '.join(cells)} |")


def _row(outer: MapFd, inner: MapFd) -> Iterator[str]:
    keys = np.arange(_SLOTS, dtype=np.uint32)
    fds = np.full(_SLOTS, inner.number, np.uint32)

    def publish(slots: int, batching: Batching) -> tuple[float, int]:
        """Milliseconds, and how many times it waited."""
        started = time.perf_counter()
        waits = batch.publish(outer, keys[:slots], fds[:slots], batching=batching)
        return (time.perf_counter() - started) * 1000, waits

    for slots, batching in (
        (1, Batching(slots=False, threads=1)),
        (16, Batching(threads=1)),
        (100, Batching(slots=False, threads=100)),
    ):
        yield f"{median(publish(slots, batching)[0] for _ in range(5)):,.1f} ms"
    took, waits = publish(_SLOTS, batch.batching_for(_SLOTS))
    yield f"{took:,.0f} ms, {plural(waits, 'wait')}"


if __name__ == "__main__":
    main()
