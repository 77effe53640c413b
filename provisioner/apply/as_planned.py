"""Whether the slots of an outer map still hold the inner maps that they held when they were planned."""

from __future__ import annotations

import errno
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provisioner.kernel import maps, reading, reasons
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.entry_table import Index
from provisioner.model.errors import Problem, RefusedError
from provisioner.planning.changes import MapChange

_HINT: Final = "plan again, and check which process writes this map"


def check_same_maps(outer: MapFd, change: MapChange) -> None:
    """Raise RefusedError where an outer map, of any shape, holds other inner maps than when it was planned."""
    assert change.observed is not None
    _, ids = reading.read_slots(outer, maps.info(outer).shape)
    planned = {*change.observed.slots.inner_ids.tolist(), *change.unfit.inner_ids}
    if planned != set(ids.tolist()):
        strange = sorted(planned.symmetric_difference(ids.tolist()))
        what = f"slots changed since they were planned: inner maps {', '.join(map(str, strange[:5]))}"
        raise RefusedError(Problem(what, hint=_HINT, address=change.name, id="changed-since-plan"))


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
        address = change.slot_address(int(rows[at]))
        raise RefusedError(Problem(what, hint=_HINT, address=address, id="changed-since-plan"))


def gone(error: BaseException) -> BaseException:
    """RefusedError in place of the error that a planned inner map is gone: its slot, which held it, was changed."""
    match error:
        case KernelError(operation=reasons.GET_BY_ID, errno=errno.ENOENT):
            what = "inner map no longer exists: its slot changed since it was planned"
            return RefusedError(Problem(what, hint=_HINT, address=error.name, id="changed-since-plan"))
        case _:
            return error


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
