"""The addresses that start with a given text, for completion in a shell. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from provisioner.codec.display import display
from provisioner.codec.long_values import LONG
from provisioner.model import entry_table
from provisioner.model.address import Place, find, parse
from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError
from provisioner.model.types import Bytes, Type

MOST: Final = 200
"""The most keys of one map that are offered."""


def complete(beginning: str, desired: DesiredState) -> Iterator[str]:
    """Addresses of the spec, one level at a time: maps, then slots, then entries."""
    whole, bracket, part = beginning.rpartition("[")
    if not bracket:
        yield from (name for name in desired.maps if name.startswith(beginning))
        return
    try:
        place = find(parse(whole), desired)
    except InputError:
        return
    if place.entry is None:
        yield from (f"{whole}[{key}]" for key in _keys(*_below(place), part))


def complete_target(beginning: str, desired: DesiredState) -> Iterator[str]:
    """The same for --target: objects, maps and slots."""
    yield from (name for name in desired.objects if name.startswith(beginning))
    name, bracket, _ = beginning.partition("[")
    desired_map = desired.maps.get(name)
    if not bracket or (desired_map is not None and desired_map.outer is not None):
        yield from (address for address in complete(beginning, desired) if len(parse(address).keys) < 2)


def _below(place: Place) -> tuple[Type, Bytes]:
    """The keys one level below a place, in order."""
    desired = place.map
    if place.slot is None and desired.outer is not None:
        return desired.outer.key, desired.slots.keys
    slots = np.arange(1) if desired.outer is None else np.flatnonzero((desired.slots.keys == place.slot).all(axis=1))
    if not len(slots):
        return desired.key, np.zeros((0, desired.key.size), np.uint8)
    keys, _ = desired.entries.slot(int(slots[0]))
    return desired.key, keys[entry_table.order_of(keys, desired.key.number_order)]


def _keys(kind: Type, rows: Bytes, part: str) -> Iterator[str]:
    if kind.size > LONG or kind.sensitive:
        return
    count = 0
    for row in rows:
        text = display(kind, row)
        if text.startswith(part):
            yield text
            count += 1
            if count == MOST:
                return
