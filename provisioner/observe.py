"""The live state: what is pinned under the pin root, and the entries of live maps as an iterator of blocks.

Makes no system call that changes anything.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provisioner import columns, metamap
from provisioner.codec.base import Bytes
from provisioner.columns import EntryTable
from provisioner.diff import Depth
from provisioner.kernel import bpffs, host, links, maps, reading
from provisioner.kernel.fd import InnerId, LinkFd, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.shape import MapShape
from provisioner.state import (
    META_PIN,
    TEMPORARY_PREFIXES,
    DesiredMap,
    DesiredState,
    ObservedBlock,
    ObservedLink,
    ObservedMap,
    ObservedProgram,
    ObservedSlots,
    ObservedState,
)
from provisioner.uapi import MapFlag, MapType

_FD_MODES = MapFlag.RDONLY | MapFlag.WRONLY
"""Flags of the fd that a map was created with, which are no part of its shape."""


def map_path(desired: DesiredState, one: DesiredMap) -> Path:
    """Where a map is pinned: in the pin root under its whole name, or where somebody else put it."""
    return Path(one.adopted) if one.adopted is not None else Path(desired.pin_root) / one.name


def observe(desired: DesiredState) -> ObservedState:
    """What is live of that which the spec names, and what else is pinned there; entries apart.

    Raises HostError where the pin root cannot be, or must not be looked at.
    """
    root = Path(desired.pin_root)
    bpffs.check(root)
    pins = bpffs.list_pins(root)
    live = {
        one.name: found for one in desired.maps.values() if (found := _map(map_path(desired, one), one)) is not None
    }
    brought = {name for one in desired.objects.values() for name in one.maps}
    object_maps = {
        name: found for name in sorted(brought) if (found := live.get(name) or _map(root / name, None)) is not None
    }
    wanted = {program.pin for one in desired.objects.values() for program in one.programs}
    named = {*live, *object_maps, *wanted}
    interfaces = {
        program.attach.interface
        for one in desired.objects.values()
        for program in one.programs
        if program.attach is not None
    }
    return ObservedState(
        exists=root.is_dir(),
        meta=metamap.read(root / META_PIN) if META_PIN in pins else None,
        maps=live,
        object_maps=object_maps,
        programs={pin: _program(root / pin) for pin in sorted(wanted & set(pins))},
        links={pin: _link(root / pin) for pin in pins if pin.startswith("_link_")},
        interfaces={name: index for name in sorted(interfaces) if (index := host.find_ifindex(name)) is not None},
        other_pins=tuple(pin for pin in pins if pin not in named and not pin.startswith("_")),
        leftovers=tuple(pin for pin in pins if pin.startswith(TEMPORARY_PREFIXES)),
    )


def blocks(
    desired: DesiredState, one: DesiredMap, observed: ObservedMap, wanted: NDArray[np.uint8]
) -> Iterator[ObservedBlock]:
    """The observed slots in `wanted`, as blocks of about `columns.BLOCK_ENTRIES` rows, each as deep as its `Depth`."""
    reader = _Reader(one, desired.host.possible_cpus, wanted)
    slots = np.flatnonzero(wanted != Depth.NOTHING).tolist()
    for first, last in _runs(slots):
        at = first
        while at < last:
            at, block = reader.block(map_path(desired, one), observed, at, last)
            yield block


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as ranges."""
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[start], numbers[at - 1] + 1
            start = at


