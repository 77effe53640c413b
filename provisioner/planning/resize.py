"""Outer maps of another size, type or flags: a new map takes over the live inner maps, and nothing is lost. Pure.

The kernel cannot change the shape of a map. An inner map can be in two outer maps at once, so the new one gets
those that stay by their fds, in one batch, before it takes the pin: same ids, same contents, and what programs write.
"""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from provisioner.model.desired import DesiredMap
from provisioner.model.entry_table import Index, as_indexes
from provisioner.model.map_shape import shape_differences
from provisioner.model.observed import ObservedMap
from provisioner.model.record import Meta
from provisioner.planning.changes import Action, MapChange


def is_resize(desired: DesiredMap, observed: ObservedMap, meta: Meta | None) -> bool:
    """Whether the live outer map differs from the spec in what its slots do not depend on: size, type and flags.

    A map that another process pinned in the place of the recorded one is not the project's to take over. One that a
    killed apply pinned there is.
    """
    if desired.outer is None or desired.adopted is not None or not observed.shape.is_outer:
        return False
    if meta is not None and meta.maps.get(desired.name, observed.id) not in (observed.id, observed.replaced):
        return False
    alike = replace(desired.shape, map_type=observed.shape.map_type, map_flags=observed.shape.map_flags)
    return bool(shape_differences(desired.shape, observed.shape)) and not shape_differences(
        alike, observed.shape, capacity=False
    )


def carried(change: MapChange) -> Index:
    """Rows of the slots whose live inner maps go into the new map; slots that are replaced get theirs afterwards."""
    live = (change.slots.observed >= 0) & (change.slots.action != Action.DELETE)
    return np.flatnonzero(live)


def out_of_range(change: MapChange) -> Index:
    """Rows of the slots that stay and that an array of the new size does not have."""
    rows = np.flatnonzero(change.slots.action != Action.DELETE)
    outer, shape = change.desired.outer, change.desired.shape
    if outer is None or not shape.is_array:
        return rows[:0]
    outside: Index = rows[as_indexes(change.slots.keys[rows], outer.key.number_order or "little") >= shape.max_entries]
    return outside
