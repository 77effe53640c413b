"""What is live, decoded with the spec's types, as the nodes of a report: read as they are walked, never all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from provisioner import columns, observe
from provisioner.api import Project
from provisioner.codec.base import Bytes, Value
from provisioner.diff import Depth, replaced_because
from provisioner.report import entries
from provisioner.report.maps import kind_of, shape_value, slot_labels, what_it_is
from provisioner.report.model import Children, Kind, Limits, Node, ReportLive, Verb
from provisioner.state import DesiredMap, DesiredState, Meta, ObservedMap, ObservedState
from provisioner.words import plural


def look(project: Project, limits: Limits) -> ReportLive:
    """The live state of `project`. Raises HostError where the pin root cannot be looked at."""
    desired = project.desired
    observed = observe.observe(desired)
    maps = (_map(desired, one, observed.maps.get(name), observed.meta, limits) for name, one in desired.maps.items())
    return ReportLive(
        desired.project, desired.pin_root, observed.exists, (*maps, *_programs(observed), *_pins(observed))
    )


def _map(desired: DesiredState, one: DesiredMap, live: ObservedMap | None, meta: Meta | None, limits: Limits) -> Node:
    kind, text = kind_of(one), what_it_is(one)
    if live is None:
        return Node(kind, Verb.SHOW, one.name, one.name, f"{text}: not live")
    value = {"id": live.id} | shape_value(live.shape, live.entry_shape)
    other = replaced_because(one, live, meta)
    if other:
        return Node(kind, Verb.SHOW, one.name, one.name, f"{text}: the live map differs: {other}", after=value)
    children: Children | None
    if one.outer is None:
        keys, values = next(_read(desired, one, live, 1))
        children = _entries(one, keys, values, one.name, limits)
        text += f", {plural(len(keys), 'entry', 'entries')}, id {live.id}"
    else:
        children = _slots(desired, one, live, limits)
        text += f", {children.total:,} of {plural(live.shape.max_entries, 'slot')}, id {live.id}"
    return Node(kind, Verb.SHOW, one.name, one.name, text, after=value, children=children)


def _slots(desired: DesiredState, one: DesiredMap, live: ObservedMap, limits: Limits) -> Children:
    total = len(live.slots.inner_ids)
    shown = total if limits.slots is None else min(total, limits.slots)

    def make() -> Iterator[Node]:
        labels = slot_labels(one, live.slots.keys[:shown])
        ids = live.slots.inner_ids[:shown].tolist()
        for (label, key), inner_id, (keys, values) in zip(labels, ids, _read(desired, one, live, shown), strict=True):
            yield _slot(one, label, key, inner_id, keys, values, limits)

    return Children(Kind.INNER_MAP, total, shown, make)


def _slot(one: DesiredMap, label: str, key: Value, inner_id: int, keys: Bytes, values: Bytes, limits: Limits) -> Node:
    address = f"{one.name}{label}"
    held = plural(len(keys), "entry", "entries") if one.entry_shape.is_listable else "entries can't be listed"
    text = f"{held}, id {inner_id}"
    children = _entries(one, keys, values, address, limits)
    return Node(Kind.INNER_MAP, Verb.SHOW, address, label, text, after={"id": inner_id}, key=key, children=children)


def _entries(one: DesiredMap, keys: Bytes, values: Bytes, address: str, limits: Limits) -> Children:
    shown = len(keys) if limits.entries is None else min(len(keys), limits.entries)
    order = columns.order_of(keys, one.key.number_order)[:shown]
    return Children(
        Kind.ENTRY,
        len(keys),
        shown,
        lambda: entries.listed(one, keys[order], values[order], address, Verb.SHOW),
    )


def _read(desired: DesiredState, one: DesiredMap, live: ObservedMap, count: int) -> Iterator[tuple[Bytes, Bytes]]:
    """Keys and values of the first `count` slots; zeros of arrays are left out."""
    depth = np.full(len(live.slots.inner_ids), Depth.ENTRIES if one.entry_shape.is_listable else Depth.SHAPE, np.uint8)
    depth[count:] = Depth.NOTHING
    for block in observe.blocks(desired, one, live, depth):
        for number in range(block.last - block.first):
            yield block.entries.slot(number)


def _programs(observed: ObservedState) -> Iterator[Node]:
    for pin, program in observed.programs.items():
        link = observed.links.get(f"_link_{pin}")
        place = f"attached to interface number {link.ifindex}" if link is not None else "not attached"
        value = {"id": program.id, "tag": program.tag, "ifindex": link.ifindex if link is not None else None}
        text = f"program, id {program.id}, tag {program.tag}, {place}"
        yield Node(Kind.PROGRAM, Verb.SHOW, pin, pin, text, after=value)


def _pins(observed: ObservedState) -> Iterator[Node]:
    for pin in observed.other_pins:
        yield Node(Kind.PIN, Verb.SHOW, pin, pin, "a pin that the spec does not name")
