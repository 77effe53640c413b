"""The indexes of arrays in addresses: which an array has. Pure."""

from __future__ import annotations

import numpy as np

from provisioner.model.address import Place, require_index
from provisioner.model.types import Bytes
from provisioner.planning.changes import Action, MapChange


def require(change: MapChange, place: Place) -> None:
    """Raise InputError for an index that neither the spec's array nor the live one has."""
    desired, live = change.desired, change.observed
    most = max(desired.shape.max_entries, live.shape.max_entries if live is not None else 0)
    if desired.outer is not None and place.slot is not None and desired.shape.is_array:
        require_index(place.slot, desired.outer.key, most, place.address)
    if place.entry is not None and desired.entry_shape.is_array and change.action is not Action.REPLACE:
        capacity = most if desired.outer is None else _capacity(change, row_of(change.slots.keys, place.slot))
        require_index(place.entry, desired.key, capacity, place.address)


def row_of(keys: Bytes, key: Bytes | None) -> int:
    """The first row of `keys` that equals `key`; -1 without one."""
    rows = np.flatnonzero((keys == key).all(axis=1))
    return int(rows[0]) if len(rows) else -1


def _capacity(change: MapChange, row: int) -> int:
    """The most elements of an inner map, in the spec or live; of the template where there is neither."""
    slots = change.slots
    if row < 0:
        return change.desired.entry_shape.max_entries
    desired = int(change.desired.slots.max_entries[slots.desired[row]]) if slots.desired[row] >= 0 else 0
    return max(desired, int(slots.capacity_before[row]))
