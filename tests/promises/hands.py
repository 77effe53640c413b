"""Live states at random: other hands that write a project's maps, one system call at a time; and what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from provisioner.kernel import batch, bpffs, host, links, maps, reading
from provisioner.kernel.batch import Batching
from provisioner.kernel.fd import Fd, FdSet, InnerId, LinkFd, MapFd, ProgramFd
from provisioner.model.map_shape import MapShape
from provisioner.model.pins import META_PIN, TEMPORARY_PREFIXES
from provisioner.model.uapi import MapType
from tests.promises.wishes import KINDS, Kind

_ONE_BY_ONE: Final = Batching(entries=False, slots=False)
_NO_SHAPE: Final = MapShape(MapType.ARRAY, 0, 0, 0)
CPUS: Final = host.possible_cpus()


@dataclass(frozen=True, slots=True)
class LiveInner:
    """A map that holds entries: its id, shape, bytes, and whether user space may write it no more."""

    id: int
    shape: MapShape
    entries: Mapping[bytes, bytes]
    frozen: bool


@dataclass(frozen=True, slots=True)
class LiveMap:
    """A pinned map: `slots` of an outer one by number, and what a plain one holds.

    A pin of another `kind`, a program or a link, has its id alone, which a map may have too.
    """

    id: int
    shape: MapShape
    frozen: bool
    slots: Mapping[int, LiveInner] = field(default_factory=dict)
    entries: Mapping[bytes, bytes] = field(default_factory=dict)
    kind: str = "map"

    def has_room_for(self, slot: int) -> bool:
        """Whether an inner map can be put into a slot."""
        if self.shape.is_array:
            return slot < self.shape.max_entries
        return slot in self.slots or len(self.slots) < self.shape.max_entries


Live = dict[str, LiveMap]
"""What is pinned in a folder, by name; temporary pins apart, and of the record only that it is there."""


def look(folder: Path) -> Live:
    """Read everything, key by key."""
    live: Live = {}
    for name in bpffs.list_pins(folder):
        if name == META_PIN:
            live[name] = LiveMap(0, KINDS["array"].shape, frozen=True)
        elif not name.startswith(TEMPORARY_PREFIXES):
            with bpffs.open_any(folder / name) as fd:
                live[name] = _pinned(fd)
    return live


def _pinned(fd: Fd) -> LiveMap:
    match fd:
        case MapFd():
            return _map(fd)
        case ProgramFd():
            return LiveMap(links.program_info(fd).id, _NO_SHAPE, frozen=False, kind="program")
        case LinkFd():
            return LiveMap(links.info(fd).id, _NO_SHAPE, frozen=False, kind="link")
        case _:
            raise AssertionError(f"nobody pinned this: {fd}")


def _map(fd: MapFd) -> LiveMap:
    seen = maps.info(fd)
    if not seen.shape.is_outer:
        plain = _inner(fd)
        return LiveMap(plain.id, plain.shape, plain.frozen, entries=plain.entries)
    slots = {}
    keys, ids = reading.read_slots(fd, seen.shape, batching=_ONE_BY_ONE)
    for key, number in zip(keys, ids.tolist(), strict=True):
        with maps.open_id(InnerId(number)) as inner:
            slots[int.from_bytes(key.tobytes(), "little")] = _inner(inner)
    return LiveMap(int(seen.id), seen.shape, maps.is_frozen(fd), slots)


def _inner(fd: MapFd) -> LiveInner:
    seen = maps.info(fd)
    keys, values = reading.read_entries(fd, seen.shape, CPUS, batching=_ONE_BY_ONE)
    entries = {key.tobytes(): value.tobytes() for key, value in zip(keys, values, strict=True)}
    if seen.shape.is_array:
        entries = {key: value for key, value in entries.items() if any(value)}
    return LiveInner(int(seen.id), seen.shape, entries, maps.is_frozen(fd))


def make_inner(kind: Kind, room: int, entries: Mapping[int, int], padding: int = 0) -> MapFd:
    """A map of another process; the caller owns it."""
    with ExitStack() as owned:
        fd = owned.enter_context(maps.create(kind.shape.with_capacity(8 if kind.is_fixed else room), "others"))
        for key, value in entries.items():
            maps.update(fd, kind.key(key), kind.value(value, CPUS, padding))
        owned.pop_all()
    return fd


def publish(outer: MapFd, slots: Sequence[int], inner: FdSet[MapFd]) -> None:
    """Put maps in slots by one batch, which waits for one grace period."""
    keys = np.array(slots, np.uint32)
    batch.publish(outer, keys, np.array(inner.numbers(), np.uint32), batching=Batching())


def pin_outer(path: Path, shape: MapShape, kind: Kind) -> None:
    """An empty outer map of another process."""
    with make_inner(kind, 8, {}) as template, maps.create(shape, "others", inner=template) as outer:
        bpffs.pin_replace(outer, path)


def kind_of(shape: MapShape) -> Kind | None:
    """The kind that a live map with entries is of, its room apart."""
    return next((kind for kind in KINDS.values() if kind.shape.with_capacity(0) == shape.with_capacity(0)), None)
