"""What changed between two looks, and how fast. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.percpu import per_cpu
from provisioner.model.entry_table import differ, match_keys
from provisioner.model.types import Bytes, Type, Value
from provisioner.views.entry_nodes import plain_values
from provisioner.views.looks import Look, MapLook, SlotLook

SAME, NEW, CHANGED = 0, 1, 2
"""What became of an entry since the last look."""

Address = tuple[str, bytes]
"""The name of a map and the key of a slot."""


class SlotChange(msgspec.Struct, frozen=True):
    """Entries of a slot since the last look: how many are new, have another value, and are gone.

    `marks` says it of each entry of the slot (SAME, NEW or CHANGED), and `before` has the values of the last look:
    zeros for new entries.
    """

    new: int
    changed: int
    gone: int
    marks: NDArray[np.uint8]
    before: Bytes

    @property
    def total(self) -> int:
        return self.new + self.changed + self.gone


class Rates(msgspec.Struct, frozen=True):
    """The changes of the slots that changed; `seconds` is the time between the looks, 0 after the first one.

    `slots` are new and gone slots by the name of their outer map.
    """

    seconds: float = 0.0
    changes: Mapping[Address, SlotChange] = {}
    slots: Mapping[str, tuple[int, int]] = {}

    def of_map(self, name: str) -> tuple[int, int, int]:
        """New, changed and gone entries of all slots of a map."""
        own = [change for (map_name, _), change in self.changes.items() if map_name == name]
        return sum(each.new for each in own), sum(each.changed for each in own), sum(each.gone for each in own)


FIRST: Final = Rates()


def between(before: Look, after: Look, seconds: float) -> Rates:
    """What changed from one look to the next."""
    known = {map_.name: {slot.key: slot for slot in map_.slots} for map_ in before.maps}
    changes: dict[Address, SlotChange] = {}
    slots: dict[str, tuple[int, int]] = {}
    for map_ in after.maps:
        old = known.get(map_.name, {})
        live = {slot.key for slot in map_.slots if slot.capacity}
        was_live = {key for key, slot in old.items() if slot.capacity}
        if map_.is_outer and live != was_live:
            slots[map_.name] = len(live - was_live), len(was_live - live)
        for slot in map_.slots:
            change = _change(map_, old.get(slot.key), slot)
            if change is not None:
                changes[map_.name, slot.key] = change
    return Rates(seconds, changes, slots)


def _change(map_: MapLook, old: SlotLook | None, slot: SlotLook) -> SlotChange | None:
    """None if nothing changed."""
    zeros = np.zeros_like(slot.values)
    marks = np.zeros(len(slot.keys), np.uint8)
    if old is None:
        marks[:] = NEW
        return SlotChange(len(marks), 0, 0, marks, zeros) if len(marks) else None
    if np.array_equal(old.keys, slot.keys) and np.array_equal(old.values, slot.values):
        return None
    pairs = match_keys(old.keys, slot.keys)
    zeros[pairs.both_right] = old.values[pairs.both_left]
    differs = differ(zeros, slot.values)
    marks[differs] = CHANGED
    gone = len(pairs.left_only)
    if map_.is_array:  # its elements are always there: zeros are left out of a look
        return _counted(marks, 0, gone, zeros)
    marks[pairs.right_only] = NEW
    return _counted(marks, gone, 0, zeros)


def _counted(marks: NDArray[np.uint8], gone: int, zeroed: int, before: Bytes) -> SlotChange | None:
    new, changed = int((marks == NEW).sum()), int((marks == CHANGED).sum()) + zeroed
    return SlotChange(new, changed, gone, marks, before) if new + changed + gone else None


def by_rate(slots: Sequence[SlotLook], name: str, rates: Rates) -> list[int]:
    """Positions of slots: those with the most changes first, otherwise in the order of the spec."""
    changes = [rates.changes.get((name, slot.key)) for slot in slots]
    return sorted(range(len(slots)), key=lambda at: -(each.total if (each := changes[at]) is not None else 0))


def totals(type_: Type, rows: Bytes) -> list[Value]:
    """Decoded values without sensitive ones; integers of per-CPU values are added up over the CPUs."""
    each = per_cpu(type_)
    if each is None:
        return plain_values(type_, rows)
    parts = np.ascontiguousarray(rows).reshape(len(rows) * each.cpus, each.stride)[:, : each.element.size]
    values = plain_values(each.element, np.ascontiguousarray(parts))
    return [_total(values[at : at + each.cpus]) for at in range(0, len(values), each.cpus)]


def _total(values: list[Value]) -> Value:
    """The sum of integers, member by member; of other values, the one that all CPUs have, else the list."""
    first = values[0]
    if all(_is_number(value) for value in values):
        return sum(values)
    if isinstance(first, dict):
        return {name: _total([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_total(list(parts)) for parts in zip(*values, strict=True)]
    return first if all(value == first for value in values) else values


def _is_number(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def rate(before: Value, after: Value, seconds: float) -> str:
    """`+120/s`, or `packets +120/s, bytes +9,000/s`: how fast integers change; empty for those that do not."""
    return ", ".join(f"{name} {text}".lstrip() for name, text in _rates("", before, after, seconds)) if seconds else ""


def _rates(name: str, before: Value, after: Value, seconds: float) -> Iterator[tuple[str, str]]:
    if _is_number(before) and _is_number(after):
        if before != after:
            yield name, per_second(after - before, seconds, sign="+")
    elif isinstance(before, dict) and isinstance(after, dict):
        for part in after:
            yield from _rates(f"{name}.{part}".lstrip("."), before.get(part), after[part], seconds)
    elif isinstance(before, list) and isinstance(after, list):
        for number, pair in enumerate(zip(before, after, strict=False)):
            yield from _rates(f"{name}[{number}]", *pair, seconds)


def per_second(count: int, seconds: float, *, sign: str = "") -> str:
    """`1,200/s`, `0.5/s`."""
    speed = count / seconds
    places = 0 if abs(speed) >= 10 or speed == int(speed) else 1
    return f"{speed:{sign},.{places}f}/s"
