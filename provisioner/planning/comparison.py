"""The comparison of a desired with an observed state, as a plan. Pure.

Entries arrive in blocks while they are compared, from a reader that the caller supplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.observed import ObservedBlock, ObservedMap, ObservedState
from provisioner.planning import jumps
from provisioner.planning.changes import MapChange
from provisioner.planning.diff import diff_map, held_twice, slots_to_read
from provisioner.planning.diff_objects import diff_links, diff_object
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan, make_plan

if TYPE_CHECKING:
    from provisioner.planning.targets import Targets

ReadBlocks = Callable[[DesiredMap, ObservedMap, NDArray[np.uint8]], Iterable[ObservedBlock]]
"""Reads the slots of a live map, each as deep as its `Depth`, shape (slots,)."""


def compare(
    desired: DesiredState,
    observed: ObservedState,
    overrides: Overrides,
    read: ReadBlocks,
    *,
    check_points: bool,
    targets: Targets | None = None,
) -> Plan:
    """The plan from one state to the other. Raises HostError where an attach point is missing."""
    objects = {name: diff_object(one, desired, observed) for name, one in desired.objects.items()}
    wanted, whole = desired.maps, frozenset[str]()
    if targets is not None:
        from provisioner.planning.targets import scope

        limited = scope(targets, desired, observed, objects)
        wanted, objects, whole = limited.maps, limited.objects, limited.whole
    shared = held_twice(observed.maps.values())

    def diff(one: DesiredMap) -> MapChange:
        live = observed.maps.get(one.name)
        blocks = () if live is None else read(one, live, slots_to_read(one, live))
        return diff_map(one, live, blocks, observed.meta, shared)

    arrays, objects = jumps.compared(desired, observed, wanted.values(), objects, diff)
    maps = [arrays[name] if name in arrays else diff(one) for name, one in wanted.items()]
    links = diff_links(observed, objects, check_points)
    if targets is not None:
        from provisioner.planning.targets import links_of

        links = links_of(objects.values(), links)
    return make_plan(desired, observed, maps, objects.values(), links, overrides, targets, whole)
