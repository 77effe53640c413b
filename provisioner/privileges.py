"""Which capabilities the steps of a plan need, so that an apply that lacks one never begins. Pure.

docs/privileges.md has the same as a table; both are tested by dropping capabilities for real.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, assert_never

import numpy as np

from provisioner.changes import Action, MapChange
from provisioner.errors import HostError, Problem
from provisioner.plan import Plan
from provisioner.shape import MapShape
from provisioner.state import DesiredMap
from provisioner.steps import (
    Attach,
    ClaimPinRoot,
    CommitObject,
    CreateMap,
    DeleteSlots,
    Detach,
    LoadObject,
    PinInnerMaps,
    PublishSlots,
    RecordMeta,
    RemovePinRoot,
    SetAccess,
    Step,
    Sweep,
    Unpin,
    UnpinInnerMaps,
    WriteEntries,
)
from provisioner.uapi import MapType

Capability = Literal["CAP_BPF", "CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
Need = tuple[Capability, str, str]
"""A capability, the address that needs it, and what for."""

NETWORK_TYPES: Final = frozenset(
    {MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.SOCKMAP, MapType.SOCKHASH, MapType.XSKMAP}
)
"""Types that the kernel creates for CAP_NET_ADMIN alone (map_create, kernel/bpf/syscall.c)."""


def needs(plan: Plan) -> Iterator[Need]:
    """What each step needs, in the order of the steps. CAP_SYS_ADMIN has those of BPF and networks in it."""
    if plan.observed.gid is not None and any(
        isinstance(step, ClaimPinRoot | RecordMeta | SetAccess) for step in plan.steps
    ):
        yield "CAP_CHOWN", "", "give pins to another group"
    for step in plan.steps:
        yield from _of_step(plan, step)


def refuse_unprivileged(plan: Plan, held: frozenset[str]) -> None:
    """Raise HostError with all that this process lacks for a plan: one problem for each capability and address."""
    if "CAP_SYS_ADMIN" in held:
        held |= {"CAP_BPF", "CAP_NET_ADMIN"}
    missing = dict.fromkeys(need for need in needs(plan) if need[0] not in held)
    if missing:
        raise HostError(
            *(
                Problem(f"{capability} is needed to {what}", address=address, hint="nothing was changed; run as root")
                for capability, address, what in missing
            )
        )


def _of_step(plan: Plan, step: Step) -> Iterator[Need]:
    match step:
        case Sweep() | SetAccess() | Unpin() | UnpinInnerMaps() | RemovePinRoot():
            return
        case ClaimPinRoot() | RecordMeta():
            yield "CAP_BPF", "", "create the map of the project's own record"
        case CommitObject():
            yield "CAP_BPF", step.object, "open what is pinned"
        case CreateMap() | PublishSlots() | PinInnerMaps() | WriteEntries() | DeleteSlots():
            yield from _of_map(plan, step)
        case LoadObject():
            yield "CAP_BPF", step.object, "load programs"
            yield "CAP_NET_ADMIN", step.object, "load XDP programs"
        case Attach():
            yield "CAP_NET_ADMIN", step.pin, "attach an XDP program"
            if step.action is not Action.CREATE:
                yield "CAP_SYS_ADMIN", step.pin, "open the attached program by its id, to take the step back"
        case Detach():
            yield "CAP_SYS_ADMIN", step.pin, "open the attached program by its id, to take the step back"
        case _:
            assert_never(step)


def _of_map(plan: Plan, step: CreateMap | PublishSlots | PinInnerMaps | WriteEntries | DeleteSlots) -> Iterator[Need]:
    change = plan.maps[step.map]
    desired = change.desired
    if not isinstance(step, WriteEntries):  # what is pinned is opened for whoever the pin's mode lets write
        yield "CAP_BPF", step.map, "create maps"
    if isinstance(step, CreateMap | PublishSlots) and desired is not None:
        yield from _network(desired)
    if (desired is None or desired.outer is not None) and _opens_by_id(plan, change):
        yield "CAP_SYS_ADMIN", step.map, "open its inner maps by their ids, to verify them and to take the step back"


def _opens_by_id(plan: Plan, change: MapChange) -> bool:
    """Whether there are inner maps to be opened that have no pin, or that will have none."""
    if not plan.desired.pin_inner_maps:
        return bool(len(change.slots.keys))
    if change.observed is None:
        return False
    numbers = change.slots.observed[np.isin(change.slots.action, (Action.KEEP,), invert=True)]
    ids = change.observed.slots.inner_ids[numbers[numbers >= 0]]
    return not plan.observed.inner_pins.get(change.name, frozenset()).issuperset(ids.tolist())


def _network(desired: DesiredMap) -> Iterator[Need]:
    shapes: dict[MapShape, None] = dict.fromkeys((desired.shape, desired.entry_shape))
    for shape in shapes:
        if shape.map_type in NETWORK_TYPES:
            yield "CAP_NET_ADMIN", desired.name, f"create a {shape.map_type.word}"
