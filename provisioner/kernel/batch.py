"""Writing many entries or slots: one system call where the kernel has it, else the same thing one by one.

What a kernel lacks shows by errno 524, never by its version. A write to an outer map waits for an RCU grace period, a
batch of them for one (commit 37ba5b59d6ad) or, before that, for one each; without a batch, or with a slow one,
threads share the waits.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.kernel import binding, libbpf, maps, structures
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import KernelError, Subject
from provisioner.kernel.rows import Column, Rows
from provisioner.kernel.workers import Task, Workers, run_together
from provisioner.model.grace_periods import MANY_SLOTS, THREADS
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import ENOTSUPP, MapType, UpdateFlag


class Batching(msgspec.Struct, frozen=True):
    """Which batches to use where the kernel has them: on `entries` of maps, on `slots` of outer maps.

    `threads` is how many single writes to an outer map wait together where there is no batch; measured on 6.18, a
    write takes 0.3 ms with 64 of them and 0.06 ms with 256.
    """

    entries: bool = True
    slots: bool = True
    threads: int = THREADS


BATCHING: Final = Batching()

_MOST: Final = 1 << 14
"""Entries of one call, about 10 ms: between two calls, a signal is answered."""

_NOW_AND_THEN: Final = 1 << 10
"""Entries written one by one after which a signal is answered."""


def go_on() -> None:
    """What happens between two calls, where nothing else should."""


def not_counted(_: int) -> None:
    """What happens after entries were written, where nobody counts them."""


_NO_BATCH: Final = frozenset({ENOTSUPP})
_NO_LOCKED_BATCH: Final = frozenset({ENOTSUPP, errno.EINVAL})
"""What to write one by one after: a batch that takes no flags for its elements says EINVAL."""


class BatchError(KernelError):
    """A write of many stopped at element `failed`; `written[i]` says whether element `i` was done before that."""

    def __init__(self, cause: KernelError, written: NDArray[np.bool_], failed: int) -> None:
        super().__init__(cause.operation, cause.errno, subject=cause.subject, name=cause.name, log=cause.log)
        self.written = written
        self.failed = failed

    @property
    def done(self) -> int:
        """How many elements were written."""
        return int(np.count_nonzero(self.written))

    def about(self, name: str = "", subject: Subject = "") -> BatchError:
        """The same failure, said of `name`."""
        return BatchError(super().about(name, subject), self.written, self.failed)


def write_batch(
    fd: MapFd,
    keys: Column,
    values: Column,
    *,
    locked: bool = False,
    batching: Batching = BATCHING,
    name: str = "",
    pause: Callable[[], None] = go_on,
) -> None:
    """Write entries in place: rows of `keys` (n, key_size) and `values` (n, value_size as the system call moves it).

    `pause` is called between two calls of the kernel, and may raise. `locked` writes each value under its own spin
    lock; a map without one refuses that. The kernel reads as many bytes as the map's shape says: rows of another size
    are the caller's bug. Raises `BatchError`.
    """
    key_rows, value_rows = _pair(keys, values)
    options = locked_elements() if locked else None
    flags = UpdateFlag.LOCK if locked else UpdateFlag.ANY

    def whole(start: int, count: structures.Counter) -> None:
        libbpf.map_update_batch(fd.number, key_rows.at(start), value_rows.at(start), count, options)

    def single(index: int) -> None:
        libbpf.map_update_elem(fd.number, key_rows.at(index), value_rows.at(index), flags)

    missing = _NO_LOCKED_BATCH if locked else _NO_BATCH
    chosen = whole if batching.entries else None
    _write(key_rows.count, chosen, single, 1, missing=missing, name=name, most=_MOST, pause=pause)


def locked_elements() -> structures.BatchOptions:
    """Options of a batch that copies each value under its own spin lock."""
    return structures.BatchOptions(elem_flags=UpdateFlag.LOCK)


def delete_batch(
    fd: MapFd, keys: Column, *, batching: Batching = BATCHING, name: str = "", pause: Callable[[], None] = go_on
) -> None:
    """Delete entries; one that does not exist is not an error. `pause` as for `write_batch`. Raises `BatchError`."""
    rows = Rows.of(keys)
    whole, single = _deletes(fd, rows)
    chosen = whole if batching.entries else None
    _write(rows.count, chosen, single, 1, forgiven=errno.ENOENT, name=name, most=_MOST, pause=pause)


def publish(outer: MapFd, keys: Column, fds: Column, *, batching: Batching | None = None, name: str = "") -> int:
    """Put inner maps in slots of an outer map: rows of `keys` (n, key_size) and `fds` (n, u32).

    Without `batching` it does as `batching_for` says. Gives the number of grace periods that it waited for. Raises
    `BatchError`, where `written` has the slots that are live.
    """
    key_rows, fd_rows = _pair(keys, fds)
    if fd_rows.count and fd_rows.size != 4:
        raise ValueError("fds are 32 bits wide")
    batching = batching or batching_for(key_rows.count)

    def whole(start: int, count: structures.Counter) -> None:
        libbpf.map_update_batch(outer.number, key_rows.at(start), fd_rows.at(start), count, None)

    def single(index: int) -> None:
        libbpf.map_update_elem(outer.number, key_rows.at(index), fd_rows.at(index), 0)

    return _write(
        key_rows.count, whole if batching.slots else None, single, batching.threads, subject="inner", name=name
    )


def unpublish(outer: MapFd, keys: Column, *, batching: Batching | None = None, name: str = "") -> int:
    """Empty slots of an outer map; one that is empty already is not an error.

    Without `batching` it does as `batching_for` says. Gives the number of grace periods that it waited for. Raises
    `BatchError`.
    """
    rows = Rows.of(keys)
    whole, single = _deletes(outer, rows)
    batching = batching or batching_for(rows.count)
    chosen = whole if batching.slots else None
    return _write(rows.count, chosen, single, batching.threads, forgiven=errno.ENOENT, name=name)


def wait_for_programs() -> None:
    """Wait for an RCU grace period: programs that ran before do not run any more, except sleepable ones.

    The kernel waits for one after each write to an outer map (1ae80cf31938): a scratch map is written.
    """
    with (
        maps.create(MapShape(MapType.ARRAY, 4, 4, 1), "wait") as inner,
        maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 1), "wait", inner=inner) as outer,
    ):
        maps.insert_inner(outer, bytes(4), inner)


def batching_for(slots: int) -> Batching:
    """How to write so many slots on this kernel: by threads, where a batch of them would wait for each.

    Measured when it first matters, once in a process.
    """
    return BATCHING if slots < MANY_SLOTS or slots_batch_waits_once() else Batching(slots=False)


def slots_batch_waits_once() -> bool:
    """Whether a batch of slots pays one grace period here, or one per slot, as Linux 6.1 does.

    True where the kernel has no batch at all: threads are then what is left anyway.
    """
    with _measuring:  # threads that stage ask at the same time
        return _measured()


_measuring: Final = threading.Lock()


@cache
def _measured(slots: int = 16) -> bool:
    """Tried on two scratch outer maps at once, in one grace period where batches are cheap.

    One is dear if it takes longer than half of as many single writes.
    """
    inner_shape, shape = MapShape(MapType.ARRAY, 4, 4, 1), MapShape(MapType.ARRAY_OF_MAPS, 4, 4, slots)
    keys = np.arange(slots, dtype=np.uint32)
    with (
        maps.create(inner_shape, "probe") as inner,
        maps.create(shape, "probe", inner=inner) as first,
        maps.create(shape, "probe", inner=inner) as second,
    ):
        fds = np.full(slots, inner.number, dtype=np.uint32)

        def single() -> float:
            return _seconds(lambda: publish(second, keys[:1], fds[:1], batching=_SINGLE))

        together = Task(lambda: _seconds(lambda: publish(first, keys, fds, batching=BATCHING)))
        with Workers(1) as workers:
            workers.submit(together)
            try:
                alone = single()
                taken = together.result()
            finally:
                together.cancel()
        # One write alone can be slow because the machine is busy: then it says little.
        return taken < 2 * alone or taken < min(alone, single()) * slots / 2


_SINGLE: Final = Batching(slots=False)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


Whole = Callable[[int, structures.Counter], None]
"""Does elements from an index on, as many as the counter says, and sets the counter to how many it did."""


def _pair(keys: Column, values: Column) -> tuple[Rows, Rows]:
    key_rows, value_rows = Rows.of(keys), Rows.of(values)
    if key_rows.count != value_rows.count:
        raise ValueError(f"{key_rows.count} keys, but {value_rows.count} values")
    return key_rows, value_rows


def _deletes(fd: MapFd, rows: Rows) -> tuple[Whole, Callable[[int], None]]:
    def whole(start: int, count: structures.Counter) -> None:
        libbpf.map_delete_batch(fd.number, rows.at(start), count, None)

    def single(index: int) -> None:
        libbpf.map_delete_elem(fd.number, rows.at(index))

    return whole, single


def _write(
    total: int,
    whole: Whole | None,
    single: Callable[[int], None],
    threads: int,
    *,
    forgiven: int = 0,
    missing: frozenset[int] = _NO_BATCH,
    subject: Subject = "",
    name: str = "",
    most: int = 0,
    pause: Callable[[], None] = go_on,
) -> int:
    """Do all elements by `whole`, or where that is missing by `single`; gives the number of waits.

    One call does at most `most` elements, 0 for all of them.
    """
    if total == 0:
        return 0
    try:
        if whole:
            waits = _by_batch(total, whole, forgiven, missing, most or total, pause)
            if waits:
                return waits
        return _one_by_one(total, single, forgiven, min(threads, total), pause)
    except BatchError as error:
        raise error.about(name, subject) from None


def _by_batch(
    total: int, whole: Whole, forgiven: int, missing: frozenset[int], most: int, pause: Callable[[], None]
) -> int:
    """The number of calls it took, or 0 where the kernel has no such batch."""
    start = calls = repeats = 0
    while start < total:
        if start:
            pause()
        asked = min(most, total - start)
        count = structures.Counter(asked)
        calls += 1
        try:
            whole(start, count)
        except KernelError as error:
            # Refused before its loop, the kernel leaves the count as it was; in the loop, it stops at the bad element.
            done = 0 if count.value == asked else count.value
            if error.errno in missing and start + done == 0:
                return 0
            start += done
            if error.errno in binding.ASKS_AGAIN and repeats < binding.REPEATS:
                repeats += 1
                continue
            if error.errno != forgiven:
                raise BatchError(error, np.arange(total) < start, start) from None
            start += 1
        else:
            start += asked
    return calls


def _one_by_one(
    total: int, single: Callable[[int], None], forgiven: int, threads: int, pause: Callable[[], None]
) -> int:
    """Each element by its own call, from several threads; none begins another one after a failure."""
    written = np.zeros(total, dtype=np.bool_)
    failures: list[tuple[int, BaseException]] = []
    indexes = iter(range(total))  # shared: `next` of a range is atomic

    def work() -> None:
        for index in indexes:
            try:
                if index % _NOW_AND_THEN == _NOW_AND_THEN - 1:
                    pause()
                single(index)
            except BaseException as error:
                if not isinstance(error, KernelError) or error.errno != forgiven:
                    failures.append((index, error))
                    return
            written[index] = True
            if failures:
                return

    run_together(work, threads)
    if failures:
        index, error = min(failures, key=lambda failure: failure[0])
        others = (error for _, error in failures if not isinstance(error, KernelError))
        raise next(others, BatchError(error, written, index) if isinstance(error, KernelError) else error)
    return -(-total // threads)
