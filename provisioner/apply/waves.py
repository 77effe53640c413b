"""New inner maps, wave by wave: staged (created and filled), published by one batch, fds closed.

While a wave waits for its RCU grace period, the next one is staged by other threads: ctypes gives up the interpreter's
lock for a system call. No inner map is in a slot before it holds all its entries.
"""

from __future__ import annotations

import _thread
import errno
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.apply import merge
from provisioner.apply.copies import Copies
from provisioner.apply.staging import Stager
from provisioner.apply.stash import Stash
from provisioner.kernel import batch, maps, reading
from provisioner.kernel.fd import FdSet, MapFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.workers import Task, Workers
from provisioner.model.entry_table import Index
from provisioner.model.errors import Problem, RefusedError
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

_EVERY: Final = 0.2
"""Seconds between two reports of a wave that is being staged."""

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


@dataclass(slots=True)
class Progress:
    """The progress so far; `report` is called after each wave, `pause` also within one: it raises to stop the apply.

    `report` is also called while a wave is staged, by one of the threads that do it, but never by two at once: what is
    reported is at `done` of `total`, 0 where that is not known. `window` has the clock before the first write that
    made a slot visible, and after the last. `staged` entries are in new inner maps, of `to_stage`.
    """

    slots: int = 0
    entries: int = 0
    grace_periods: int = 0
    staged: int = 0
    to_stage: int = 0
    to_publish: int = 0
    done: int = 0
    total: int = 0
    window: tuple[float, float] | None = None
    report: Callable[[str, Progress], None] | None = None
    pause: Callable[[], None] = batch.go_on
    _lock: _thread.LockType = field(default_factory=_thread.allocate_lock)
    _updated: float = 0.0

    def visible_since(self, started: float) -> None:
        """Slots have become visible by a write that was begun at `started`, in monotonic seconds."""
        self.window = (started if self.window is None else self.window[0], time.monotonic())

    def stage(self, entries: int) -> None:
        """So many more entries have been written into new inner maps."""
        with self._lock:
            self.staged += entries
            is_due = time.monotonic() - self._updated >= _EVERY
        if is_due:
            self.update(f"entries written: {self.staged:,}", self.staged, self.to_stage)

    def update(self, what: str, done: int = 0, total: int = 0) -> None:
        if self.report is not None:
            with self._lock:
                self._updated, self.done, self.total = time.monotonic(), done, total
                self.report(what, self)


def count_staged(progress: Progress, change: MapChange, rows: Index) -> None:
    """Note that the slots in `rows` (of SlotChanges) are to be staged and published."""
    slots = change.slots.desired[rows]
    progress.to_publish += len(slots)
    shared = change.desired.slots.shared[slots] >= 0
    if shared.any():  # one inner map for many slots
        share = change.desired.slots.shared[slots[shared]]
        slots = np.concatenate((slots[~shared], slots[shared][np.unique(share, return_index=True)[1]]))
    progress.to_stage += int(change.desired.entries.counts[slots].sum())


def waves(change: MapChange, rows: Index, size: int) -> Iterator[Wave]:
    """The slots in `rows` (of SlotChanges) as waves of at most `size` new maps; a shared map is in one wave alone."""
    slots = change.slots.desired[rows]
    share = change.desired.slots.shared[slots].astype(np.int64)
    own = np.where(share >= 0, share, len(change.desired.entries.starts) + slots)
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
    copied = copied_maps(change, rows) if live or change.migrated is not None or change.resized else {}
    todo = list(waves(change, rows, merge.wave_size(change, copied, host, size)))
    with (
        Stager(
            change.desired, host, inner, copied, open_member, change.migrated, later, progress.pause, progress.stage
        ) as stager,
        Workers(stagers) as workers,
    ):
        pending: list[_Part] = []
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
    if change.migrated is not None and not change.migrated.is_carried:
        return {}
    old: dict[int, dict[int, None]] = {}
    staged_for: dict[int, int] = {}
    for slot, number in zip(change.slots.desired[rows].tolist(), change.slots.observed[rows].tolist(), strict=True):
        share = int(desired.slots.shared[slot])
        staged = slot if share < 0 else staged_for.setdefault(share, slot)
        if number >= 0 and desired.holds_others(slot):
            old.setdefault(staged, {})[int(observed.slots.inner_ids[number])] = None
    return {slot: tuple(ids) for slot, ids in old.items()}


class _Part:
    """Inner maps that one thread stages. Their fds have an owner before the thread begins, whatever becomes of it."""

    __slots__ = ("fds", "task")

    def __init__(self, stager: Stager, slots: list[int]) -> None:
        self.fds: FdSet[MapFd] = FdSet()
        self.task = Task(partial(stager.stage, slots, self.fds))


def _submit(workers: Workers, stager: Stager, wave: Wave, parts: list[_Part]) -> None:
    """Have a wave staged. Each part is in `parts`, which the caller discards, before a thread can begin it."""
    slots = wave.maps.tolist()
    share = -(-len(slots) // max(1, workers.count))
    for start in range(0, len(slots), share):
        part = _Part(stager, slots[start : start + share])
        parts.append(part)
        workers.submit(part.task)


def _collect(parts: list[_Part], staged: FdSet[MapFd]) -> None:
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


def _discard(parts: list[_Part]) -> None:
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


def check_same_maps(outer: MapFd, change: MapChange) -> None:
    """Raise RefusedError where an outer map of another shape holds other inner maps than when it was planned."""
    assert change.observed is not None
    _, ids = reading.read_slots(outer, maps.info(outer).shape)
    planned = set(change.observed.slots.inner_ids.tolist())
    if planned != set(ids.tolist()):
        strange = sorted(planned.symmetric_difference(ids.tolist()))
        what = f"slots changed since they were planned: inner maps {', '.join(map(str, strange[:5]))}"
        hint = "plan again, and check which process writes this map"
        raise RefusedError(Problem(what, hint=hint, address=change.name, id="changed-since-plan"))


def check_unchanged(outer: MapFd, change: MapChange, rows: Index) -> None:
    """Raise RefusedError where a slot holds something else than when it was planned: the inner id is its version."""
    if change.observed is None:
        return
    planned, live = planned_ids(change, rows), live_ids(outer, change, rows)
    changed = np.flatnonzero(planned != live)
    if len(changed):
        at = int(changed[0])
        what = (
            f"slot changed since it was planned: expected inner map {planned[at] or 'none'}, found {live[at] or 'none'}"
        )
        hint = "plan again, and check which process writes this map"
        address = change.slot_address(int(rows[at]))
        raise RefusedError(Problem(what, hint=hint, address=address, id="changed-since-plan"))


def planned_ids(change: MapChange, rows: Index) -> NDArray[np.uint32]:
    """The inner ids (s,) that slots held when they were planned, 0 for none."""
    if change.observed is None:
        return np.zeros(len(rows), np.uint32)
    observed = change.slots.observed[rows]
    ids = np.zeros(len(rows), np.uint32)
    ids[observed >= 0] = change.observed.slots.inner_ids[observed[observed >= 0]]
    return ids


def live_ids(outer: MapFd, change: MapChange, rows: Index) -> NDArray[np.uint32]:
    """The inner ids (s,) that slots hold now, 0 for none."""
    empty = bytes(4)
    held = b"".join(maps.lookup(outer, key.tobytes(), 4) or empty for key in change.slots.keys[rows])
    return np.frombuffer(held, np.uint32)
