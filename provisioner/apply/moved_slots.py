"""Puts live inner maps into other slots of their outer map: the same maps, with what programs write to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provisioner.apply import identity
from provisioner.apply.journal import Undo
from provisioner.apply.transaction import Transaction
from provisioner.kernel import batch, maps
from provisioner.kernel.fd import FdSet, MapFd
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.moved import PendingSlot
from provisioner.model.pins import map_path
from provisioner.model.types import Bytes
from provisioner.model.words import plural
from provisioner.planning.steps import MoveSlots


def move(tx: Transaction, step: MoveSlots) -> None:
    """Write each inner map into its new slot, then empty the old one: no slot is without its map in between.

    Raises RefusedError where a slot changed since it was planned.
    """
    with _open(tx, step.map) as outer:
        for slot in step.slots:
            _require(outer, slot, slot.move.old, (slot.id,), slot.move.move.old)
            _require(outer, slot, slot.move.new, (0, slot.id), slot.move.move.new)
        what, undo = f"{plural(len(step.slots), 'moved slot')} of {step.map}", partial(_move_back, tx, step)
        size = min(tx.wave, step.at_once)
        for start in range(0, len(step.slots), size):
            part = step.slots[start : start + size]
            with _opened(tx, step.map, part) as fds, tx.journal.noting(Undo(what, undo)):
                keys = _rows([slot.move.new for slot in part])
                tx.progress.grace_periods += batch.publish(outer, keys, _numbers(fds), name=step.map)
            with tx.journal.noting(Undo(what, undo)):
                old = _rows([slot.move.old for slot in part])
                tx.progress.grace_periods += batch.unpublish(outer, old, name=step.map)


@contextmanager
def _opened(tx: Transaction, name: str, slots: Iterable[PendingSlot]) -> Iterator[FdSet[MapFd]]:
    inner = tx.inner(name)
    with FdSet[MapFd]() as opened:
        for slot in slots:
            opened.add(inner.open(slot.id))
        yield opened


def _numbers(fds: FdSet[MapFd]) -> NDArray[np.uint32]:
    return np.array(fds.numbers(), np.uint32)


def _move_back(tx: Transaction, step: MoveSlots) -> None:
    """Put the inner maps back, as far as they moved; a slot that another process wrote stays: RefusedError."""
    with _open(tx, step.map) as outer:
        gone = tuple(slot for slot in step.slots if _held(outer, slot.move.old) == 0)
        written = tuple(slot for slot in step.slots if slot not in gone)
        _empty_new(outer, step.map, written)
        size = min(tx.wave, step.at_once)
        for start in range(0, len(gone), size):
            part = gone[start : start + size]
            with _opened(tx, step.map, part) as fds:
                batch.publish(outer, _rows([slot.move.old for slot in part]), _numbers(fds), name=step.map)
            _empty_new(outer, step.map, part)
        for slot in step.slots:
            if _held(outer, slot.move.old) != slot.id or _held(outer, slot.move.new) != 0:
                what = "another process changed this during the apply; its change is kept"
                raise RefusedError(Problem(what, address=slot.move.move.new, id="changed-meanwhile"))


def _empty_new(outer: MapFd, name: str, slots: Iterable[PendingSlot]) -> None:
    """Empty the new slots of inner maps that are in their old slots."""
    back = (slot for slot in slots if _held(outer, slot.move.old) == slot.id)
    new = [slot.move.new for slot in back if _held(outer, slot.move.new) == slot.id]
    if new:
        batch.unpublish(outer, _rows(new), name=name)


def _open(tx: Transaction, name: str) -> MapFd:
    declared, live = tx.plan.desired.maps[name], tx.plan.observed.maps[name]
    return identity.open_same(Path(map_path(tx.plan.desired, declared)), MapFd, live.id, name)


def _held(outer: MapFd, key: bytes) -> int:
    """The id of the inner map in a slot, 0 for none."""
    return int(np.frombuffer(maps.lookup(outer, key, 4) or bytes(4), np.uint32)[0])


def _require(outer: MapFd, slot: PendingSlot, key: bytes, ids: tuple[int, ...], address: str) -> None:
    live = _held(outer, key)
    if live not in ids:
        what = f"slot changed since it was planned: expected inner map {slot.id}, found {live or 'none'}"
        hint = "plan again, and check which process writes this map"
        raise RefusedError(Problem(what, hint=hint, address=address, id="changed-since-plan"))


def _rows(keys: list[bytes]) -> Bytes:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)
