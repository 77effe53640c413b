"""The comparison of a desired with an observed state, as a plan. Pure.

Entries arrive in blocks while they are compared, from a reader that the caller supplies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.observed import ObservedState
from provisioner.observed.sources import LiveMaps
from provisioner.planning import jumps
from provisioner.planning.changes import Action, MapChange, ObjectChange
from provisioner.planning.diff import diff_map
from provisioner.planning.diff_objects import diff_links, diff_object
from provisioner.planning.diff_slots import ObjectMaps, held_twice, slots_to_read
from provisioner.planning.hazards import Overrides
from provisioner.planning.migrate import migrated
from provisioner.planning.plan import Plan, make_plan
from provisioner.planning.recreation import is_compared
from provisioner.planning.relaid import of_object, reinterpreted, with_relaid
from provisioner.planning.requested import with_requested
from provisioner.planning.second_look import look

if TYPE_CHECKING:
    from provisioner.planning.targets import Targets


def compare(
    desired: DesiredState,
    observed: ObservedState,
    overrides: Overrides,
    live_maps: LiveMaps,
    *,
    check_points: bool,
    targets: Targets | None = None,
    recreate: Targets | None = None,
) -> Plan:
    """The plan from one state to the other. Raises HostError where an attach point is missing."""
    observed = with_relaid(desired, observed)
    objects = {
        name: of_object(diff_object(one, desired, observed), desired, observed, live_maps)
        for name, one in desired.objects.items()
    }
    wanted, whole = desired.maps, frozenset[str]()
    if targets is not None:
        from provisioner.planning.targets import scope

        limited = scope(targets, desired, observed, objects)
        wanted, objects, whole = limited.maps, limited.objects, limited.whole
    shared = held_twice(observed)

    def diff(desired_map: DesiredMap) -> MapChange:
        live, own = observed.maps.get(desired_map.name), _object_maps(observed, objects)
        if live is not None:
            order = desired.host.byteorder
            change = migrated(desired_map, live, live_maps, observed.meta, shared, own, order)
            if change is not None:
                return change
        compares = live is not None and is_compared(desired_map, live, observed.meta)
        blocks = (
            live_maps.blocks(desired_map, live, slots_to_read(desired_map, live))
            if live is not None and compares
            else ()
        )
        change = reinterpreted(
            look(diff_map(desired_map, live, blocks, observed.meta, shared, own), live_maps), live_maps
        )
        return change if recreate is None else with_requested(change, recreate)

    arrays, objects = jumps.compared(desired, observed, wanted.values(), objects, diff)
    maps = [arrays[name] if name in arrays else diff(one) for name, one in wanted.items()]
    recreated = any(change.action is Action.REPLACE for change in maps)
    if recreated or observed.unpinned or any(change.lost for change in objects.values()):
        observed = replace(observed, users=live_maps.users(observed))
    links = diff_links(observed, objects, check_points)
    if targets is not None:
        from provisioner.planning.targets import links_of

        links = links_of(objects.values(), links)
    plan = make_plan(desired, observed, maps, objects.values(), links, overrides, targets, whole)
    return plan if recreate is None else replace(plan, recreate=recreate.addresses)


def _object_maps(observed: ObservedState, objects: Mapping[str, ObjectChange]) -> ObjectMaps:
    """The live maps of objects, and which of them these changes keep."""
    loads = [change for change in objects.values() if change.action is not Action.UNCHANGED]
    created = {name for change in loads for name in change.fresh}
    kept = {name: live.id for name, live in observed.object_maps.items() if name not in created}
    return ObjectMaps(kept, frozenset(live.id for live in observed.object_maps.values()))
