"""Takes a snapshot of this host for a project. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from provisioner.kernel import host as this_host
from provisioner.kernel.reasons import KernelError
from provisioner.model import entry_table
from provisioner.model.attachment import HookOrder
from provisioner.model.desired import IGNORE, DesiredMap, DesiredState
from provisioner.model.errors import HostError
from provisioner.model.map_shape import MapShape
from provisioner.model.pins import META_PIN, OLD_PREFIX, is_link, is_reserved, managed, map_path
from provisioner.model.spec import ExtraInnerMaps, OnReplace
from provisioner.model.uapi import MapType
from provisioner.observed import pinned_btf
from provisioner.observed.live_source import LiveSource
from provisioner.observed.moved import live_root
from provisioner.observed.snapshot import Header, Held, Snapshot
from provisioner.observed.sources import SeenEntries, SeenMap


def take(desired: DesiredState, btf_pins: Collection[str] = ()) -> Snapshot:
    """All that plans of this project ask of this host: the maps that the spec names or that are pinned in its root.

    `btf_pins` are those of the maps that it takes types from, and `vmlinux` for the kernel. Entries are read of those
    maps of which the spec lists any, or that it can migrate or would delete. Raises HostError.
    """
    source = LiveSource(desired)
    root = Path(live_root(desired, source))
    source.check(root)
    pins = source.pins(root)
    where = replace(desired, pin_root=str(root))
    wanted = {str(map_path(where, one)): one for one in desired.maps.values()}
    old = {str(root / move.old): desired.maps[move.new] for move in desired.moved if move.new in desired.maps}
    wanted |= {path: each for path, each in old.items() if path.rpartition("/")[2] in pins}
    sections = {str(root / section.pin) for object_ in desired.objects.values() for section in object_.variables}
    record = source.meta(root / META_PIN) if META_PIN in pins else None
    elsewhere = record.places.values() if record is not None else ()
    shown = (pin for pin in pins if not is_reserved(pin) or pin.startswith(OLD_PREFIX))
    paths = {*wanted, *sections, *elsewhere, *(str(root / pin) for pin in shown)}
    maps = {path: seen for path in sorted(paths) if (seen := _map(source, path, wanted.get(path))) is not None}
    programs = {program.pin for one in desired.objects.values() for program in one.programs}
    programs |= {move.old for move in desired.moved if move.new in programs}
    programs &= set(pins)
    own = {seen.id for seen in maps.values() if seen.id}
    frozen = {seen.id for seen in maps.values() if seen.frozen}
    for path, seen in maps.items():
        frozen |= source.frozen(Path(path), sorted(set(seen.inner_ids.tolist())))
    pinned = {pin: source.program(root / pin) for pin in sorted(programs)}
    users = source.users({program.id: pin for pin, program in pinned.items()})
    inner_pins = source.inner_pins(root)
    system = os.uname()
    header = Header(
        host=system.nodename,
        kernel=system.release,
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        byteorder=desired.host.byteorder,
        possible_cpus=desired.host.possible_cpus,
        project=desired.project,
        pin_root=where.pin_root,
        exists=source.exists(root),
        pins=pins,
        meta=record.to_json() if record is not None else None,
        programs=pinned,
        links={pin: source.link(root / pin) for pin in pins if is_link(pin)},
        interfaces=this_host.interfaces(),
        cgroups=this_host.cgroups(),
        namespaces=_numbers(source, desired, "netns"),
        files=_numbers(source, desired, "file"),
        cpus=_numbers(source, desired, "cpu"),
        occupants=_occupants(source, desired),
        orders=_orders(source, desired),
        inner_pins=inner_pins,
        frozen=tuple(sorted(frozen)),
        directories=source.directories(root),
        misplaced_pins=source.misplaced_pins(root),
        live=tuple(sorted(source.live_ids(record.maps.values()))) if record is not None else (),
        layouts={path: layout for path in wanted if (layout := source.layout(Path(path))) is not None},
        users={
            number: names
            for number, names in sorted(users.items())
            if number in own or (record is not None and number in record.maps.values())
        },
        access=source.access(root, managed(pins, inner_pins)) if desired.has_access else {},
        groups={desired.pin_group: source.gid(desired.pin_group)} if desired.pin_group is not None else {},
    )
    btf = {pin: pinned_btf.read(pin) for pin in sorted(btf_pins)}
    return Snapshot.of(header, maps, tuple(_held(source, maps, wanted, sections)), btf)


def _numbers(source: LiveSource, desired: DesiredState, kind: str) -> dict[str, int]:
    """The attach points of a kind that the spec names, by name."""
    points = (point for point in desired.attach_points if point.kind == kind)
    return {point.name: number for point in points if (number := source.number(point)) is not None}


def _occupants(source: LiveSource, desired: DesiredState) -> dict[str, int]:
    """The programs at hooks with room for one that the spec names, by the description of the attachment."""
    taken = {}
    for _, attachment in desired.attachments:
        number = source.number(attachment.point) if attachment.point is not None else None
        if number is not None and (program := source.occupant(attachment, number)):
            taken[attachment.describe()] = program
    return taken


def _orders(source: LiveSource, desired: DesiredState) -> dict[str, HookOrder]:
    """The order at the hooks of attachments that have a place in it, by the description of the attachment."""
    orders = {}
    for _, attachment in desired.attachments:
        number = source.number(attachment.point) if attachment.point is not None else None
        order = source.order(attachment, number) if number is not None else None
        if order is not None:
            orders[attachment.describe()] = order
    return orders


def _map(source: LiveSource, path: str, wanted: DesiredMap | None) -> SeenMap | None:
    """A map by its pin. One that the spec names and that is not there has the id 0; other pins may be of no map."""
    try:
        seen = source.map(Path(path))
    except (HostError, KernelError):
        if wanted is not None:
            raise
        return None
    if seen is None and wanted is not None:
        return SeenMap(0, MapShape(MapType.HASH, 0, 0, 0), np.zeros((0, 0), np.uint8), np.zeros(0, np.uint32))
    return seen


def _held(
    source: LiveSource, maps: dict[str, SeenMap], wanted: dict[str, DesiredMap], sections: Collection[str]
) -> Iterable[Held]:
    """Maps that hold entries, each once, grouped by shape."""
    groups: dict[MapShape, dict[int, tuple[SeenEntries, bool]]] = {}
    for path, seen in maps.items():
        desired = wanted.get(path)
        lists = desired is not None and (
            not len(desired.slots.contents)
            or bool((desired.slots.contents != IGNORE).any())
            or desired.migration is not None
            or desired.on_replace is OnReplace.COPY
        )
        deleted = _deleted(desired, seen)
        numbers: list[int | None] = [*seen.inner_ids.tolist()] if seen.shape.is_outer else [None] * bool(seen.id)
        for number in numbers:
            shape = seen.shape if number is None else source.inner_shape(Path(path), number)
            if shape is None:  # it went since the slots were read
                continue
            deep = (lists or path in sections or number in deleted) and shape.is_listable
            held = source.entries(Path(path), number, deep=deep)
            at = number if number is not None else seen.id
            group = groups.setdefault(replace(shape, max_entries=0), {})
            if held is not None and (deep or at not in group):  # one inner map can be in two outer maps
                group[at] = (held, deep)
    for shape, entries in groups.items():
        yield _group(shape, entries)


def _deleted(desired: DesiredMap | None, seen: SeenMap) -> frozenset[int]:
    """The inner maps that the spec would delete: a plan counts their entries, whatever it lists of the others."""
    if desired is None or desired.outer is None or desired.outer.extra_inner_maps is not ExtraInnerMaps.DELETE:
        return frozenset()
    if not seen.shape.is_outer or seen.keys.shape[1] != desired.slots.keys.shape[1]:
        return frozenset()
    extra = ~entry_table.among(seen.keys, desired.slots.keys)
    if desired.outer.owned:
        extra &= entry_table.within(seen.keys, desired.outer.key.number_order, desired.outer.owned)
    return frozenset(seen.inner_ids[extra].tolist())


def _group(shape: MapShape, entries: dict[int, tuple[SeenEntries, bool]]) -> Held:
    ids = sorted(entries)
    looked = [entries[number] for number in ids]
    keys = [held.keys for held, deep in looked if deep] or [np.zeros((0, shape.key_size), np.uint8)]
    values = [held.values for held, deep in looked if deep] or [np.zeros((0, shape.value_size), np.uint8)]
    return Held(
        shape,
        np.array(ids, np.uint32),
        np.array([held.max_entries for held, _ in looked], np.uint32),
        np.array([len(held.keys) if deep else -1 for held, deep in looked], np.int64),
        np.concatenate(keys),
        np.concatenate(values),
    )
