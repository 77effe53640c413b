"""Maps and what is in them: created and filled, published wave by wave, written in place, deleted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from provisioner.apply import as_planned, identity, jumps, members, waves
from provisioner.apply.copies import Copy, not_copied
from provisioner.apply.journal import Undo
from provisioner.apply.pins import pin_new, put_in_place
from provisioner.apply.staging import Stager
from provisioner.apply.stash import Stash
from provisioner.apply.transaction import Transaction
from provisioner.kernel import batch, maps
from provisioner.kernel.fd import FdSet, MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.desired import DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.types import Bytes
from provisioner.model.words import plural
from provisioner.planning.changes import EntryAction, EntryChanges, MapChange
from provisioner.planning.room import entries_need_deletes
from provisioner.planning.steps import CarrySlots, CreateMap, DeleteSlots, PinInnerMaps, PublishSlots, WriteEntries

Pause = Callable[[], None]
"""What raises where the apply is to stop; not during a rollback."""


def create(tx: Transaction, step: CreateMap) -> None:
    """Create a standalone map with all that is in it. It is pinned last: a kill before that leaves nothing."""
    change = tx.plan.maps[step.map]
    desired = _desired(change)
    host = tx.plan.desired.host
    inner = tx.inner(step.map)
    later = tx.copies.setdefault(step.map, {})
    with (
        Stager(desired, host, inner, migrated=change.migrated, later=later, pause=tx.progress.pause) as stager,
        _new_map(desired, stager) as fd,
    ):
        if desired.outer is None:
            _carry_entries(tx, change, stager, fd)
            _fill(tx, desired, fd, later.get(0, ()))
        else:
            rows = np.flatnonzero(change.slots.desired >= 0)
            if len(rows):
                tx.make_inner_folder(step.map)
            stash = Stash(inner)
            waves.publish(
                fd,
                change,
                rows,
                host,
                tx.wave,
                inner,
                stash,
                None,
                tx.progress,
                live=False,
                later=later,
                stagers=tx.stagers,
            )
        pin_new(tx, fd, step.map)
    if change.migrated is not None and desired.outer is not None:
        _check_same_maps(tx, change)
    put_in_place(tx, step.map, over=step.over)


def _carry_entries(tx: Transaction, change: MapChange, stager: Stager, fd: MapFd) -> None:
    """Write the converted entries of a live plain map into the new one."""
    if change.migrated is not None and change.migrated.is_carried and change.desired.holds_others(0):
        assert change.observed is not None
        with identity.open_same(tx.path(change.name), MapFd, change.observed.id, change.name) as old:
            stager.copy(change.observed.id, old, fd, 0)
            stager.carry_over([0], FdSet())


def _check_same_maps(tx: Transaction, change: MapChange) -> None:
    assert change.observed is not None
    with identity.open_same(tx.path(change.name), MapFd, change.observed.id, change.name) as old:
        as_planned.check_same_maps(old, change)


def carry(tx: Transaction, step: CarrySlots) -> None:
    """Put live inner maps into a new outer map, which takes the pin of the old one then."""
    change = tx.plan.maps[step.map]
    if not step.create:
        with tx.open(change) as outer:
            waves.carry(outer, change, step.slots, tx.inner(step.map), tx.wave, tx.progress)
        _check_carried(tx, change, step.slots)
        return
    stager = Stager(change.desired, tx.plan.desired.host, tx.inner(step.map))
    with stager, _new_map(change.desired, stager) as outer:
        waves.carry(outer, change, step.slots, tx.inner(step.map), tx.wave, tx.progress)
        pin_new(tx, outer, step.map)
        _check_carried(tx, change, step.slots)
    put_in_place(tx, step.map, over=True)


def _check_carried(tx: Transaction, change: MapChange, rows: Index) -> None:
    """Raise RefusedError if another process changed the slots of the old map meanwhile, or filled others."""
    assert change.observed is not None
    with identity.open_same(tx.path(change.name), MapFd, change.observed.id, change.name) as old:
        if change.migrated is None:
            as_planned.check_unchanged(old, change, rows)
        as_planned.check_same_maps(old, change)


def publish(tx: Transaction, step: PublishSlots) -> None:
    """Put new inner maps into their slots; those that they take the place of go to the stash."""
    change = tx.plan.maps[step.map]

    def undo(rows: Index, ids: NDArray[np.uint32]) -> Undo:
        return Undo(f"{plural(len(rows), 'inner map')} of {change.name}", partial(_unpublish, tx, change, rows, ids))

    def noting(rows: Index, ids: NDArray[np.uint32]) -> AbstractContextManager[None]:
        return tx.journal.noting(undo(rows, ids), lambda written: undo(rows[written], ids[written]))

    tx.make_inner_folder(step.map)
    with tx.open(change) as outer:
        stash = tx.stash(change.name)
        waves.publish(
            outer,
            change,
            step.slots,
            tx.plan.desired.host,
            tx.wave,
            tx.inner(step.map),
            stash,
            # A fresh map is removed by its temporary pin: its name still belongs to the old one.
            None if step.fresh else noting,
            tx.progress,
            live=not step.fresh,
            open_member=tx.open_object_map,
            stagers=tx.stagers,
            later=tx.copies.setdefault(step.map, {}) if step.fresh else None,
        )
    if step.fresh and change.migrated is not None:
        _check_same_maps(tx, change)


def delete(tx: Transaction, step: DeleteSlots) -> None:
    """Empty slots by one batch; what was in them goes to the stash first."""
    change = tx.plan.maps[step.map]
    with tx.open(change) as outer:
        tx.progress.grace_periods += waves.keep(outer, change, step.slots, tx.stash(change.name), tx.wave)
        what = f"{plural(len(step.slots), 'inner map')} deleted from {change.name}"
        keys = np.ascontiguousarray(change.slots.keys[step.slots])
        emptied = np.zeros(len(step.slots), np.uint32)
        undo = Undo(what, partial(_unpublish, tx, change, step.slots, emptied), is_removal=True)
        with tx.journal.noting(undo):
            tx.progress.grace_periods += batch.unpublish(outer, keys, name=change.name)


def pin_inner(tx: Transaction, step: PinInnerMaps) -> None:
    """Pin inner maps that are in their slots already."""
    change = tx.plan.maps[step.map]
    assert change.observed is not None
    tx.make_inner_folder(step.map)
    inner = tx.inner(step.map)
    for number in dict.fromkeys(change.observed.slots.inner_ids[change.slots.observed[step.slots]].tolist()):
        with inner.open(number) as fd:
            tx.journal.note(f"pin of inner map {number}", partial(inner.unpin, number), visible=False)
            inner.pin([fd])


def unpin_inner(tx: Transaction) -> None:
    """Let inner maps lose their pins when all is done: a rollback may have to open them by these."""

    def keep() -> None:
        tx.unpin_inner = False

    tx.journal.note("pins of inner maps", keep, visible=False)
    tx.unpin_inner = True


def write(tx: Transaction, step: WriteEntries) -> None:
    """Write only the entries that differ, slot by slot; into a map that no program uses yet, all of them."""
    change = tx.plan.maps[step.map]
    desired = _desired(change)
    if step.fresh:
        host, inner = tx.plan.desired.host, tx.inner(step.map)
        later = tx.copies.setdefault(step.map, {})
        with (
            tx.open(change) as fd,
            Stager(desired, host, inner, migrated=change.migrated, later=later, pause=tx.progress.pause) as stager,
        ):
            _carry_entries(tx, change, stager, fd)
            _fill(tx, desired, fd, later.get(0, ()))
        return
    if desired.outer is not None:
        with tx.open(change) as outer:
            as_planned.check_unchanged(outer, change, step.slots)
    together = tx.wave if desired.value.owns_part else 1
    for start in range(0, len(step.slots), together):
        _write_slots(tx, change, step.slots[start : start + together].tolist())


def _write_slots(tx: Transaction, change: MapChange, rows: list[int]) -> None:
    each = [change.entries.of_slot(row) for row in rows]
    with FdSet[MapFd]() as opened:
        fds = [opened.add(_open_slot(tx, change, row)) for row in rows]
        with members.InPlaceWriter(change.desired, fds, max(len(edits.keys) for edits in each)) as writer:
            tx.progress.grace_periods += writer.load()
            for number, (row, edits) in enumerate(zip(rows, each, strict=True)):
                _write_slot(tx, change, row, fds[number], edits, writer.into(number))


def _write_slot(
    tx: Transaction, change: MapChange, row: int, fd: MapFd, edits: EntryChanges, put: members.Put | None
) -> None:
    whole = members.with_live_values(fd, change.desired, edits, tx.plan.desired.host.possible_cpus)
    for edit in _edits(tx, fd, change, row, whole, put):
        undo = partial(_write_back, tx, change, row, whole)
        with tx.journal.noting(Undo(f"entries of {change.slot_address(row)}", undo)):
            edit()
    tx.progress.entries += len(edits.keys)
    tx.progress.update(f"wrote {tx.progress.entries:,} entries")


def _fill(tx: Transaction, desired: DesiredMap, fd: MapFd, copies: Sequence[Copy]) -> None:
    """Write all entries of a plain map, which has nothing but `copies`."""
    keys, values = not_copied(desired, 0, copies)
    if len(keys):
        with jumps.written(tx, desired, values) as rows:
            columns = np.ascontiguousarray(keys), np.ascontiguousarray(rows)
            batch.write_batch(fd, *columns, name=desired.name, pause=tx.progress.pause)


def _desired(change: MapChange) -> DesiredMap:
    return change.desired


def _new_map(desired: DesiredMap, stager: Stager) -> MapFd:
    if desired.outer is None:
        return stager.create(desired.shape.max_entries)
    # The template is read at creation only: it is closed before anything else happens.
    with stager.create(desired.entry_shape.max_entries) as template:
        return maps.create(desired.shape, desired.name, inner=template)


def _unpublish(tx: Transaction, change: MapChange, rows: Index, done: NDArray[np.uint32]) -> None:
    """Slots that were new are emptied, and those that were not get their old inner map back.

    `done` (s,) has the inner ids that the slots were given, 0 for none. Another id was written by another process, and
    stays: RefusedError.
    """
    before = as_planned.planned_ids(change, rows)
    outer = tx.reopen(change)
    if outer is None:
        return
    with outer:
        now = as_planned.live_ids(outer, change, rows)
        ours = now == done
        old, new = rows[ours & (before != 0)], rows[ours & (before == 0)]
        tx.stash(change.name).restore(outer, [key.tobytes() for key in change.slots.keys[old]], tx.wave, change.name)
        if len(new):
            batch.unpublish(outer, np.ascontiguousarray(change.slots.keys[new]), name=change.name)
    others = rows[~ours & (now != before)].tolist()
    if others:
        slots = ", ".join(map(change.slot_address, others[:5])) + (", ..." if len(others) > 5 else "")
        what = "another process changed this during the apply; its change is kept"
        raise RefusedError(Problem(what, address=slots, id="changed-meanwhile"))


def _edits(
    tx: Transaction, fd: MapFd, change: MapChange, row: int, edits: EntryChanges, put: members.Put | None
) -> list[Callable[[], None]]:
    """A batch that writes and one that deletes, less one of nothing: that has nothing to take back.

    Deletes come first only if there is no room otherwise.
    """
    address = change.slot_address(row)
    gone = edits.action == EntryAction.DELETE
    keys = np.ascontiguousarray(edits.keys[~gone])
    values = np.ascontiguousarray(_desired(change).entries.values[edits.row[~gone]])
    order: list[Callable[[], None]] = []
    if len(keys):
        order.append(partial(_write_entries, tx, fd, change, keys, values, address, put, tx.progress.pause))
    if gone.any():
        order.append(partial(_delete_entries, fd, change, edits.keys[gone], address, put, tx.progress.pause))
    return order[::-1] if entries_need_deletes(change, row) else order


def _open_slot(tx: Transaction, change: MapChange, row: int) -> MapFd:
    if change.observed is None or _desired(change).outer is None:
        return tx.open(change)
    return tx.inner(change.name).open(int(as_planned.planned_ids(change, np.array([row]))[0]))


def _reopen_slot(tx: Transaction, change: MapChange, row: int) -> MapFd | None:
    """The same map, to take back what was written; None if it is gone."""
    if change.observed is None or _desired(change).outer is None:
        return tx.reopen(change)
    try:
        return _open_slot(tx, change, row)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def _write_entries(
    tx: Transaction,
    fd: MapFd,
    change: MapChange,
    keys: Bytes,
    values: Bytes,
    name: str,
    put: members.Put | None,
    pause: Pause = batch.go_on,
) -> None:
    """Write entries; `put` writes single members, None whole values."""
    if put is not None:
        put(keys, values, name, pause)
        return
    with jumps.written(tx, change.desired, values) as rows:
        batch.write_batch(fd, keys, rows, locked=change.desired.entry_shape.is_locked, name=name, pause=pause)


def _delete_entries(
    fd: MapFd, change: MapChange, keys: Bytes, name: str, put: members.Put | None, pause: Pause = batch.go_on
) -> None:
    """Delete entries; in an array, which always has all of them, what is ours of them becomes zero."""
    desired = _desired(change)
    keys = np.ascontiguousarray(keys)
    if desired.entry_shape.deletes_by_zero:
        zeros = np.zeros((len(keys), desired.value.size), np.uint8)
        if put is not None:
            put(keys, zeros, name, pause)
            return
        batch.write_batch(fd, keys, zeros, locked=desired.entry_shape.is_locked, name=name, pause=pause)
    else:
        batch.delete_batch(fd, keys, name=name, pause=pause)


def _write_back(tx: Transaction, change: MapChange, row: int, edits: EntryChanges) -> None:
    """Entries as they were before: what was inserted goes, what was changed or deleted comes back."""
    inserted = edits.action == EntryAction.INSERT
    keys, before = np.ascontiguousarray(edits.keys[~inserted]), np.ascontiguousarray(edits.before[~inserted])
    fd = _reopen_slot(tx, change, row)
    if fd is None:
        return
    put = members.writer_of(fd, change.desired)
    with fd:
        _delete_entries(fd, change, edits.keys[inserted], change.name, put)
        _write_entries(tx, fd, change, keys, before, change.name, put)
