"""The live state: what is pinned under the pin root, and the entries of live maps as an iterator of blocks.

Makes no system call that changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.kernel.reasons import KernelError
from provisioner.model import entry_table
from provisioner.model.attachment import AttachPoint, HookOrder
from provisioner.model.desired import PRESENT, DesiredMap, DesiredState
from provisioner.model.entry_table import EntryTable
from provisioner.model.errors import HostError, InputError
from provisioner.model.observed import ObservedBlock, ObservedLink, ObservedMap, ObservedSlots, ObservedState
from provisioner.model.pins import (
    INNER_PINS,
    META_PIN,
    OLD_PREFIX,
    TEMPORARY_PREFIXES,
    VARIABLES_PREFIX,
    adopted_pins,
    is_link,
    is_reserved,
    managed,
    map_path,
    own_path,
    owner_of,
    places,
    stale_inner_pins,
)
from provisioner.model.record import Meta
from provisioner.model.spec import OnReplace
from provisioner.model.type_layout import EntryLayout
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.observed import undeclared
from provisioner.observed.live_source import LiveSource
from provisioner.observed.moved import MovedSource, presented
from provisioner.observed.moved import live_root as moved_root
from provisioner.observed.sources import Depth, Ranges, SeenInnerMaps, Source

_NEAR: Final = 64
"""Indexes between two that are wanted, up to which one batch reads both."""


def observe(desired: DesiredState, source: Source | None = None) -> ObservedState:
    """What is live of that which the spec names, and what else is pinned there; entries apart.

    `source` is this host if not given. Raises HostError if the pin root cannot exist, or must not be read.
    """
    source = source or LiveSource(desired)
    if not desired.has_moves:
        return _observe(desired, source)
    names = MovedSource(desired, source)
    observed = _observe(desired, names)
    return replace(observed, moves=names.all_moves, stored=names.stored if names.moves.pending else None)


def _observe(desired: DesiredState, source: Source) -> ObservedState:
    root = PurePath(desired.pin_root)
    source.check(root)
    pins = source.pins(root)
    live = {
        desired_map.name: replace(live_map, replaced=_replaced(root, desired_map.name, pins, source))
        for desired_map in desired.maps.values()
        if (live_map := _map(map_path(desired, desired_map), desired_map, source)) is not None
    }
    brought = {name for one in desired.objects.values() for name in one.maps}

    def brought_map(name: str) -> ObservedMap | None:
        path, declared = own_path(desired, name), desired.maps.get(name)
        if declared is not None and map_path(desired, declared) == path:
            return live.get(name)  # looked at once: another process can pin it in between
        return live.get(name) or _map(path, None, source)

    object_maps = {name: live_map for name in sorted(brought) if (live_map := brought_map(name)) is not None}
    wanted = {
        program.pin for object_ in desired.objects.values() for program in object_.programs
    } | desired.pinned_programs.keys()
    adopted = set(adopted_pins(desired).values())
    own = {name for name in live if desired.maps[name].adopted is None}
    named = {*own, *adopted, *object_maps, *wanted} - places(desired).keys()
    inner_pins = source.inner_pins(root)

    def slots(name: str) -> list[int]:
        seen = source.map(root / name) if name not in live and name in pins else None
        ids: list[int] = seen.inner_ids.tolist() if seen is not None else []
        return live[name].slots.inner_ids.tolist() if name in live else ids

    stale = dict.fromkeys(stale_inner_pins(inner_pins, slots))
    meta = source.meta(root / META_PIN) if META_PIN in pins else None
    other = tuple(pin for pin in pins if pin not in named and not is_reserved(pin))
    other += _moved_away(meta, desired, source)
    sections = {section.pin for one in desired.objects.values() for section in one.variables}
    unwanted = {pin for pin in pins if pin.startswith(VARIABLES_PREFIX)} - sections
    leftovers = tuple(pin for pin in pins if pin.startswith(TEMPORARY_PREFIXES) or pin in unwanted)
    ours = set(managed(pins, inner_pins)).difference(other, leftovers, stale, adopted)
    links = {pin: source.link(root / pin) for pin in pins if is_link(pin)}
    points = {point: number for point in desired.attach_points if (number := source.number(point)) is not None}
    outers = [name for name, each in object_maps.items() if name not in live and each.shape.is_outer]
    return ObservedState(
        exists=source.exists(root),
        meta=meta,
        maps=live,
        object_maps=object_maps,
        programs={pin: source.program(root / pin) for pin in sorted(wanted & set(pins))},
        links=links,
        points=points,
        occupants=dict(_occupants(desired, links, points, source)),
        orders=dict(_orders(desired, points, source)),
        other_pins=other,
        held_elsewhere=undeclared.inner_ids(
            (*(own_path(desired, name) for name in outers), *(root / pin for pin in other)),
            frozenset(each.id for each in live.values()),
            source,
        ),
        leftovers=(*leftovers, *stale),
        inner_pins={
            name: frozenset(int(pin) for pin in held if f"{INNER_PINS}/{name}/{pin}" not in stale)
            for name, held in inner_pins.items()
        },
        access=source.access(root, sorted(ours)) if desired.has_access else {},
        unpinned=_unpinned(meta, {*own, *object_maps, *pins}, brought | desired.maps.keys(), source),
        directories=source.directories(root),
        misplaced_pins=source.misplaced_pins(root),
        missing=source.missing(places(desired).values()),
        gid=source.gid(desired.pin_group) if desired.pin_group is not None else None,
        jump_slots={
            name: _occupied(own_path(desired, name), desired, source)
            for name, each in object_maps.items()
            if each.shape.map_type is MapType.PROG_ARRAY
        },
        variables={
            pin: seen.values[0].tobytes()
            for pin in sorted(sections & object_maps.keys())
            if (seen := source.entries(root / pin, None, deep=True)) is not None and len(seen.values)
        },
    )


def _moved_away(meta: Meta | None, desired: DesiredState, source: Source) -> tuple[str, ...]:
    """The paths of recorded maps outside of the pin root that the spec does not name any more."""
    recorded = meta.places if meta is not None else {}
    wanted, ids = places(desired).values(), meta.maps if meta is not None else {}
    gone = [(name, path) for name, path in sorted(recorded.items()) if path not in wanted]
    return tuple(
        path for name, path in gone if (seen := source.map(PurePath(path))) is not None and seen.id == ids.get(name)
    )


def _occupants(
    desired: DesiredState, links: Mapping[str, ObservedLink], points: Mapping[AttachPoint, int], source: Source
) -> Iterator[tuple[str, int]]:
    """Programs at hooks with room for one that an attachment of the spec is to have, and does not have already."""
    for pin, attachment in desired.attachments:
        number = points.get(attachment.point) if attachment.point is not None else None
        program = source.occupant(attachment, number) if number is not None else 0
        own = {(link.target, link.program_id) for name, link in links.items() if owner_of(name) == pin}
        if program and (number, program) not in own:
            yield attachment.describe(), program


def _orders(
    desired: DesiredState, points: Mapping[AttachPoint, int], source: Source
) -> Iterator[tuple[str, HookOrder]]:
    """The order at the hooks of attachments that are to run before or after others."""
    for _, attachment in desired.attachments:
        number = points.get(attachment.point) if attachment.point is not None else None
        order = source.order(attachment, number) if number is not None else None
        if order is not None:
            yield attachment.describe(), order


def _occupied(path: PurePath, desired: DesiredState, source: Source) -> frozenset[int]:
    """The occupied slots of an array."""
    seen = source.entries(path, None, deep=True)
    order = desired.host.byteorder
    return frozenset(int.from_bytes(key.tobytes(), order) for key in seen.keys) if seen is not None else frozenset()


def _unpinned(meta: Meta | None, pinned: Container[str], named: Container[str], source: Source) -> dict[str, int]:
    """The maps of the record that the spec still names, and whose pin is gone although they are live.

    A destroy that was killed leaves them under another name (`_old_`): those are no longer wanted.
    """
    recorded = meta.maps if meta is not None else {}
    missing = {
        name: number
        for name, number in recorded.items()
        if name in named and name not in pinned and OLD_PREFIX + name not in pinned
    }
    live = source.live_ids(missing.values()) if missing else frozenset[int]()
    return {name: number for name, number in sorted(missing.items()) if number in live}


def live_root(desired: DesiredState) -> PurePath:
    """The directory that the project's pins are in now: an older pin root until it is moved."""
    return moved_root(desired, LiveSource(desired)) if desired.moved_roots else PurePath(desired.pin_root)


