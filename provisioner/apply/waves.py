"""New inner maps, wave by wave: staged (created and filled), published by one batch, fds closed.

While a wave waits for its RCU grace period, the next one is staged by other threads: ctypes gives up the interpreter's
lock for a system call. No inner map is in a slot before it holds all its entries.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.apply import merge
from provisioner.apply.as_planned import check_unchanged, planned_ids
from provisioner.apply.copies import Copies
from provisioner.apply.progress import Progress
from provisioner.apply.staging import Stager
from provisioner.apply.stash import Stash
from provisioner.kernel import batch, maps
from provisioner.kernel.fd import FdSet, MapFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.workers import Task, Workers
from provisioner.model.entry_table import Index
from provisioner.model.errors import RefusedError
from provisioner.model.host import Host
from provisioner.model.spec import OnReplace
from provisioner.model.words import plural
from provisioner.planning.changes import MapChange

STAGERS: Final = 2
"""Threads that stage inner maps: creating and filling is the kernel's work, and spreads over cores."""

MAX_WAVE: Final = 4096
"""Inner maps of one wave, however many fds there are: enough that grace periods are few."""

_WAVES_IN_FLIGHT: Final = 3
"""Waves that hold fds at once: one being published, one being staged, and one that is kept for rollback."""

_OTHER_FDS: Final = 64
"""Fds left for all else: standard streams, the lock, outer maps, what the interpreter opens."""


Noting = Callable[[Index, NDArray[np.uint32]], AbstractContextManager[None]]
"""Notes the slots that become visible inside: their rows of SlotChanges, and the id of each inner map, both (s,)."""


