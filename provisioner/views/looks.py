"""What a live view shows of one moment: the contents of all maps as bytes, which two looks are compared by.

A look has no object for an entry: values are decoded for the lines on the screen only.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from provisioner.codec.percpu import per_cpu
from provisioner.model.address import Place
from provisioner.model.types import Bytes, Type
from provisioner.model.uapi import MapType
from provisioner.model.words import plural
from provisioner.planning.changes import Action, MapChange
from provisioner.planning.plan import Plan
from provisioner.views.map_nodes import slot_labels, what_it_is
from provisioner.views.moment import Moment


class SlotLook(msgspec.Struct, frozen=True):
    """An inner map, or the contents of a plain map, whose `label` is empty.

    `capacity` is 0 where nothing is live. `keys` and `values` are in the order of the kernel; where `is_part` is true,
    they are one entry of several.
    """

    key: bytes
    label: str
    capacity: int
    keys: Bytes
    values: Bytes
    is_part: bool = False


class MapLook(msgspec.Struct, frozen=True):
    """A map; `text` says what it is, `problem` why its contents are not shown.

    `capacity` is the number of its slots, of which `used` are live, or that of the entries of a plain map. `slots` can
    be one of them. `is_array` is said of its entries, whose zeros are left out; `is_fixed` of its slots: they are those
    of an array.
    """

    name: str
    text: str
    is_outer: bool
    capacity: int
    key: Type
    value: Type
    used: int = 0
    is_array: bool = False
    is_fixed: bool = False
    is_listable: bool = True
    problem: str = ""
    slots: tuple[SlotLook, ...] = ()


class Look(msgspec.Struct, frozen=True):
    """The maps of a project at one moment, in the order of the spec, as `show --watch` compares them."""

    project: str
    pin_root: str
    maps: tuple[MapLook, ...]


def take(plan: Plan, moment: Moment, place: Place | None = None, *, has_spec: bool = True) -> Look:
    """What `plan` observed in `moment`, or the part of it at `place`. A slot of the spec that is not live is empty."""
    names = plan.maps if place is None else (place.map.name,)
    maps = tuple(_map(plan.maps[name], moment, place, has_spec) for name in names)
    return Look(plan.desired.project, str(plan.desired.pin_root), maps)


def _map(change: MapChange, moment: Moment, place: Place | None, has_spec: bool) -> MapLook:
    desired, live = change.desired, change.observed
    problem = ""
    if live is None:
        problem = "not live"
    elif change.action is Action.REPLACE:
        problem = f"the live map differs: {change.reason}"
    text = what_it_is(desired)
    if (each := per_cpu(desired.value)) is not None:
        text += f", sums of {plural(each.cpus, 'CPU')}"
    return MapLook(
        name=desired.name,
        text=text,
        is_outer=desired.outer is not None,
        capacity=live.shape.max_entries if live is not None else 0,
        key=desired.key,
        value=desired.value,
        used=len(live.slots.inner_ids) if live is not None and desired.outer is not None else 0,
        is_array=desired.entry_shape.is_array,
        is_fixed=desired.shape.map_type is MapType.ARRAY_OF_MAPS,
        is_listable=desired.entry_shape.is_listable,
        problem=problem,
        slots=() if problem else tuple(_slots(change, moment, place, has_spec)),
    )


def _slots(change: MapChange, moment: Moment, place: Place | None, has_spec: bool) -> Iterator[SlotLook]:
    """In the order of the spec."""
    desired, slots = change.desired, change.slots
    if desired.outer is None:
        yield _slot(change, moment, 0, b"", "", place)
        return
    labels = slot_labels(desired, slots.keys)
    for key, number, (label, _) in zip(slots.keys, slots.observed.tolist(), labels, strict=True):
        wanted = place is None or place.slot is None or bool((key == place.slot).all())
        if wanted and (number >= 0 or has_spec):
            yield _slot(change, moment, number, key.tobytes(), label, place)


def _slot(change: MapChange, moment: Moment, number: int, key: bytes, label: str, place: Place | None) -> SlotLook:
    if number < 0:
        entries = change.desired.entries
        return SlotLook(key, label, 0, entries.keys[:0], entries.values[:0])
    keys, values = moment.slot(change.name, number)
    entry = None if place is None else place.entry
    if entry is not None:
        rows = (keys == entry).all(axis=1)
        keys, values = keys[rows], values[rows]
    return SlotLook(key, label, moment.capacity(change.name, number), keys, values, entry is not None)