class _Reader:
    """Reads inner maps into blocks, with keys and values as they are compared: padding and host bits made zero."""

    def __init__(self, one: DesiredMap, possible_cpus: int, depth: NDArray[np.uint8]) -> None:
        self._one = one
        self._depth = depth
        self._cpus = possible_cpus
        mask = one.value.mask()
        self._mask = None if (mask == 0xFF).all() else mask

    def block(self, path: Path, observed: ObservedMap, first: int, end: int) -> tuple[int, ObservedBlock]:
        """One block from slot `first` on, and the slot that the next one begins with."""
        keys: list[Bytes] = []
        values: list[Bytes] = []
        capacity: list[int] = []
        rows = 0
        last = first
        while last < end and last - first < columns.BLOCK_SLOTS and rows < columns.BLOCK_ENTRIES:
            found = self._slot(path, observed, last)
            keys.append(found[0])
            values.append(found[1])
            capacity.append(found[2])
            rows += len(found[0])
            last += 1
        counts = np.array([len(part) for part in keys], np.int64)
        table = EntryTable(
            np.cumsum(counts) - counts, counts, *self._comparable(np.concatenate(keys), np.concatenate(values))
        )
        return last, ObservedBlock(first, last, np.array(capacity, np.uint32), table)

    def _slot(self, path: Path, observed: ObservedMap, slot: int) -> tuple[Bytes, Bytes, int]:
        """Keys, values and capacity of one inner map; nothing, and capacity 0, where it vanished meanwhile."""
        try:
            fd = (
                maps.open_pin(path)
                if self._one.outer is None
                else maps.open_id(InnerId(int(observed.slots.inner_ids[slot])))
            )
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return (*self._no_entries(), 0)
        with fd:
            shape = maps.info(fd).shape
            if self._depth[slot] == Depth.SHAPE:
                return (*self._no_entries(), shape.max_entries)
            keys, values = reading.read_entries(fd, shape, self._cpus)
        if shape.is_array:
            held = columns.is_nonzero(values)
            keys, values = keys[held], values[held]
        return keys, values, shape.max_entries

    def _no_entries(self) -> tuple[Bytes, Bytes]:
        return np.zeros((0, self._one.key.size), np.uint8), np.zeros((0, self._one.value.size), np.uint8)

    def _comparable(self, keys: Bytes, values: Bytes) -> tuple[Bytes, Bytes]:
        return self._one.key.normalise(keys), values if self._mask is None else values & self._mask


def _map(path: Path, desired: DesiredMap | None) -> ObservedMap | None:
    """A pinned map and its slots; None if there is no pin. Of a map without a declaration, no slots."""
    try:
        fd = maps.open_pin(path)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    with fd:
        info = maps.info(fd)
        shape = normalised(info.shape)
        if desired is None or desired.outer is None or not shape.is_outer:
            one = ObservedSlots(np.zeros((1, 0), np.uint8), np.array([info.id], np.uint32))
            return ObservedMap(info.id, shape, None if shape.is_outer else shape, one)
        keys, ids = reading.read_slots(fd, shape)
    order = columns.order_of(keys, desired.outer.key.number_order)
    slots = ObservedSlots(keys[order], ids[order])
    return ObservedMap(info.id, shape, _entry_shape(slots.inner_ids), slots)


def _entry_shape(inner_ids: NDArray[np.uint32]) -> MapShape | None:
    """The shape of the first inner map that can be opened: the kernel holds all of them to one template."""
    for inner_id in inner_ids.tolist():
        try:
            with maps.open_id(InnerId(inner_id)) as fd:
                return normalised(maps.info(fd).shape)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
    return None


def normalised(shape: MapShape) -> MapShape:
    """A live shape as it was asked for: without the modes of an fd, and without what the kernel adds.

    DEVMAP and DEVMAP_HASH gain RDONLY_PROG (dev_map_init_map, since 0cdbb4b09a06).
    """
    flags = shape.map_flags & ~_FD_MODES
    if shape.map_type in (MapType.DEVMAP, MapType.DEVMAP_HASH):
        flags &= ~MapFlag.RDONLY_PROG
    if flags == shape.map_flags:
        return shape
    return replace(shape, map_flags=flags)


def _program(path: Path) -> ObservedProgram:
    with bpffs.open_pin(path, ProgramFd) as fd:
        info = links.program_info(fd)
    return ObservedProgram(info.id, info.name, info.tag, tuple(info.map_ids))


def _link(path: Path) -> ObservedLink:
    with bpffs.open_pin(path, LinkFd) as fd:
        info = links.info(fd)
    return ObservedLink(info.id, info.prog_id, info.ifindex)
