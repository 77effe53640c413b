"""Which steps of a plan can wait for RCU grace periods at the same time: those of outer maps without `after`.

A write of slots waits for a grace period. Threads that wait at the same time share it, so outer maps are published
side by side. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from provisioner.model.uapi import OUTER_TYPES
from provisioner.planning.changes import Action
from provisioner.planning.plan import Plan
from provisioner.planning.steps import (
    CarryChanges,
    CreateMap,
    DeleteSlots,
    PinInnerMaps,
    PublishSlots,
    Step,
    WriteEntries,
)

LANES: Final = 128
"""Outer maps that are published at the same time."""

MapStep = CreateMap | PublishSlots | DeleteSlots | PinInnerMaps | WriteEntries
Unit = tuple[Step, ...]
"""Steps that are done one after the other: those of one map, or a single one of another kind."""


def groups(plan: Plan) -> list[list[Unit]]:
    """All steps in order. The units of a group do not depend on each other."""
    if any(isinstance(step, CarryChanges) for step in plan.steps):
        return [[(step,)] for step in plan.steps]  # what is merged afterwards is noted for all maps
    grouped: list[list[Unit]] = []
    names: list[str] = []
    for unit in _units(plan):
        name = _map_of(plan, unit[0])
        apart = not names or _only_deletes(unit) != _only_deletes(grouped[-1][0])
        if name is None or apart or any(_depends(plan, name, other) for other in names):
            grouped.append([unit])
            names = [] if name is None else [name]
        else:
            grouped[-1].append(unit)
            names.append(name)
    return grouped


def lanes(plan: Plan, units: Sequence[Unit], wave: int) -> int:
    """How many units of a group are done at the same time, if `wave` inner maps may be open at once."""
    most = max((slots_of(plan, step) for unit in units for step in unit), default=0)
    return max(1, min(len(units), LANES, wave // max(1, min(most, wave))))


def slots_of(plan: Plan, step: Step) -> int:
    """The slots that a step of an outer map writes."""
    if not isinstance(step, MapStep):
        return 0
    match step:
        case CreateMap():
            return int((plan.maps[step.map].slots.desired >= 0).sum())
        case PublishSlots() | DeleteSlots():
            return len(step.slots)
        case PinInnerMaps() | WriteEntries():
            return 0
        case _:
            assert_never(step)


def _units(plan: Plan) -> list[Unit]:
    units: list[Unit] = []
    before: str | None = None
    for step in plan.steps:
        name = _map_of(plan, step)
        # What goes is deleted after all else was published, unless a map needs the room.
        joins = name is not None and name == before and (not _only_deletes((step,)) or _only_deletes(units[-1]))
        if joins:
            units[-1] = (*units[-1], step)
        else:
            units.append((step,))
        before = name
    return units


def _only_deletes(unit: Unit) -> bool:
    return all(isinstance(step, DeleteSlots) for step in unit)


def _map_of(plan: Plan, step: Step) -> str | None:
    """The outer map of a step that can be done beside those of other maps."""
    if not isinstance(step, MapStep) or (isinstance(step, CreateMap) and step.over):
        return None
    change = plan.maps[step.map]
    is_alone = change.resized or change.desired.shape.map_type not in OUTER_TYPES or change.action is Action.REPLACE
    return None if is_alone else step.map


def _depends(plan: Plan, name: str, other: str) -> bool:
    """Whether one of two maps is published after the other one, or they are one map."""
    first, second = plan.maps[name].desired, plan.maps[other].desired
    return name == other or other in first.after or name in second.after
