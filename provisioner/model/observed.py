"""The observed state, read from the kernel or a snapshot, in the same form as the desired state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.access import Access
from provisioner.model.attachment import AttachPoint, FilterPlace, HookOrder
from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.inner_template import Probed
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Moves
from provisioner.model.pins import owner_of
from provisioner.model.record import Meta
from provisioner.model.type_layout import Relaid
from provisioner.model.types import Bytes
from provisioner.model.uapi import U32, Id, LinkType


class ObservedSlots(msgspec.Struct, frozen=True):
    """m occupied slots in the order that people read keys: `keys` (m, outer key size), `inner_ids` (m,).

    A plain map has one slot, with its own id in the place of an inner one.
    """

    keys: Bytes
    inner_ids: NDArray[np.uint32]


class ObservedMap(msgspec.Struct, frozen=True):
    """A live map. `entry_shape` is that of its inner maps (max_entries of the first), None while it has none.

    `probed` is the result of a probe of the desired inner maps, if there was one. `relaid` says that its entries are in
    another layout than the spec's, although it has the same shape. `replaced` is the id of the map that an apply put it
    in the place of, and was killed before it recorded that; it is still pinned as `_old_NAME`.
    """

    id: int
    shape: MapShape
    entry_shape: MapShape | None
    slots: ObservedSlots
    frozen: bool = False
    probed: Probed | None = None
    relaid: Relaid | None = None
    replaced: int | None = None


class ObservedBlock(msgspec.Struct, frozen=True):
    """The entries of the slots first..last-1 of an observed map, and each inner map's capacity, shape (last-first,).

    Slots that vanished while they were read have `max_entries` 0. `same` is set if the slots hold exactly what is
    desired: how many entries of it they have, shape (last-first,), and `others` how many besides; `entries` are left
    out then.
    """

    first: int
    last: int
    max_entries: NDArray[np.uint32]
    entries: EntryTable
    same: Index | None = None
    others: Index | None = None


class ObservedProgram(msgspec.Struct, frozen=True):
    """A pinned program; `map_ids` are the maps it uses."""

    id: Id
    name: str
    tag: str
    map_ids: tuple[Id, ...]


_LINK_WORDS: Final[Mapping[int, tuple[str, str]]] = {
    LinkType.UNSPEC: ("tc", "interface"),
    LinkType.XDP: ("xdp", "interface"),
    LinkType.TCX: ("tcx", "interface"),
    LinkType.CGROUP: ("cgroup", "cgroup"),
    LinkType.NETNS: ("netns", "netns"),
    LinkType.RAW_TRACEPOINT: ("raw tracepoint", ""),
    LinkType.TRACING: ("tracing", ""),
    LinkType.PERF_EVENT: ("perf event", ""),
    LinkType.ITER: ("iterator", ""),
    LinkType.KPROBE_MULTI: ("kprobe multi", ""),
    LinkType.UPROBE_MULTI: ("uprobe multi", ""),
}
"""The type of a link in words, and the kind of its attach point."""

POINT_LINKS: Final = frozenset(kind for kind, (_, point) in _LINK_WORDS.items() if point)
"""Types of links that outlive what they are attached to."""


class ObservedLink(msgspec.Struct, frozen=True, rename={"target": "ifindex"}):
    """A pinned link, or the filter of a pinned record.

    `type` and `attach_type` are numbers of `enum bpf_link_type` and `enum bpf_attach_type`.
    `target` is the number of its attach point: an ifindex, the id of a cgroup, the inode of a network namespace. It is
    0 if that is gone, and for links of other types. In JSON it is called `ifindex`, as in version 1 of snapshots.
    A tc filter has type 0, no link; its `id` is that of the record. `map_id` is that of the map that is attached in the
    place of a program; `program_id` is 0 then.
    """

    id: Id
    program_id: Id
    target: Id
    type: U32 = LinkType.XDP
    attach_type: U32 = 0
    filter: FilterPlace | None = None
    map_id: U32 = 0

    @property
    def owner_id(self) -> int:
        """The id of what is attached: a program, or a map."""
        return self.program_id or self.map_id

    @property
    def ifindex(self) -> int | None:
        """The interface of an XDP or tcx link, or of a filter; None for other types."""
        return self.target if self.type in (LinkType.XDP, LinkType.TCX, LinkType.UNSPEC) else None

    @property
    def is_of_map(self) -> bool:
        """Whether a map is attached by it, in the place of a program."""
        return self.type == LinkType.STRUCT_OPS

    @property
    def is_detached(self) -> bool:
        """Whether its interface, cgroup or namespace is gone, or it was detached from its map."""
        return (self.target == 0 and self.type in POINT_LINKS) or (self.is_of_map and not self.map_id)


class ObservedState(msgspec.Struct, frozen=True):
    """The live state of a project.

    `maps` holds those that the spec declares, `object_maps` those that its objects bring (declared or not), by name.
    `other_pins` are names that the spec does not account for; `points` are the numbers of what attachments name.
    `held_elsewhere` has the ids of inner maps in slots of outer maps that the spec does not declare: of other pins, and
    of objects. `leftovers` are temporary pins of an apply that was killed, and pins of inner maps that are in no slot.
    `inner_pins` has the ids of inner maps that are in a slot and pinned, by outer map. `access` has the permissions of
    the project's pins and directories, by their paths from the pin root, `gid` the group, if the spec names one.
    `jump_slots` are the occupied slots of the objects' prog_arrays.
    `users` are the loaded programs that use each map, by the map's id: read only where a map is recreated or destroyed.
    `variables` has the bytes of the data sections that the spec sets variables in, by pin.
    `missing` are directories that do not exist yet, and in which own maps are to be pinned, each after its parent.
    `occupants` are the programs of other owners at hooks that have room for one, by the description of the attachment
    that wants it; `orders` has the order at the hooks of those that are to run before or after others.
    `unpinned` are the maps of the record that lost their pin and are still live, by name and id. `directories` are in
    the pin root and not the project's, `misplaced_pins` in directories of the project that have no pins. `moves` are
    those that are not done: all else has the new names already.
    `stored` is the record as it is, if that has old names.
    """

    exists: bool
    meta: Meta | None
    maps: Mapping[str, ObservedMap]
    object_maps: Mapping[str, ObservedMap]
    programs: Mapping[str, ObservedProgram]
    links: Mapping[str, ObservedLink]
    points: Mapping[AttachPoint, int]
    other_pins: tuple[str, ...] = ()
    held_elsewhere: frozenset[int] = frozenset()
    leftovers: tuple[str, ...] = ()
    inner_pins: Mapping[str, frozenset[int]] = {}
    access: Mapping[str, Access] = {}
    gid: int | None = None
    jump_slots: Mapping[str, frozenset[int]] = {}
    users: Mapping[int, tuple[str, ...]] = {}
    variables: Mapping[str, bytes] = {}
    occupants: Mapping[str, int] = {}
    orders: Mapping[str, HookOrder] = {}
    unpinned: Mapping[str, int] = {}
    directories: tuple[str, ...] = ()
    misplaced_pins: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    moves: Moves = Moves()
    stored: Meta | None = None

    @property
    def own_pins(self) -> tuple[str, ...]:
        """The other pins that the project created, according to its record."""
        made = (*self.meta.pins, *self.meta.places.values()) if self.meta is not None else ()
        return tuple(pin for pin in self.other_pins if pin in made)

    @property
    def foreign_pins(self) -> tuple[str, ...]:
        """The pins in the pin root that are not the project's."""
        own = self.own_pins
        return (*(pin for pin in self.other_pins if pin not in own), *self.misplaced_pins)

    @property
    def protected_left(self) -> tuple[str, ...]:
        """The maps that the record protects, that are still pinned, and that the spec no longer has."""
        if self.meta is None:
            return ()
        return tuple(name for name in self.meta.protected if self.meta.places.get(name, name) in self.other_pins)

    def id_of(self, owner: str) -> int:
        """The id of the live program or map of an attachment, by its pin; 0 if there is none."""
        live = self.programs.get(owner) or self.object_maps.get(owner)
        return 0 if live is None else live.id

    def links_of(self, owner: str) -> dict[str, ObservedLink]:
        """The live attachments of a program or map, by their pins.

        The first is the one that is named after it alone.
        """
        return {pin: link for pin, link in sorted(self.links.items()) if owner_of(pin) == owner}

    def place_of(self, link: ObservedLink) -> str:
        """`xdp on eth0`: where a live link is, with the name of its attach point if the spec has it."""
        if link.is_of_map:
            return "detached" if link.is_detached else "attached"
        word, kind = _LINK_WORDS.get(link.type, (f"link type {link.type}", ""))
        if not kind:
            return word
        if link.is_detached:
            return f"{word}, detached"
        names = {(str(point.kind), number): point.name for point, number in self.points.items()}
        return f"{word} on {names.get((kind, link.target), f'{kind} {link.target}')}"

    @staticmethod
    def nothing() -> ObservedState:
        """An empty host, for `plan --against empty`."""
        return ObservedState(False, None, {}, {}, {}, {}, {})
