"""`--replace ADDRESS`: maps and slots that are recreated although nothing differs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from msgspec.structs import replace

from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.errors import InputError, Problem, Problems
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.diff import created
from provisioner.planning.diff_slots import spread_over_shares
from provisioner.planning.targets import SlotTarget, Targets, find

WHY = "requested by --replace"


def requested(texts: Iterable[str], desired: DesiredState, limits: Targets | None = None) -> Targets | None:
    """The maps and slots to recreate; None if there are none.

    Raises InputError for what cannot be recreated alone, or is not among `limits`, the targets of the plan: a map of
    which a plan compares some slots would come back without the others.
    """
    addresses = tuple(texts)
    if not addresses:
        return None
    targets, problems = find(addresses, desired), Problems()
    for name in sorted(targets.objects):
        problems.add("an object is loaded again with its file", address=name, id="invalid-target", hint="name a map")
    for name in sorted(targets.maps):
        owner = desired.maps[name].object
        if owner is not None or desired.maps[name].adopted is not None:
            what = "this map cannot be recreated alone: it belongs to " + (
                f"object `{owner}`" if owner else "its owner"
            )
            problems.add(what, desired.maps[name].where, "name its slots", name, id="invalid-target")
    for slot in targets.slots:
        if not entry_table.among(desired.maps[slot.map].slots.keys, slot.key[np.newaxis]).any():
            problems.extend([Problem("the spec does not have this slot", address=slot.address, id="unknown-slot")])
    if limits is not None and not len(problems):
        problems.extend(_outside(targets, limits, desired))
    problems.raise_if_any(InputError)
    return targets


def _outside(targets: Targets, limits: Targets, desired: DesiredState) -> Iterator[Problem]:
    """Addresses that the targets of the plan do not include."""
    outside = targets.maps - limits.maps
    for slot in targets.slots:
        if slot.map not in limits.maps and not _is_among(slot, limits, desired.maps[slot.map]):
            outside |= {slot.address}
    for each in sorted(outside):
        what = "the targets of the plan do not include what --replace recreates"
        yield Problem(what, hint=f"add `--target {each}`", address=each, id="invalid-target")


def _is_among(slot: SlotTarget, limits: Targets, desired: DesiredMap) -> bool:
    """Whether a slot is targeted, or shares its inner map with one that is."""
    keys = [each.key for each in limits.slots if each.map == slot.map]
    if not keys:
        return False
    wanted, asked = desired.slots, np.stack(keys)
    if entry_table.among(slot.key[np.newaxis], asked).any():
        return True
    share = wanted.shared[entry_table.among(wanted.keys, slot.key[np.newaxis])]
    return bool(np.isin(share[share >= 0], wanted.shared[entry_table.among(wanted.keys, asked)]).any())


def with_requested(change: MapChange, wanted: Targets) -> MapChange:
    """The change, in which the live maps and slots among `wanted` are replaced."""
    if change.observed is None or change.action is Action.REPLACE:
        return change
    if change.name in wanted.maps:
        return created(change.desired, change.observed, WHY)
    keys = [slot.key for slot in wanted.slots if slot.map == change.name]
    if not keys:
        return change
    slots = replace(change.slots, action=change.slots.action.copy(), reason=change.slots.reason.copy())
    rows = entry_table.among(slots.keys, np.stack(keys)) & (slots.observed >= 0) & (slots.desired >= 0)
    if not rows.any():
        return change
    slots.action[rows] = Action.REPLACE
    slots.reason[rows] = Reason.REQUESTED
    spread_over_shares(slots, entry_table.take(change.desired.slots.shared, slots.desired, -1))
    return replace(change, action=Action.UPDATE, reason="its contents differ", slots=slots)
