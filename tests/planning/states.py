"""Whole desired and observed states, objects and programs, for tests that need no YAML and no kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.attach.xdp import Xdp
from provisioner.model.attachment import AttachPoint, IfMissing
from provisioner.model.desired import DesiredMap, DesiredObject, DesiredProgram, DesiredState
from provisioner.model.host import Host
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedBlock, ObservedLink, ObservedMap, ObservedProgram, ObservedState
from provisioner.model.pins import link_pin
from provisioner.model.record import Meta
from provisioner.model.type_layout import EntryLayout
from provisioner.model.uapi import XdpMode
from provisioner.observed.sources import Depth
from provisioner.planning.comparison import compare
from provisioner.planning.hazards import Hazard, Overrides, Refusal
from provisioner.planning.plan import Plan
from provisioner.planning.steps import Step
from tests.planning.build import HERE, State, table

ETH0 = AttachPoint("interface", "eth0")


def program(name: str, *, mode: XdpMode = XdpMode.AUTO, missing: IfMissing = IfMissing.FAIL) -> DesiredProgram:
    """A program that is attached to eth0 by XDP."""
    return DesiredProgram(name, name, (Xdp(where=HERE, if_missing=missing, interface="eth0", mode=mode),), HERE)


def unattached(name: str) -> DesiredProgram:
    return DesiredProgram(name, name, (), HERE)


def an_object(
    *programs: DesiredProgram, name: str = "router", digest: str = "new", maps: Mapping[str, MapShape] | None = None
) -> DesiredObject:
    return DesiredObject(name, f"{name}.o", digest, programs, maps or {}, {}, HERE)


def wanted(*parts: DesiredMap | DesiredObject, **fields: Any) -> DesiredState:
    maps = {one.name: one for one in parts if isinstance(one, DesiredMap)}
    objects = {one.name: one for one in parts if isinstance(one, DesiredObject)}
    return DesiredState("edge", "/sys/fs/bpf/edge", Host("little", 2), objects, maps, None, **fields)


def record(project: str = "edge", **fields: Any) -> Meta:
    return replace(Meta(project, {}, {}, {}, {}), **fields)


def live(*, meta: Meta | None = None, maps: Mapping[str, ObservedMap] | None = None, **fields: Any) -> ObservedState:
    """A pin root that exists."""
    return replace(ObservedState(True, meta, maps or {}, {}, {}, {}, {}), **fields)


def pinned(*names: str, maps: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, ObservedProgram]:
    """Pinned programs, with the ids 51, 52, ... and the maps that they use."""
    return {
        name: ObservedProgram(51 + number, name, "tag", (maps or {}).get(name, ())) for number, name in enumerate(names)
    }


def attached(name: str, *, target: int = 3, program_id: int = 51) -> dict[str, ObservedLink]:
    return {link_pin(name): ObservedLink(71, program_id, target)}


class Held:
    """Live maps that hold what dictionaries say; an inner map that vanished has no contents (None)."""

    def __init__(
        self,
        contents: Mapping[str, Mapping[int, Mapping[int, int] | None]] | None = None,
        frozen: Iterable[int] = (),
        users: Mapping[int, tuple[str, ...]] | None = None,
        capacity: int = 64,
    ) -> None:
        self._contents = contents or {}
        self._frozen = frozenset(frozen)
        self._users = users or {}
        self._capacity = capacity
        self.asked_users = False

    def layout(self, desired_map: DesiredMap) -> EntryLayout | None:  # noqa: ARG002
        return None

    def object_layout(self, name: str) -> EntryLayout | None:  # noqa: ARG002
        return None

    def object_entries(self, name: str) -> int | None:  # noqa: ARG002
        return None

    def old_blocks(
        self, desired_map: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]
    ) -> Iterator[ObservedBlock]:
        return self.blocks(desired_map, live, depth)

    def blocks(self, desired_map: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterator[ObservedBlock]:  # noqa: ARG002
        held = self._contents.get(desired_map.name, {})
        for number, slot in enumerate(sorted(held)):
            if depth[number] == Depth.NOTHING:
                continue
            entries = held[slot]
            part: State = {0: entries if entries is not None and depth[number] == Depth.ENTRIES else {}}
            room = np.array([0 if entries is None else self._capacity], np.uint32)
            yield ObservedBlock(number, number + 1, room, table(part))

    def frozen(self, desired_map: DesiredMap, numbers: Sequence[int]) -> frozenset[int]:  # noqa: ARG002 (ids are enough)
        return self._frozen.intersection(numbers)

    def users(self, observed: ObservedState) -> Mapping[int, tuple[str, ...]]:  # noqa: ARG002 (all are known)
        self.asked_users = True
        return self._users


def plan_of(
    desired: DesiredState, observed: ObservedState, held: Held | None = None, overrides: Overrides = Overrides()
) -> Plan:
    return compare(desired, observed, overrides, held or Held(), check_points=True)


def steps(plan: Plan) -> list[str]:
    """The steps as people read them."""
    return [step.describe() for step in plan.steps]


def kinds(steps: Iterable[Step]) -> list[str]:
    return [type(step).__name__ for step in steps]


def ids(reasons: Iterable[Hazard | Refusal]) -> list[tuple[str, str]]:
    """The id and the address of hazards or refusals."""
    return [(one.id if isinstance(one, Hazard) else one.rule, one.address) for one in reasons]
