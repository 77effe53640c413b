"""How long a plan waits for the kernel, in RCU grace periods. Pure."""

from __future__ import annotations

from provisioner.model.grace_periods import Batches, waits
from provisioner.model.uapi import OUTER_TYPES, MapType
from provisioner.planning import lanes
from provisioner.planning.plan import Plan
from provisioner.planning.steps import (
    CarryChanges,
    CarrySlots,
    CreateMap,
    DeleteSlots,
    MoveSlots,
    PublishSlots,
    Step,
)


def grace_periods(plan: Plan, wave_slots: int, batches: Batches = Batches.CHEAP) -> int:
    """About how many RCU grace periods apply waits for, to write slots wave by wave and to keep what they held.

    `batches` says what batches of slots cost on the kernel that is planned for.
    """

    def in_waves(slots: int) -> int:
        whole, rest = divmod(slots, wave_slots)
        return whole * waits(wave_slots, batches) + waits(rest, batches)

    def kept(step: PublishSlots | DeleteSlots) -> int:
        return int((plan.maps[step.map].slots.observed[step.slots] >= 0).sum())

    def waited(step: Step) -> int:
        match step:
            case CarryChanges():
                return 1
            case CarrySlots():
                return in_waves(len(step.slots))
            case MoveSlots():
                return 2 * in_waves(len(step.slots))
            case PublishSlots():
                return in_waves(len(step.slots)) + in_waves(kept(step))
            case DeleteSlots():
                observed = plan.maps[step.map].observed
                # An array of maps has no batch that deletes (errno 524).
                is_array = observed is not None and observed.shape.map_type is MapType.ARRAY_OF_MAPS
                return waits(len(step.slots), Batches.NONE if is_array else batches) + in_waves(kept(step))
            case CreateMap():
                change = plan.maps[step.map]
                if plan.desired.maps[step.map].shape.map_type not in OUTER_TYPES:
                    return 0
                return in_waves(int((change.slots.desired >= 0).sum()))
            case _:
                return 0

    total = 0
    for units in lanes.groups(plan):
        each = [sum(map(waited, unit)) for unit in units]
        total += max(max(each), -(-sum(each) // lanes.lanes(plan, units, wave_slots)))
    return total
