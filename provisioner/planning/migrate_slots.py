"""The slots and entries of a map that is migrated, and that the spec does not list. Pure."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.codec.owned import member_names
from provisioner.model import entry_table
from provisioner.model.desired import EXACT, IGNORE, DesiredMap, DesiredSlots
from provisioner.model.entry_table import Element, Index
from provisioner.model.observed import ObservedMap
from provisioner.model.spec import ExtraInnerMaps
from provisioner.model.types import Bytes
from provisioner.planning.diff_slots import kept_slots


class Staying:
    """Which rows of a block stay although the spec does not list them, and which values of their members."""

    def __init__(self, desired: DesiredMap, wanted: Index, slot: Index, keys: Bytes) -> None:
        self._desired, self._wanted, self._slot, self._keys = desired, wanted, slot, keys

    def unlisted(self, rows: Index) -> NDArray[np.bool_]:
        """Which of `rows` are in maps that hold entries of others."""
        at = self._wanted[self._slot[rows]]
        kept = self._hold_others(at)
        if self._desired.owned:
            order = self._desired.key.number_order
            kept |= (at >= 0) & ~entry_table.within(self._keys[rows], order, self._desired.owned)
        return kept

    def without_key(self, rows: Index) -> Index:
        """Those of `rows` that stay, whose keys the new map cannot have: they are in no range of ours either."""
        at = self._wanted[self._slot[rows]]
        return rows[self._hold_others(at) | ((at >= 0) & bool(self._desired.owned))]

    def owner(self, row: int) -> int:
        """The desired slot that a row is in."""
        return int(self._wanted[self._slot[row]])

    def unlisted_rows(self, rows: Index) -> Index:
        return rows[self.unlisted(rows)]

    def of(self, rows: Index) -> Index:
        """Those of `rows` that the spec does not list, in maps that hold entries of others."""
        rows = self.unlisted_rows(rows)
        return rows[~self._listed(rows)]

    def of_member(self, rows: Index, member: str) -> Index:
        """Those of `rows` whose value of a member stays; of an entry that the spec lists, if it is another writer's."""
        desired = self._desired
        if not desired.value.owns_part or is_ours(desired, member):
            return self.of(rows)
        at = self._wanted[self._slot[rows]]
        if desired.entry_shape.is_array:  # no element goes
            return rows[at >= 0]
        return rows[self.unlisted(rows) | self._listed(rows)]

    def _hold_others(self, at: Index) -> NDArray[np.bool_]:
        """Which of some desired slots have contents that are not exact."""
        hold: NDArray[np.bool_] = (at >= 0) & (entry_table.take(self._desired.slots.contents, at, EXACT) != EXACT)
        return hold

    def _listed(self, rows: Index) -> NDArray[np.bool_]:
        """Which of `rows` have a key that the spec lists; several of them can have the same one."""
        table, at = self._desired.entries, self._wanted[self._slot[rows]]
        owners = entry_table.unique(at[at >= 0])
        if not len(owners):
            return np.zeros(len(rows), np.bool_)
        counts = table.counts[owners]
        listed = _of_slots(np.repeat(owners, counts), table.keys[entry_table.slices(table.starts[owners], counts)])
        keys = _of_slots(at, self._keys[rows])
        first, number = entry_table.distinct(keys)
        return entry_table.among(keys[first], listed)[number]


def is_ours(desired: DesiredMap, member: str) -> bool:
    """Whether a member, by its dotted name, is one that the spec sets, or a part of one."""
    return any(f"{member}.".startswith(f"{name}.") for name in member_names(desired.value.owned))


def _of_slots(slot: Index, keys: Bytes) -> Bytes:
    """Keys with the numbers of their slots, as one column."""
    numbers = np.ascontiguousarray(slot, "<i8").view(np.uint8).reshape(-1, 8)
    return np.concatenate((numbers, keys), axis=1)


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