def wave_size(nofile: int) -> int:
    """Inner maps of one wave under a limit of open files, so that three waves fit."""
    return max(1, min(MAX_WAVE, (nofile - _OTHER_FDS) // _WAVES_IN_FLIGHT))


class Wave(msgspec.Struct, frozen=True):
    """New inner maps and the slots they go to: `maps` are desired slots, one for each new map; `rows` and `number`,
    both (s,), the rows of SlotChanges and the map that each gets.
    """

    maps: Index
    rows: Index
    number: Index


def waves(change: MapChange, rows: Index, size: int) -> Iterator[Wave]:
    """The slots in `rows` (of SlotChanges) as waves of at most `size` new maps; a shared map is in one wave alone."""
    slots = change.slots.desired[rows]
    share = change.desired.slots.shared[slots].astype(np.int64)
    own = np.where(share >= 0, share, -1 - slots)
    _, first, number = np.unique(own, return_index=True, return_inverse=True)
    # In the order of slots, so that what is published first is what people read first.
    order = np.argsort(first, kind="stable")
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    number = position[number.ravel()]
    leaders = slots[first[order]]
    by_number = np.argsort(number, kind="stable")
    for start in range(0, len(leaders), size):
        end = min(start + size, len(leaders))
        low, high = np.searchsorted(number[by_number], [start, end])
        part = by_number[low:high]
        yield Wave(leaders[start:end], rows[part], number[part] - start)


def publish(
    outer: MapFd,
    change: MapChange,
    rows: Index,
    host: Host,
    size: int,
    inner: InnerPins,
    stash: Stash,
    noting: Noting | None,
    progress: Progress,
    *,
    live: bool,
    open_member: Callable[[str], MapFd] | None = None,
    later: Copies | None = None,
    stagers: int = STAGERS,
) -> None:
    """Stage and publish the slots in `rows`. `noting` is entered before a wave becomes visible; None for a new map.

    `live` says that this is the map that was observed, and not a new one: then what its slots held goes to the stash.
    `later` takes the copies of a map that programs do not use yet. Raises RefusedError where a slot holds another inner
    map than the one that was planned against.
    """
    copied = copied_maps(change, rows) if live or change.keeps_contents else {}
    todo = list(waves(change, rows, merge.wave_size(change, copied, host, size)))
    outer.make_room(min(len(rows), _WAVES_IN_FLIGHT * size))
    with (
        Stager(
            change.desired, host, inner, copied, open_member, change.migrated, later, progress.pause, progress.stage
        ) as stager,
        Workers(stagers) as workers,
    ):
        pending: list[_StagedPart] = []
        try:
            if todo:
                _submit(workers, stager, todo[0], pending)
            # What has to be measured is measured while the first wave is staged.
            batch.batching_for(min(len(rows), size))
            for number, wave in enumerate(todo):
                with FdSet[MapFd]() as staged:
                    _collect(pending, staged)
                    if number + 1 < len(todo):
                        _submit(workers, stager, todo[number + 1], pending)
                    if live:
                        progress.grace_periods += keep(outer, change, wave.rows, stash, size)
                    _publish_as_it_can(outer, change, wave, stager, staged, noting, progress)
        finally:
            _discard(pending)


def copied_maps(change: MapChange, rows: Index) -> dict[int, tuple[int, ...]]:
    """The replaced inner maps whose entries of others the new ones take over, by the desired slot that is staged.

    A shared inner map is staged for the first of its slots; it takes over the entries of the maps in all of them.
    """
    desired, observed = change.desired, change.observed
    if observed is None or desired.on_replace is not OnReplace.COPY:
        return {}
    if change.migrated is not None and not change.keeps_contents:
        return {}
    old: dict[int, dict[int, None]] = {}
    staged_for: dict[int, int] = {}
    for slot, number in zip(change.slots.desired[rows].tolist(), change.slots.observed[rows].tolist(), strict=True):
        share = int(desired.slots.shared[slot])
        staged = slot if share < 0 else staged_for.setdefault(share, slot)
        if number >= 0 and desired.holds_others(slot):
            old.setdefault(staged, {})[int(observed.slots.inner_ids[number])] = None
    return {slot: tuple(ids) for slot, ids in old.items()}


class _StagedPart:
    """Inner maps that one thread stages. Their fds have an owner before the thread begins, whatever becomes of it."""

    __slots__ = ("fds", "task")

    def __init__(self, stager: Stager, slots: list[int]) -> None:
        self.fds: FdSet[MapFd] = FdSet()
        self.task = Task(partial(stager.stage, slots, self.fds))


def _submit(workers: Workers, stager: Stager, wave: Wave, parts: list[_StagedPart]) -> None:
    """Have a wave staged. Each part is in `parts`, which the caller discards, before a thread can begin it."""
    slots = wave.maps.tolist()
    share = -(-len(slots) // max(1, workers.count))
    for start in range(0, len(slots), share):
        part = _StagedPart(stager, slots[start : start + share])
        parts.append(part)
        workers.submit(part.task)


def _collect(parts: list[_StagedPart], staged: FdSet[MapFd]) -> None:
    """Move all parts of a wave into one set, in order, once each has ended. Raises the first failure of one."""
    failure: BaseException | None = None
    for part in parts:
        try:
            part.task.result()
        except BaseException as error:
            failure = failure or error
        staged.take(part.fds)
    parts.clear()
    if failure is not None:
        raise failure


def _discard(parts: list[_StagedPart]) -> None:
    """Close what was staged and not published; do not start the rest."""
    for part in parts:
        part.task.cancel()
        with suppress(OSError):  # another failure is being raised, and each part must be closed
            part.fds.close()


def _publish_as_it_can(
    outer: MapFd,
    change: MapChange,
    wave: Wave,
    stager: Stager,
    staged: FdSet[MapFd],
    noting: Noting | None,
    progress: Progress,
) -> None:
    """Publish a wave; where the template refuses its first map, once more with maps that carry no BTF."""
    try:
        _publish_wave(outer, change, wave, stager, staged, noting, progress)
    except batch.BatchError as error:
        if error.errno != errno.EINVAL or error.done:
            raise
        if not stager.forget_btf():
            raise _explained(error, change, outer, staged) from None
        with FdSet[MapFd]() as plain:
            stager.stage(wave.maps.tolist(), plain)
            try:
                _publish_wave(outer, change, wave, stager, plain, noting, progress)
            except batch.BatchError as again:
                raise _explained(again, change, outer, staged) from None


def _explained(
    error: batch.BatchError, change: MapChange, outer: MapFd, staged: FdSet[MapFd]
) -> KernelError | RefusedError:
    """An incompatible inner map is refused as by the probe, with the fields that differ if the kernel shows them."""
    if error.errno != errno.EINVAL:
        return error
    from provisioner.apply.template_probe import why_refused  # only after a failure

    (problem,) = error.because(why_refused(outer, next(iter(staged)))).problems
    if change.desired.adopted is None:
        problem = replace(problem, hint=f"{problem.hint}; `--replace {change.name}` recreates the outer map")
    return RefusedError(replace(problem, where=change.desired.where))


def _publish_wave(
    outer: MapFd,
    change: MapChange,
    wave: Wave,
    stager: Stager,
    staged: FdSet[MapFd],
    noting: Noting | None,
    progress: Progress,
) -> None:
    keys = np.ascontiguousarray(change.slots.keys[wave.rows])
    ids = np.array(maps.ids_of(staged) if noting else [0] * len(staged), np.uint32)[wave.number]
    fds = np.ascontiguousarray(np.array(staged.numbers(), np.uint32)[wave.number])
    started = time.monotonic()
    with noting(wave.rows, ids) if noting else nullcontext():
        try:
            progress.grace_periods += batch.publish(outer, keys, fds, name=change.name)
        except batch.BatchError as error:
            if error.done:
                progress.visible_since(started)
            raise
    progress.visible_since(started)
    progress.grace_periods += stager.carry_over(wave.maps.tolist(), staged)
    progress.slots += len(wave.rows)
    progress.entries += int(change.desired.entries.counts[wave.maps].sum())
    progress.update(f"published {plural(progress.slots, 'inner map')}", progress.slots, progress.to_publish)


def keep(outer: MapFd, change: MapChange, rows: Index, stash: Stash, size: int) -> int:
    """Put the inner maps that live in `rows` into the stash; gives the grace periods waited for.

    Raises RefusedError if a slot holds another map than when it was planned. This check is the last one: the kernel
    has no call that compares a slot and writes it, so the write must follow at once.
    """
    if change.observed is None:
        return 0
    live = rows[change.slots.observed[rows] >= 0]
    waited = 0
    if len(live):
        keys = [key.tobytes() for key in change.slots.keys[live]]
        capacity = int((change.slots.observed >= 0).sum())
        try:
            waited = stash.keep(keys, planned_ids(change, live).tolist(), capacity, size)
        except KernelError as error:
            if error.errno == errno.ENOENT:  # it is gone, for its slot holds another one
                check_unchanged(outer, change, live)
            raise
    check_unchanged(outer, change, rows)
    return waited


def carry(outer: MapFd, change: MapChange, rows: Index, inner: InnerPins, size: int, progress: Progress) -> None:
    """Put the live inner maps of these rows into another outer map, in batches of `size`: the very same maps."""
    ids = planned_ids(change, rows)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        with FdSet[MapFd]() as opened:
            for number in ids[part].tolist():
                opened.add(inner.open(number))
            keys = np.ascontiguousarray(change.slots.keys[rows[part]])
            fds = np.array([fd.number for fd in opened], np.uint32)
            progress.grace_periods += batch.publish(outer, keys, fds, name=change.name)
        progress.update(
            f"carried {min(start + size, len(rows)):,} of {plural(len(rows), 'inner map')} of {change.name}"
        )
