"""Entries of which only some members are ours: those are written, and the others left to those who write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self

import numpy as np
from msgspec.structs import replace

from provisioner.apply.staging import Stager
from provisioner.bytecode.member_program import why_not
from provisioner.kernel import lookups
from provisioner.kernel.fd import MapFd
from provisioner.kernel.inner_pins import OPENED_BY_ID
from provisioner.kernel.members import MemberWriter, held_by_trie
from provisioner.kernel.reasons import KernelError
from provisioner.model.desired import DesiredMap
from provisioner.model.map_shape import MapShape
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.planning.changes import EntryAction, EntryChanges
from provisioner.planning.members import by_calls, written_in_place
from provisioner.planning.plan import Plan

Put = Callable[[Bytes, Bytes, str, Callable[[], None]], None]
"""Writes our members of entries into one map: keys, values, the address for messages, and what is called now and then.

Raises KernelError.
"""

_FEW: Final = 8
"""Maps that get a program each: it is loaded in a millisecond, and one for all waits for a grace period."""


class InPlaceWriter:
    """Writes our members into some live maps of a change; a context manager. Where all members are ours, it does not.

    `most` is how many entries one map gets at most.
    """

    def __init__(self, desired: DesiredMap, fds: Sequence[MapFd], most: int) -> None:
        self._desired = desired
        self._fds = fds
        self._together = MemberWriter(fds, desired.entry_shape, desired.value.owned.mask(), most)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._together.__exit__(kind, error, trace)

    def load(self) -> int:
        """Load one program for all maps, where that pays; gives the grace periods waited for."""
        if self._desired.value.owns_part and len(self._fds) > _FEW:
            self._together.load()
        return self._together.grace_periods

    def into(self, number: int) -> Put | None:
        """What writes into a map; None where whole values are written."""
        if not self._desired.value.owns_part:
            return None
        if self._together.runs_in_kernel:
            return partial(_put, self._together, number, self._desired.entry_shape)
        return writer_of(self._fds[number], self._desired)


def writer_of(fd: MapFd, desired: DesiredMap) -> Put | None:
    """What writes into a single map; None where whole values are written."""
    return partial(_put_alone, fd, desired) if desired.value.owns_part else None


def _put_alone(
    fd: MapFd, desired: DesiredMap, keys: Bytes, values: Bytes, name: str, pause: Callable[[], None]
) -> None:
    if len(keys):
        with MemberWriter([fd], desired.entry_shape, desired.value.owned.mask(), len(keys)) as writer:
            writer.load()
            _put(writer, 0, desired.entry_shape, keys, values, name, pause)


def _put(
    writer: MemberWriter,
    number: int,
    shape: MapShape,
    keys: Bytes,
    values: Bytes,
    name: str,
    pause: Callable[[], None],
) -> None:
    try:
        writer.write(number, keys, values, pause)
    except KernelError as error:
        raise error.about(name, "array" if shape.is_array else "hash") from None


def with_live_values(fd: MapFd, desired: DesiredMap, edits: EntryChanges, possible_cpus: int) -> EntryChanges:
    """The edits with the live bytes of what they write over, where the plan does not have all of them.

    A plan knows neither padding nor, of entries that are deleted, others' members: to take an edit back brings both.
    """
    shape, value = desired.entry_shape, desired.value
    edited = edits.action == EntryAction.DELETE
    if not value.owns_part:
        if (value.mask() == 0xFF).all():
            return edits
        edited = (edits.action != EntryAction.INSERT) | shape.deletes_by_zero  # what an array inserts over has padding
    elif shape.is_array:
        return edits
    rows = np.flatnonzero(edited)
    if not len(rows):
        return edits
    before, action, keys = edits.before.copy(), edits.action.copy(), np.ascontiguousarray(edits.keys[rows])
    if shape.map_type is MapType.LPM_TRIE:
        held = held_by_trie(fd, shape, keys)
        for row, key in zip(rows.tolist(), keys, strict=True):
            if key.tobytes() in held:
                before[row] = np.frombuffer(held[key.tobytes()], np.uint8)
    else:
        values, there = lookups.look_up(fd, shape, keys, possible_cpus)
        before[rows[there]] = values[there, : before.shape[1]]
        if shape.deletes_by_zero:
            action[action == EntryAction.INSERT] = EntryAction.UPDATE
    return replace(edits, before=before, action=action)


def warned(plan: Plan) -> Plan:
    """The plan, with a hazard for each map whose members this kernel or process writes by system calls alone."""
    known = []
    for change in plan.maps.values():
        desired = change.desired
        rows = written_in_place(change)
        if not rows or why_not(desired.entry_shape, desired.value.owned.mask()):
            continue
        with (
            Stager(desired, plan.desired.host, OPENED_BY_ID) as stager,
            stager.create(1) as scratch,
            MemberWriter([scratch], desired.entry_shape, desired.value.owned.mask(), 1) as writer,
        ):
            writer.load()
            in_kernel = writer.runs_in_kernel
        if not in_kernel:
            known.append(by_calls(change, rows[0], "this kernel or process cannot run the program for it"))
    return replace(plan, hazards=(*plan.hazards, *known)) if known else plan