class LiveReader:
    """The live maps of one desired state as a comparison reads them; `source` is this host if not given.

    `compared` is called with the slots that were read so far, and with how many the spec has.
    """

    compared: Callable[[int, int], None] | None = None

    def __init__(self, desired: DesiredState, source: Source | None = None) -> None:
        self._desired = desired
        self._source = presented(desired, source or LiveSource(desired))
        self._slots_read = 0
        self._slots = sum(len(each.slots.keys) for each in desired.maps.values())

    def blocks(self, desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
        reader = _Reader(desired, self._source, depth, self.ranges(desired))
        path = map_path(self._desired, desired)
        for first, last in runs(np.flatnonzero(depth != Depth.NOTHING).tolist()):
            at = first
            while at < last:
                start = at
                at, block = reader.block(path, live, at, last)
                self._read(at - start)
                yield block

    def _read(self, slots: int) -> None:
        """So many slots more were read."""
        self._slots_read += slots
        if self.compared is not None:
            self.compared(self._slots_read, self._slots)

    def pin_of(self, desired: DesiredMap) -> PurePath:
        """Where a map is pinned now."""
        path = map_path(self._desired, desired)
        return self._source.at(path) if isinstance(self._source, MovedSource) else path

    def ranges(self, desired: DesiredMap) -> Ranges | None:
        """What is read of a map with entries: of an array, these ranges of indexes without zeros; None for all."""
        return compared_ranges(desired)

    def old_blocks(self, desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
        return LiveReader.blocks(self, desired, live, depth)

    def layout(self, desired: DesiredMap) -> EntryLayout | None:
        return self._source.layout(map_path(self._desired, desired))

    def object_layout(self, name: str) -> EntryLayout | None:
        return self._source.layout(own_path(self._desired, name))

    def object_entries(self, name: str) -> int | None:
        path = own_path(self._desired, name)
        seen = self._source.map(path)
        if seen is None or not seen.shape.is_listable:
            return None
        try:
            held = self._source.entries(path, None, deep=True)
        except InputError:  # a snapshot does not have them
            return None
        if held is None:
            return None
        return int(entry_table.is_nonzero(held.values).sum()) if seen.shape.is_array else len(held.keys)

    def frozen(self, desired: DesiredMap, numbers: Sequence[int]) -> frozenset[int]:
        return self._source.frozen(map_path(self._desired, desired), numbers)

    def users(self, observed: ObservedState) -> Mapping[int, tuple[str, ...]]:
        return self._source.users({program.id: pin for pin, program in observed.programs.items()})


def compared_ranges(desired: DesiredMap) -> Ranges | None:
    """The ranges of an array in which elements matter that are not zero: none for all of it, None for other maps."""
    if not desired.entry_shape.is_array:
        return None
    if desired.on_replace is OnReplace.COPY:  # a smaller map must have room for what others wrote
        return ()
    if desired.owned or desired.outer is not None or (desired.slots.contents != PRESENT).any():
        return desired.owned
    listed = np.sort(entry_table.as_indexes(desired.entries.keys, desired.key.number_order or "little"))
    if not len(listed):
        return ((0, 0),)
    breaks = np.flatnonzero(np.diff(listed) > _NEAR)
    starts, ends = listed[np.append(0, breaks + 1)], listed[np.append(breaks, len(listed) - 1)]
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))


def runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as ranges."""
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[start], numbers[at - 1] + 1
            start = at


class _Reader:
    """Reads inner maps into blocks, with keys and values as they are compared: padding and host bits made zero."""

    def __init__(self, desired: DesiredMap, source: Source, depth: NDArray[np.uint8], ranges: Ranges | None) -> None:
        self._desired = desired
        self._depth = depth
        self._source = source
        self._ranges = ranges
        mask = desired.value.mask()
        self._mask = None if (mask == 0xFF).all() else mask

    def block(self, path: PurePath, observed: ObservedMap, first: int, end: int) -> tuple[int, ObservedBlock]:
        """One block from slot `first` on, and the slot that the next one begins with."""
        seen = self._seen(path, observed, first, min(end, first + entry_table.BLOCK_SLOTS))
        keys, values, counts = seen.keys, seen.values, seen.counts
        if not len(keys):
            keys, values = (
                np.zeros((0, self._desired.key.size), np.uint8),
                np.zeros((0, self._desired.value.size), np.uint8),
            )
        if self._desired.entry_shape.is_array:
            held = entry_table.is_nonzero(self._masked(values))
            held &= entry_table.within(keys, self._desired.key.number_order, self._ranges or ())
            owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
            keys, values = keys[held], values[held]
            counts = np.bincount(owners[held], minlength=len(counts)).astype(np.int64)
        table = EntryTable(np.cumsum(counts) - counts, counts, self._desired.key.normalise(keys), self._masked(values))
        last = first + len(counts)
        return last, ObservedBlock(first, last, seen.max_entries, table)

    def _seen(self, path: PurePath, observed: ObservedMap, first: int, end: int) -> SeenInnerMaps:
        """The inner maps in the slots from `first` on, or all of a plain map; one that vanished has capacity 0."""
        whole = (self._depth[first:end] != Depth.SHAPE).tolist()
        if self._desired.outer is not None:
            ids = observed.slots.inner_ids[first:end].tolist()
            shape, rows = self._desired.entry_shape, entry_table.BLOCK_ENTRIES
            return self._source.inner_maps(path, ids, whole, shape, rows, nonzero=self._ranges)
        seen = self._source.entries(path, None, deep=whole[0], nonzero=self._ranges)
        capacity = np.array([0 if seen is None else seen.max_entries], np.uint32)
        if seen is None or not whole[0]:
            nothing = np.zeros((0, 0), np.uint8)
            return SeenInnerMaps(capacity, np.zeros(1, np.int64), nothing, nothing)
        return SeenInnerMaps(capacity, np.array([len(seen.keys)], np.int64), seen.keys, seen.values)

    def _masked(self, values: Bytes) -> Bytes:
        return values if self._mask is None else values & self._mask


def _replaced(root: PurePath, name: str, pins: Container[str], source: Source) -> int | None:
    """The id of the map that a killed apply took the name of; other pins of that form are of no map."""
    if OLD_PREFIX + name not in pins:
        return None
    try:
        seen = source.map(root / (OLD_PREFIX + name))
    except (HostError, KernelError):
        return None
    return seen.id if seen is not None else None


def _map(path: PurePath, desired: DesiredMap | None, source: Source) -> ObservedMap | None:
    """A pinned map and its slots; None if there is no pin. Of a map without a declaration, no slots."""
    seen = source.map(path)
    if seen is None:
        return None
    if desired is None or desired.outer is None or not seen.shape.is_outer:
        single = ObservedSlots(np.zeros((1, 0), np.uint8), np.array([seen.id], np.uint32))
        return ObservedMap(seen.id, seen.shape, None if seen.shape.is_outer else seen.shape, single, seen.frozen)
    order = entry_table.order_of(seen.keys, desired.outer.key.number_order)
    slots = ObservedSlots(seen.keys[order], seen.inner_ids[order])
    # All inner maps have the shape of the template: that of the first live one is taken.
    shapes = (shape for number in slots.inner_ids.tolist() if (shape := source.inner_shape(path, number)) is not None)
    return ObservedMap(seen.id, seen.shape, next(shapes, None), slots, seen.frozen)
