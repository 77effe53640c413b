"""One comparison of a desired with an observed state: what differs, read no deeper than it must be, put into a plan.

Entries are read block by block while they are compared, so this is no pure room; what it calls to judge them is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.observed import observe
from provisioner.observed.snapshot import Snapshot
from provisioner.planning.diff import diff_map, held_twice, slots_to_read
from provisioner.planning.diff_objects import diff_links, diff_object
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan, make_plan
from provisioner.state import DesiredState, ObservedState

if TYPE_CHECKING:
    from provisioner.planning.targets import Targets


def compare(
    desired: DesiredState,
    observed: ObservedState,
    overrides: Overrides,
    source: Snapshot | None,
    *,
    check_interfaces: bool,
    targets: Targets | None = None,
) -> Plan:
    """The plan from one state to the other; entries are read from `source`, or this host, as they are compared."""
    objects = {name: diff_object(one, desired, observed) for name, one in desired.objects.items()}
    wanted, whole = desired.maps, frozenset[str]()
    if targets is not None:
        from provisioner.planning.targets import scope

        limited = scope(targets, desired, observed, objects)
        wanted, objects, whole = limited.maps, limited.objects, limited.whole
    maps, shared = [], held_twice(observed.maps.values())
    for name, one in wanted.items():
        live = observed.maps.get(name)
        blocks = () if live is None else observe.blocks(desired, one, live, slots_to_read(one, live), source)
        maps.append(diff_map(one, live, blocks, observed.meta, shared))
    links = diff_links(observed, objects, check_interfaces)
    if targets is not None:
        from provisioner.planning.targets import links_of

        links = links_of(objects.values(), links)
    return make_plan(desired, observed, maps, objects.values(), links, overrides, targets, whole)
