"""The slots and entries of a map that is migrated, and that the spec does not list. Pure."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.model import entry_table
from provisioner.model.desired import EXACT, IGNORE, DesiredMap, DesiredSlots
from provisioner.model.entry_table import Element, Index
from provisioner.model.observed import ObservedMap
from provisioner.model.spec import ExtraInnerMaps
from provisioner.model.types import Bytes
from provisioner.planning.diff_slots import kept_slots


class Staying:
    """Which rows of a block stay although the spec does not list them."""

    def __init__(self, desired: DesiredMap, wanted: Index, slot: Index, keys: Bytes) -> None:
        self._desired, self._wanted, self._slot, self._keys = desired, wanted, slot, keys

    def unlisted(self, rows: Index) -> NDArray[np.bool_]:
        """Which of `rows` are in maps that hold entries of others."""
        at = self._wanted[self._slot[rows]]
        contents = entry_table.take(self._desired.slots.contents, at, EXACT)
        kept: NDArray[np.bool_] = (at >= 0) & (contents != EXACT)
        if self._desired.owned:
            order = self._desired.key.number_order
            kept |= (at >= 0) & ~entry_table.within(self._keys[rows], order, self._desired.owned)
        return kept

    def owner(self, row: int) -> int:
        """The desired slot that a row is in."""
        return int(self._wanted[self._slot[row]])

    def unlisted_rows(self, rows: Index) -> Index:
        return rows[self.unlisted(rows)]

    def of(self, rows: Index) -> Index:
        """Those of `rows` that the spec does not list, in maps that hold entries of others."""
        rows = self.unlisted_rows(rows)
        if not len(rows):
            return rows
        table, at = self._desired.entries, self._wanted[self._slot[rows]]
        owners = np.unique(at)
        counts = table.counts[owners]
        listed = entry_table.slices(table.starts[owners], counts)
        number = np.searchsorted(owners, at)
        first = np.repeat(np.arange(len(owners), dtype=np.int64), counts)
        matched = entry_table.match(number, self._keys[rows], first, table.keys[listed])
        return rows[np.sort(matched.left_only)]


def desired_slots(desired: DesiredMap, observed: ObservedMap) -> Index:
    """The desired slot of each observed one, -1 where it has none."""
    left, right = desired.slots.keys, observed.slots.keys
    pairs = entry_table.match(np.zeros(len(left), np.int64), left, np.zeros(len(right), np.int64), right)
    wanted = np.full(len(right), -1, np.int64)
    wanted[pairs.both_right] = pairs.both_left
    return wanted


def with_kept_slots(desired: DesiredMap, observed: ObservedMap) -> DesiredMap:
    """The same map, with the live slots that policy keeps as slots whose contents are not the spec's.

    A new outer map takes no inner maps of the old shape, so these are carried over as all others are. Their capacity
    is 0 until it is read. With `extra_inner_maps: fail`, only slots outside of `owned_keys` may be there.
    """
    outer = desired.outer
    if outer is None:
        return desired
    extra = observed.slots.keys[kept_slots(desired, observed)]
    if outer.extra_inner_maps is ExtraInnerMaps.FAIL:
        extra = extra[~entry_table.within(extra, outer.key.number_order, outer.owned)]
    if not len(extra):
        return desired
    old, count = desired.slots, len(extra)
    keys = np.concatenate((old.keys, extra))
    order = entry_table.order_of(keys, outer.key.number_order)

    def joined(column: NDArray[Element], value: int) -> NDArray[Element]:
        return np.concatenate((column, np.full(count, value, column.dtype)))[order]

    places = (*old.places, *([desired.where] * count))
    slots = DesiredSlots(
        keys[order],
        joined(old.max_entries, 0),
        joined(old.contents, IGNORE),
        joined(old.shared, -1),
        tuple(places[number] for number in order.tolist()),
        None if old.members is None else joined(old.members, -1),
    )
    table = desired.entries
    starts, counts = joined(table.starts, 0), joined(table.counts, 0)
    return replace(desired, slots=slots, entries=replace(table, starts=starts, counts=counts))
