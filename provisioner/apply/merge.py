"""What programs changed in a replaced inner map after it was copied is carried over into the one that replaces it.

The write that publishes the new map returns after a grace period: then no program uses the old one any more, except
sleepable ones that began before. What it holds now is read again, compared with the copy, and the difference is carried
over while programs use the new map.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from provisioner.apply.converted import converted
from provisioner.apply.copies import Copy, changes_since
from provisioner.bytecode.merge_program import Changes, EntryEvent, Winner, why_not
from provisioner.codec.counters import Counters, counters
from provisioner.kernel import maps, reading
from provisioner.kernel.fd import MapFd
from provisioner.kernel.merging import Merge, can_merge
from provisioner.kernel.reasons import UPDATE, KernelError
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.host import Host
from provisioner.model.map_shape import rounded_up
from provisioner.model.spec import Contents
from provisioner.model.types import Bytes
from provisioner.planning.carried import by_calls, is_written
from provisioner.planning.changes import MapChange, Migrated
from provisioner.planning.hazards import replaced_with_others
from provisioner.planning.plan import Plan

OpenOld = Callable[[int], MapFd]
"""Opens a replaced map by its id, to read it."""

COPIES_BYTES: Final = 64 << 20
"""Memory for the copies of one wave: a larger map is a wave of its own."""


def wave_size(change: MapChange, copied: Mapping[int, object], host: Host, size: int) -> int:
    """Inner maps of one wave, so that the copies of a wave fit into the memory for them."""
    if not copied:
        return size
    shape = change.desired.entry_shape
    room = int(change.slots.capacity_before.max(initial=1))
    each = room * (shape.key_size + reading.value_stride(shape, host.possible_cpus))
    return max(1, min(size, COPIES_BYTES // max(1, each)))


def others_of(
    desired: DesiredMap, slot: int, old: MapFd, host: Host, migrated: Migrated | None = None
) -> tuple[Bytes, Bytes]:
    """The entries of others in a live inner map: what a new one takes over. Of an array, those that are not zero.

    `migrated` says that the live map can have another shape. Inside `owned_keys`, exact contents have no entries of
    others: what the spec does not list there is deleted. With `owned_members`, entries of the spec have members of
    others.
    """
    reshaping = migrated.reshaping if migrated is not None else None
    specials = (migrated.before or desired.entry_shape if migrated is not None else desired.entry_shape).specials
    shape = replace(maps.info(old).shape, specials=specials)
    keys, values = reading.read_entries(old, shape, host.possible_cpus)
    if shape.is_array:  # a new one with less room takes no index beyond it
        held = entry_table.is_nonzero(values)
        if desired.value.owns_part and reshaping is None:  # the others' members of an element can be zero, and stay
            held |= entry_table.among(keys, desired.entries.slot(slot)[0])
        keys, values = keys[held], values[held]
    if reshaping is not None:
        keys, values = converted(reshaping, desired, slot, keys, values)
    if desired.value.owns_part:
        return _with_our_members(desired, slot, keys, values)
    own, _ = desired.entries.slot(slot)
    if len(own):  # they are written by the spec: to write one again, a full LRU map evicts another
        others = ~entry_table.among(desired.key.normalise(keys), own)
        keys, values = keys[others], values[others]
    if desired.owned and desired.slots.policy(slot) is Contents.EXACT:
        others = ~entry_table.within(keys, desired.key.number_order, desired.owned)
        keys, values = keys[others], values[others]
    return keys, values


def _with_our_members(desired: DesiredMap, slot: int, keys: Bytes, values: Bytes) -> tuple[Bytes, Bytes]:
    """Live entries with the members of the spec in those that it lists; exact contents have no others that are ours."""
    own_keys, own_values = desired.entries.slot(slot)
    pairs = entry_table.match_keys(own_keys, desired.key.normalise(keys))
    owned, values = desired.value.owned.mask(), values.copy()
    values[pairs.both_right] = (values[pairs.both_right] & ~owned) | (own_values[pairs.both_left] & owned)
    if desired.slots.policy(slot) is not Contents.EXACT:
        return keys, values
    if desired.entry_shape.is_array:  # what the spec does not list is zero, and the others' members of it stay
        unlisted = pairs.right_only[entry_table.within(keys[pairs.right_only], desired.key.number_order, desired.owned)]
        values[unlisted] &= ~owned
        return keys, values
    kept = np.zeros(len(keys), np.bool_)
    kept[pairs.both_right] = True
    if desired.owned:
        kept |= ~entry_table.within(keys, desired.key.number_order, desired.owned)
    return keys[kept], values[kept]


def joined(desired: DesiredMap, host: Host, copies: Sequence[Copy], keys: Bytes, values: Bytes) -> Bytes:
    """The values to write for entries of one more map that a new one takes over: with `sum`, counters are added.

    Slots that come to share an inner map can have had different ones.
    """
    counted = counters_of(desired, host)
    if not counted or not copies:
        return values
    total, shape = values.copy(), desired.entry_shape
    each = rounded_up(shape.value_size) if shape.is_percpu else shape.value_size
    for copy in copies:
        pairs = entry_table.match_keys(desired.key.normalise(copy.keys), desired.key.normalise(keys))
        for start in range(0, values.shape[1], each):
            for offset, width in counted:
                part = slice(start + offset, start + offset + width)
                kind = np.dtype(f"u{width}")
                before = np.ascontiguousarray(copy.values[pairs.both_left, part]).view(kind)
                added = np.ascontiguousarray(total[pairs.both_right, part]).view(kind) + before
                total[pairs.both_right, part] = added.view(np.uint8)
    return total


def carry_over(
    desired: DesiredMap,
    targets: Sequence[MapFd],
    slots: Sequence[int],
    copies: Mapping[int, Sequence[Copy]],
    open_old: OpenOld,
    host: Host,
    migrated: Migrated | None = None,
) -> int:
    """Carry over what changed since the copies. `targets` are the new maps of `slots`, which are live.

    Gives the grace periods waited for. Raises KernelError where a new map does not take a change: it is full.
    """
    shape = desired.entry_shape
    changed = list(_changed(desired, slots, copies, open_old, host, migrated))
    if not changed:
        return 0
    # Only maps with changes: on some kernels, the program reaches each for a grace period of its own.
    used = [targets[number] for number, _ in changed]
    most = max(len(changes.kind) for _, changes in changed)
    with Merge(used, shape, policy_of(desired), counters_of(desired, host), host.possible_cpus, most) as merge:
        merge.load()
        for number, (_, changes) in enumerate(changed):
            try:
                merge.carry(number, changes)
            except KernelError as error:
                raise error.about(desired.name, "array" if shape.is_array else "hash") from None
        return merge.grace_periods


def policy_of(desired: DesiredMap) -> Winner:
    return Winner(desired.on_conflict.value)


def counters_of(desired: DesiredMap, host: Host) -> Counters:
    """The counters of a value where differences are added; none otherwise."""
    if policy_of(desired) is not Winner.SUM:
        return ()
    return counters(desired.value, host.byteorder) or ()


def _changed(
    desired: DesiredMap,
    slots: Sequence[int],
    copies: Mapping[int, Sequence[Copy]],
    open_old: OpenOld,
    host: Host,
    migrated: Migrated | None,
) -> Iterator[tuple[int, Changes]]:
    """The changes of each replaced map, and the number of its new map.

    The entries of the spec are not among them: the spec says what they are.
    """
    for target, slot in enumerate(slots):
        own, _ = desired.entries.slot(slot)
        for copy in copies.get(slot, ()):
            with open_old(copy.inner_id) as old:
                keys, values = others_of(desired, slot, old, host, migrated)
            changes = changes_since(copy, keys, values, is_array=desired.entry_shape.is_array)
            if len(own):
                listed = entry_table.among(desired.key.normalise(changes.keys), own)
                if desired.value.owns_part:  # of these, the others' members are carried over
                    listed &= changes.kind == EntryEvent.DELETE
                changes = changes.rows(~listed)
            if len(changes.kind):
                _check_indexes(desired, changes, slot)
                yield target, changes


def _check_indexes(desired: DesiredMap, changes: Changes, slot: int) -> None:
    """Raise KernelError where an array with less room has no such index."""
    if desired.entry_shape.is_array:
        indexes = entry_table.as_indexes(changes.keys, desired.key.number_order or "little")
        if int(indexes.max()) >= int(desired.slots.max_entries[slot]):
            raise KernelError(UPDATE, errno.E2BIG, name=desired.name, subject="array")


def warned(plan: Plan) -> Plan:
    """The plan, with a hazard for each map whose changes this kernel or process carries over by system calls alone."""
    known = []
    for change in plan.maps.values():
        desired = change.desired
        rows = replaced_with_others(change)
        if not rows or not is_written(change) or why_not(desired.entry_shape):
            continue
        if not can_merge(desired.entry_shape, policy_of(desired), counters_of(desired, plan.desired.host)):
            known.append(by_calls(change, rows[0], "this kernel or process cannot run the program for it"))
    return replace(plan, hazards=(*plan.hazards, *known)) if known else plan
