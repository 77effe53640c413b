"""Whether the inserts of a plan have room with the entries that stay, and where only after deletes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from provisioner.codec.display import format_value
from provisioner.model import entry_table
from provisioner.model.entry_table import Index
from provisioner.model.location import Location
from provisioner.model.spec import OnReplace
from provisioner.model.uapi import LRU_TYPES
from provisioner.planning import resize
from provisioner.planning.changes import Action, EntryAction, MapChange
from provisioner.planning.hazards import Refusal

_REFUSED: Final = 20
"""Slots of one map that are refused: more say no more."""


def slots_need_deletes(change: MapChange) -> bool:
    """Whether new slots have room only after others are deleted. Where they have it, programs never miss a key."""
    slots = change.slots
    live = int((slots.observed >= 0).sum())
    room = change.desired.shape.max_entries
    if change.keeps_contents or change.desired.shape.is_array:
        return False
    return live + len(slots.where(Action.CREATE)) > room


def entries_need_deletes(change: MapChange, row: int) -> bool:
    """Whether the inserted entries of a slot have room only after other entries are deleted."""
    return _used(change, row) + int(change.slots.inserts[row]) > int(change.slots.capacity_before[row])


def no_room(maps: Iterable[MapChange]) -> Iterator[Refusal]:
    """A refusal for each map and slot in which what stays and what is inserted exceed `max_entries`."""
    for change in maps:
        if change.resized:
            yield from _out_of_range(change)
        if change.observed is not None and (change.keeps_contents or change.action is not Action.REPLACE):
            yield from _slots(change)
            for row in _crowded(change)[:_REFUSED].tolist():
                yield _entries(change, row)


def _out_of_range(change: MapChange) -> Iterator[Refusal]:
    """Slots that stay, and that a new array with fewer slots does not have."""
    rows = resize.out_of_range(change)
    if len(rows):
        names = ", ".join(map(change.slot_address, rows[:5].tolist())) + (", ..." if len(rows) > 5 else "")
        what = f"max_entries is {change.desired.shape.max_entries:,}, and these slots stay: {names}"
        hint = "delete these slots, or raise max_entries"
        yield Refusal("no-room", change.name, what, "", change.desired.where, hint)


def _slots(change: MapChange) -> Iterator[Refusal]:
    slots, maximum = change.slots, change.desired.shape.max_entries
    if change.desired.outer is None or change.desired.shape.is_array:
        return
    used, new = int((slots.observed >= 0).sum()), slots.where(Action.CREATE)
    needed = used - len(slots.where(Action.DELETE)) + len(new)
    if needed <= maximum or not (len(new) or change.resized):
        return
    if not len(new):
        what = f"max_entries is {maximum:,}, and {needed:,} slots stay"
        hint = "delete some of these slots, or raise max_entries"
        yield Refusal("no-room", change.name, what, "", change.desired.where, hint)
        return
    row = int(new[len(new) - (needed - maximum)]) if needed - maximum <= len(new) else int(new[0])
    others = int((slots.action == Action.KEEP).sum())
    what = f"no room for this slot: {needed:,} slots are needed and max_entries is {maximum:,}; {_in_use(used, others)}"
    hint = "delete some of these slots, or recreate the map with a larger max_entries"
    yield Refusal("no-room", change.slot_address(row), what, "", change.desired.slots.places[slots.desired[row]], hint)


def _crowded(change: MapChange) -> Index:
    """Rows of slots whose inner map, live or new, has too little room."""
    slots, desired = change.slots, change.desired
    if desired.entry_shape.map_type in LRU_TYPES:  # it evicts entries instead
        return np.zeros(0, np.int64)
    ours = slots.unchanged + slots.updates + slots.inserts
    needed = np.maximum(ours, slots.others) if desired.entry_shape.is_array else ours + slots.others
    written = (slots.action == Action.UPDATE) & (needed > slots.capacity_before) & (slots.inserts > 0)
    capacity = entry_table.take(desired.slots.max_entries, slots.desired, 0)
    copied = (slots.action == Action.REPLACE) & (needed > capacity) & (slots.others > 0)
    if desired.on_replace is not OnReplace.COPY:
        copied[:] = False
    if desired.entry_shape.is_array:
        written[:] = False
    rows: Index = np.flatnonzero(written | copied)
    return rows


def _entries(change: MapChange, row: int) -> Refusal:
    desired, slots = change.desired, change.slots
    replaced = slots.action[row] == Action.REPLACE
    maximum = int(desired.slots.max_entries[slots.desired[row]] if replaced else slots.capacity_before[row])
    address, others = change.slot_address(row), int(slots.others[row])
    if desired.entry_shape.is_array:
        what = f"no room to copy index {others - 1} of the live map: max_entries is {maximum:,}"
        return Refusal("no-room", address, what, "", desired.slots.places[slots.desired[row]], _larger(others))
    ours = int(slots.unchanged[row] + slots.updates[row] + slots.inserts[row])
    key, where = _first_without_room(change, row, maximum - (ours + others - int(slots.inserts[row])))
    what = (
        f"no room{key}: {ours + others:,} entries are needed and max_entries is {maximum:,}; "
        f"{_in_use(_used(change, row), others)}"
    )
    return Refusal("no-room", address, what, "", where, _larger(ours + others))


def _in_use(used: int, others: int) -> str:
    is_, stay = ("is" if used == 1 else "are"), ("stays and is" if others == 1 else "stay and are")
    return f"{used:,} {is_} in use, {others:,} of them {stay} not in the spec"


def _larger(needed: int) -> str:
    return f"write `max_entries: {needed}` or more, or delete entries"


def _first_without_room(change: MapChange, row: int, free: int) -> tuple[str, Location]:
    """The first inserted key that has no room, for a message, and the line that asks for it."""
    desired = change.desired
    edits = change.entries.of_slot(row)
    inserted = np.flatnonzero(edits.action == EntryAction.INSERT)
    if not len(inserted):
        return " for the entries to copy", desired.slots.places[change.slots.desired[row]]
    at = int(inserted[min(max(free, 0), len(inserted) - 1)])
    key = format_value(desired.key.conceal(desired.key.decode(edits.keys[at : at + 1])[0]))
    return f" for key {key}", desired.sources.where(int(edits.row[at]))


def _used(change: MapChange, row: int) -> int:
    """Entries that are live in a slot."""
    slots = change.slots
    return int(slots.unchanged[row] + slots.updates[row] + slots.deletes[row] + slots.others[row])
