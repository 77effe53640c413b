"""The lines of `show --watch`: maps, slots and entries, folded or not. Only those on the screen are made. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

import msgspec
import numpy as np

from provisioner.codec.display import brief, format_value
from provisioner.model.entry_table import order_of
from provisioner.report.model import ENTRIES, SLOTS
from provisioner.report.style import Colour
from provisioner.views import rates
from provisioner.views.entry_nodes import plain_values
from provisioner.views.looks import Look, MapLook, SlotLook
from provisioner.views.rates import CHANGED, NEW, SAME, Address, Rates, SlotChange, per_second

FULL: Final = 90
"""From this fill in percent, a map is marked."""

_COUNT: Final = 22
_CHANGES: Final = 16
_RATE: Final = 9
_LEAST: Final = 12
"""Columns that must be left for the type of a map."""

_MARKS: Final[Mapping[int, tuple[str, Colour | None]]] = {
    SAME: (" ", None),
    NEW: ("+", "green"),
    CHANGED: ("~", "yellow"),
}


class Line(msgspec.Struct, frozen=True):
    """A line of the list. `address` is the map or slot that it folds, None for an entry."""

    text: str
    colour: Colour | None = None
    address: Address | None = None


class Listing:
    """All lines of a look: `make` makes some of them. Positions are computed without a value for each entry.

    `unfolded` are the maps (with an empty key) and slots whose lists are shown.
    """

    def __init__(self, look: Look, changes: Rates, unfolded: frozenset[Address], *, by_rate: bool = False) -> None:
        self._rates = changes
        self._unfolded = unfolded
        self._groups: list[tuple[MapLook, SlotLook | None]] = []
        counts: list[int] = []
        for map_ in look.maps:
            plain = map_.slots[0] if map_.slots and not map_.is_outer else None
            is_open = (map_.name, b"") in unfolded
            self._groups.append((map_, plain))
            counts.append(1 + (len(plain.keys) if plain is not None and is_open else 0))
            if not map_.is_outer or not is_open:
                continue
            order = rates.by_rate(map_.slots, map_.name, changes) if by_rate else range(len(map_.slots))
            for slot in (map_.slots[at] for at in order):
                self._groups.append((map_, slot))
                counts.append(1 + (len(slot.keys) if (map_.name, slot.key) in unfolded else 0))
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def make(self, first: int, last: int, width: int) -> list[Line]:
        """The lines first..last-1, for a terminal that is `width` wide."""
        lines: list[Line] = []
        at, last = max(first, 0), min(last, len(self))
        while at < last:
            group = bisect_right(self._ends, at)
            map_, slot = self._groups[group]
            start = self._ends[group - 1] if group else 0
            if at == start:
                lines.append(self._head(map_, slot, width))
                at += 1
            end = min(last, self._ends[group])
            if at < end and slot is not None:
                lines += self._entries(map_, slot, at - start - 1, end - start - 1, width)
                at = end
        return lines

    def head_of(self, line: int) -> int:
        """The line that folds the list which a line is in: its slot's or its map's; the line itself for a map."""
        group = bisect_right(self._ends, line)
        start = self._ends[group - 1] if group else 0
        if line > start:
            return start
        map_, slot = self._groups[group]
        while group and slot is not None and map_.is_outer:
            group -= 1
            slot = self._groups[group][1]
        return self._ends[group - 1] if group else 0

    def _head(self, map_: MapLook, slot: SlotLook | None, width: int) -> Line:
        is_slot = map_.is_outer and slot is not None
        address = map_.name, slot.key if is_slot and slot is not None else b""
        has_list = bool(map_.slots) if slot is None else bool(len(slot.keys))
        mark = (" " if not has_list else "v" if address in self._unfolded else ">") + " "
        name = f"  {mark}{slot.label}" if is_slot and slot is not None else f"{mark}{map_.name}"
        name = fitted(name, name_width(width))
        if map_.problem:
            return Line(f"{name}  {map_.problem}", "red", address)
        if slot is not None and not slot.capacity:
            return Line(f"{name}  not live", "red", address)
        count, fill = _filled(map_, slot)
        new, changed, gone = self._counts(map_, slot)
        total = new + changed + gone
        changes = _changes(new, changed, gone)
        if slot is None and map_.name in self._rates.slots:
            appeared, vanished = self._rates.slots[map_.name]
            changes = f"slots {_changes(appeared, 0, vanished)}"
        text = f"{name}  {count:<{_COUNT}}{fill:>5}  {changes:<{_CHANGES}}"
        text += f"{per_second(total, self._rates.seconds) if total and self._rates.seconds else '':>{_RATE}}"
        if not is_slot and width - len(text) > _LEAST:
            text += f"  {map_.text}"
        is_full = fill != "" and int(fill[:-1]) >= FULL
        return Line(text.rstrip(), "red" if is_full else "yellow" if changes else None, address)

    def _counts(self, map_: MapLook, slot: SlotLook | None) -> tuple[int, int, int]:
        if slot is None:
            return self._rates.of_map(map_.name)
        change = self._rates.changes.get((map_.name, slot.key))
        return (change.new, change.changed, change.gone) if change is not None else (0, 0, 0)

    def _entries(self, map_: MapLook, slot: SlotLook, first: int, last: int, width: int) -> list[Line]:
        rows = order_of(slot.keys, map_.key.number_order)[first:last]
        change: SlotChange | None = self._rates.changes.get((map_.name, slot.key))
        keys, values = plain_values(map_.key, slot.keys[rows]), rates.totals(map_.value, slot.values[rows])
        before = values if change is None else rates.totals(map_.value, change.before[rows])
        marks = np.zeros(len(rows), np.uint8) if change is None else change.marks[rows]
        lines = []
        for key, value, old, mark in zip(keys, values, before, marks.tolist(), strict=True):
            indent = "      " if map_.is_outer else "    "
            sign, colour = _MARKS[mark]
            name = fitted(f"{indent[:-2]}{sign} {format_value(key)}", name_width(width))
            speed = rates.rate(old, value, self._rates.seconds) if mark == CHANGED else ""
            room = width - len(name) - 2 - (len(speed) + 2 if speed else 0)
            lines.append(Line(f"{name}  {fitted(brief(value), max(room, 8))}  {speed}".rstrip(), colour))
        return lines


def heading(width: int) -> str:
    """The names of the columns."""
    name = fitted("  NAME", name_width(width))
    return f"{name}  {'ENTRIES':<{_COUNT}}{'FILL':>5}  {'CHANGES':<{_CHANGES}}{'RATE':>{_RATE}}"


def at_first(look: Look) -> frozenset[Address]:
    """The maps whose lists are shown at first: those that `show` does not cut."""
    return frozenset(
        (map_.name, b"")
        for map_ in look.maps
        if (len(map_.slots) <= SLOTS if map_.is_outer else all(len(slot.keys) <= ENTRIES for slot in map_.slots))
    )


def name_width(width: int) -> int:
    """The width of the first column: what the other columns leave at 80, a third of a wide terminal."""
    return max(width // 3, 22) if width > 90 else 22


def fitted(text: str, width: int) -> str:
    """A text cut or filled to a width."""
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "~"


def _filled(map_: MapLook, slot: SlotLook | None) -> tuple[str, str]:
    """How much of a map is in use, as a count and in percent."""
    if slot is None:
        fill = "" if map_.is_fixed else _percent(map_.used, map_.capacity)
        return f"{map_.used:,} of {map_.capacity:,} slots", fill
    if not map_.is_listable or slot.is_part:
        return f"{slot.capacity:,} at most", ""
    if map_.is_array:  # it never runs full
        return f"{len(slot.keys):,} of {slot.capacity:,} set", ""
    return f"{len(slot.keys):,} of {slot.capacity:,}", _percent(len(slot.keys), slot.capacity)


def _percent(count: int, capacity: int) -> str:
    return f"{100 * count // capacity}%" if capacity else ""


def _changes(new: int, changed: int, gone: int) -> str:
    parts = (("+", new), ("~", changed), ("-", gone))
    return " ".join(f"{sign}{count:,}" for sign, count in parts if count)
