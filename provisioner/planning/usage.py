"""How full maps are: the entries or slots that they have, or get, and the most that they can have. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from provisioner.model.desired import IGNORE
from provisioner.model.uapi import LRU_TYPES
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.plan import Plan

SLOTS: Final = "slots"
ENTRIES: Final = "entries"


class Usage(msgspec.Struct, frozen=True):
    """`used` of `maximum` slots of an outer map, or entries of a map; of an outer map, of its fullest inner map."""

    map: str
    kind: str
    used: int
    maximum: int


def usage(plan: Plan) -> Iterator[Usage]:
    """The usage of all maps that can become full: arrays always have all elements, and LRU maps evict entries."""
    for change in plan.maps.values():
        if change.desired.outer is not None and not change.desired.shape.is_array:
            kept = ~change.slots.is_any(Action.DELETE)
            yield Usage(change.name, SLOTS, int(kept.sum()), change.desired.shape.max_entries)
        shape = change.desired.entry_shape
        if not shape.is_array and shape.is_listable and shape.map_type not in LRU_TYPES:
            yield from _entries(change)


def _entries(change: MapChange) -> Iterator[Usage]:
    slots, desired = change.slots, change.desired.slots
    wanted = np.flatnonzero(slots.desired >= 0)
    numbers = slots.desired[wanted]
    read = desired.contents[numbers] != IGNORE
    stay = slots.unchanged + slots.updates + slots.others
    used = (stay + np.maximum(slots.inserts, slots.deletes))[wanted][read]
    if len(used) == 0:
        return
    maximum = np.maximum(desired.max_entries[numbers], 1)[read]
    fullest = int(np.argmax(used / maximum))
    yield Usage(change.name, ENTRIES, int(used[fullest]), int(maximum[fullest]))
