"""New inner maps, wave by wave: staged (created and filled), published by one batch, fds closed.

While a wave waits for its RCU grace period, the next one is staged by other threads: ctypes gives up the interpreter's
lock for a system call. No inner map is in a slot before it holds all its entries.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from provisioner.changes import MapChange
from provisioner.columns import Index
from provisioner.errors import Problem, RefusedError
from provisioner.kernel import batch, maps, reading
from provisioner.kernel.fd import FdSet, InnerId, MapFd
from provisioner.kernel.rows import Rows
from provisioner.shape import MapShape
from provisioner.spec import OnReplace
from provisioner.state import DesiredMap
from provisioner.uapi import MapType

STAGERS: Final = 2
"""Threads that stage inner maps: creating and filling is the kernel's work, and spreads over cores."""

MAX_WAVE: Final = 4096
"""Inner maps of one wave, however many fds there are: enough that grace periods are few."""

_WAVES_IN_FLIGHT: Final = 3
"""Waves that hold fds at once: one being published, one being staged, and one that is kept for rollback."""

_OTHER_FDS: Final = 64
"""Fds left for all else: standard streams, the lock, outer maps, what the interpreter opens."""


def wave_size(nofile: int) -> int:
    """Inner maps of one wave under a limit of open files, so that three waves fit."""
    return max(1, min(MAX_WAVE, (nofile - _OTHER_FDS) // _WAVES_IN_FLIGHT))


@dataclass(frozen=True, slots=True)
class Wave:
    """New inner maps and the slots they go to: `maps` are desired slots that stand for one each; `rows` and `number`,
    both (s,), the rows of SlotChanges and the map that each gets.
    """

    maps: Index
    rows: Index
    number: Index


@dataclass(slots=True)
class Progress:
    """What has been done so far; `report` is told after each wave."""

    slots: int = 0
    entries: int = 0
    grace_periods: int = 0
    report: Callable[[str, Progress], None] | None = None

    def tell(self, what: str) -> None:
        if self.report is not None:
            self.report(what, self)


def waves(change: MapChange, rows: Index, size: int) -> Iterator[Wave]:
    """The slots in `rows` (of SlotChanges) as waves of at most `size` new maps; a shared map is in one wave alone."""
    assert change.desired is not None
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


class Keeper:
    """A scratch outer map that no program sees: it holds inner maps that were replaced, until apply is verified.

    It is not pinned, so that it goes when the process does: after a kill, the next apply goes forward.
    """

    def __init__(self) -> None:
        self._map: MapFd | None = None
        self._held: list[bytes] = []

    def keep(self, keys: list[bytes], inner_ids: list[int], capacity: int, wave: int) -> int:
        """Take the inner maps that live in slots `keys`; gives the grace periods waited for."""
        waited = 0
        for start in range(0, len(keys), wave):
            with FdSet[MapFd]() as fds:
                for inner_id in inner_ids[start : start + wave]:
                    fds.add(maps.open_id(InnerId(inner_id)))
                numbers = fds.numbers()
                if self._map is None:
                    shape = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, capacity)
                    self._map = maps.create(shape, "keeper", inner=next(iter(fds)))
                index = np.arange(len(self._held), len(self._held) + len(numbers), dtype=np.uint32)
                waited += batch.publish(self._map, index, np.array(numbers, np.uint32), name="keeper")
                self._held += keys[start : start + wave]
        return waited

    def restore(self, outer: MapFd, wave: int, name: str) -> None:
        """Put every inner map back into the slot it came from."""
        if self._map is None:
            return
        index, ids = reading.read_slots(self._map, maps.info(self._map).shape)
        keys = [self._held[at] for at in index.view(np.uint32).ravel().tolist()]
        for start in range(0, len(keys), wave):
            with FdSet[MapFd]() as fds:
                for inner_id in ids[start : start + wave].tolist():
                    fds.add(maps.open_id(InnerId(inner_id)))
                part = b"".join(keys[start : start + wave])
                rows = np.frombuffer(part, np.uint8).reshape(len(fds), -1)
                batch.publish(outer, rows, np.array(fds.numbers(), np.uint32), name=name)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None


class Stager:
    """Creates and fills inner maps of one outer map.

    `copied` gives, by desired slot, the id of the live inner map whose entries a new one takes over where it does not
    list them itself.
    """

    def __init__(self, desired: DesiredMap, copied: Mapping[int, int] = MappingProxyType({}), cpus: int = 1) -> None:
        self._desired = desired
        self._copied = copied
        self._cpus = cpus
        self._name = desired.outer.template_name if desired.outer is not None else desired.name
        # The addresses are taken once: asking NumPy for one costs as much as a system call.
        self._keys = Rows.of(desired.entries.keys)
        self._values = Rows.of(desired.entries.values)
        self._starts = desired.entries.starts.tolist()
        self._counts = desired.entries.counts.tolist()
        self._capacity = desired.slots.max_entries.tolist()

    def stage(self, slots: list[int]) -> FdSet[MapFd]:
        """One new, filled inner map for each desired slot in `slots`, in that order."""
        staged: FdSet[MapFd] = FdSet()
        shape = self._desired.entry_shape
        try:
            for slot in slots:
                capacity = self._capacity[slot]
                own = shape if capacity == shape.max_entries else shape.with_capacity(capacity)
                new = staged.add(maps.create(own, self._name))
                if slot in self._copied:
                    self._copy(self._copied[slot], new)
                self.fill(new, slot)
        except BaseException:
            staged.close()
            raise
        return staged

    def _copy(self, old_id: int, new: MapFd) -> None:
        """Write everything that a live inner map holds into a new one."""
        with maps.open_id(InnerId(old_id)) as old:
            keys, values = reading.read_entries(old, maps.info(old).shape, self._cpus)
        batch.write_batch(new, keys, values, name=self._desired.name)

    def fill(self, fd: MapFd, slot: int) -> None:
        """Write all entries of a desired slot into an empty map."""
        start = self._starts[slot]
        end = start + self._counts[slot]
        if end > start:
            batch.write_batch(fd, self._keys.cut(start, end), self._values.cut(start, end), name=self._desired.name)


def publish(
    outer: MapFd,
    change: MapChange,
    rows: Index,
    size: int,
    keeper: Keeper,
    published: Callable[[Index], None],
    progress: Progress,
    *,
    live: bool = True,
    cpus: int = 1,
) -> None:
    """Stage and publish the slots in `rows`; `published` hears of the rows that became visible.

    `live` says that this is the map that was observed, and not a new one: then what its slots held goes to the keeper.
    Raises RefusedError where a slot holds another inner map than the one that was planned against.
    """
    assert change.desired is not None
    stager = Stager(change.desired, _copied(change, rows) if live else {}, cpus)
    todo = list(waves(change, rows, size))
    with ThreadPoolExecutor(STAGERS, thread_name_prefix="stage") as pool:
        pending = _submit(pool, stager, todo[0]) if todo else []
        try:
            for number, wave in enumerate(todo):
                with FdSet[MapFd]() as staged:
                    current, pending = pending, []
                    _collect(current, staged)
                    if number + 1 < len(todo):
                        pending = _submit(pool, stager, todo[number + 1])
                    if live:
                        check_unchanged(outer, change, wave.rows)
                        progress.grace_periods += keep(change, wave.rows, keeper, size)
                    _publish_wave(outer, change, wave, staged, published, progress)
        finally:
            for future in pending:
                if not future.cancel() and future.exception() is None:
                    future.result().close()


def _copied(change: MapChange, rows: Index) -> dict[int, int]:
    """Which replaced inner maps hold entries that are not ours and that the new ones take over, by desired slot."""
    desired, observed = change.desired, change.observed
    if desired is None or observed is None or desired.on_replace is not OnReplace.COPY:
        return {}
    both = rows[change.slots.observed[rows] >= 0]
    return {
        slot: int(observed.slots.inner_ids[number])
        for slot, number in zip(change.slots.desired[both].tolist(), change.slots.observed[both].tolist(), strict=True)
        if desired.holds_others(slot)
    }


def _submit(pool: ThreadPoolExecutor, stager: Stager, wave: Wave) -> list[Future[FdSet[MapFd]]]:
    slots = wave.maps.tolist()
    share = -(-len(slots) // STAGERS)
    return [pool.submit(stager.stage, slots[start : start + share]) for start in range(0, len(slots), share)]


def _collect(futures: list[Future[FdSet[MapFd]]], staged: FdSet[MapFd]) -> None:
    """All parts of a wave into one set, in order; if one failed, the others are still owned by it."""
    failure: BaseException | None = None
    for future in futures:
        try:
            staged.take(future.result())
        except BaseException as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _publish_wave(
    outer: MapFd,
    change: MapChange,
    wave: Wave,
    staged: FdSet[MapFd],
    published: Callable[[Index], None],
    progress: Progress,
) -> None:
    keys = np.ascontiguousarray(change.slots.keys[wave.rows])
    fds = np.array(staged.numbers(), np.uint32)[wave.number]
    try:
        progress.grace_periods += batch.publish(outer, keys, np.ascontiguousarray(fds), name=change.name)
    except batch.BatchError as error:
        if error.done:
            published(wave.rows[error.written])
        raise
    published(wave.rows)
    progress.slots += len(wave.rows)
    progress.entries += int(change.desired.entries.counts[wave.maps].sum()) if change.desired is not None else 0
    progress.tell(f"published {progress.slots:,} inner maps")


def keep(change: MapChange, rows: Index, keeper: Keeper, size: int) -> int:
    """Put the inner maps that live in `rows` into the keeper; gives the grace periods waited for."""
    if change.observed is None:
        return 0
    live = rows[change.slots.observed[rows] >= 0]
    if not len(live):
        return 0
    keys = [key.tobytes() for key in change.slots.keys[live]]
    ids = change.observed.slots.inner_ids[change.slots.observed[live]].tolist()
    capacity = int((change.slots.observed >= 0).sum())
    return keeper.keep(keys, ids, capacity, size)


def check_unchanged(outer: MapFd, change: MapChange, rows: Index) -> None:
    """Raise RefusedError where a slot holds something else than when it was planned: the inner id is its version."""
    if change.observed is None:
        return
    observed = change.slots.observed[rows].tolist()
    ids = change.observed.slots.inner_ids.tolist()
    for row, number in zip(rows.tolist(), observed, strict=True):
        live = maps.lookup(outer, change.slots.keys[row].tobytes(), 4)
        now = int.from_bytes(live, sys.byteorder) if live is not None else 0
        before = ids[number] if number >= 0 else 0
        if now != before:
            raise RefusedError(
                Problem(
                    f"somebody else changed this slot: it held inner map {before or 'none'}, now {now or 'none'}",
                    hint="plan again, and find out who writes this map",
                    address=change.slot_address(row),
                )
            )
