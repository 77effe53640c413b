"""Entries of which only some members are ours: those are written, and the others left to those who write them."""

from __future__ import annotations

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
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.planning.changes import EntryAction, EntryChanges
from provisioner.planning.members import by_calls, written_in_place
from provisioner.planning.plan import Plan


def write(fd: MapFd, desired: DesiredMap, keys: Bytes, values: Bytes, name: str) -> None:
    """Write our members of entries into a live map. Raises KernelError where the map does not take one."""
    if not len(keys):
        return
    shape = desired.entry_shape
    with MemberWriter(fd, shape, desired.value.owned.mask(), len(keys)) as writer:
        writer.load()
        try:
            writer.write(keys, values)
        except KernelError as error:
            raise error.about(name, "array" if shape.is_array else "hash") from None


def with_live_values(fd: MapFd, desired: DesiredMap, edits: EntryChanges) -> EntryChanges:
    """The edits with the whole values of entries that are deleted: to take it back brings the others' members too."""
    gone = np.flatnonzero(edits.action == EntryAction.DELETE)
    shape = desired.entry_shape
    if not desired.value.owns_part or shape.is_array or not len(gone):
        return edits
    before, keys = edits.before.copy(), np.ascontiguousarray(edits.keys[gone])
    if shape.map_type is MapType.LPM_TRIE:
        held = held_by_trie(fd, shape, keys)
        for row, key in zip(gone.tolist(), keys, strict=True):
            if key.tobytes() in held:
                before[row] = np.frombuffer(held[key.tobytes()], np.uint8)
    else:
        values, there = lookups.look_up(fd, shape, keys, 1)
        before[gone[there]] = values[there, : shape.value_size]
    return replace(edits, before=before)


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
            MemberWriter(scratch, desired.entry_shape, desired.value.owned.mask(), 1) as writer,
        ):
            writer.load()
            in_kernel = writer.runs_in_kernel
        if not in_kernel:
            known.append(by_calls(change, rows[0], "this kernel or process cannot run the program for it"))
    return replace(plan, hazards=(*plan.hazards, *known)) if known else plan
