"""The observed state, read from the kernel or a snapshot, in the same terms as the desired one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.access import Access
from provisioner.model.entry_table import EntryTable
from provisioner.model.inner_template import Probed
from provisioner.model.map_shape import MapShape
from provisioner.model.record import Meta
from provisioner.model.types import Bytes


class ObservedSlots(msgspec.Struct, frozen=True):
    """m occupied slots in the order that people read keys: `keys` (m, outer key size), `inner_ids` (m,).

    A plain map has one slot, with its own id in the place of an inner one.
    """

    keys: Bytes
    inner_ids: NDArray[np.uint32]


class ObservedMap(msgspec.Struct, frozen=True):
    """A live map. `entry_shape` is that of its inner maps (max_entries of the first), None while it has none.

    `probed` is there where somebody asked whether it takes the desired inner maps.
    """

    id: int
    shape: MapShape
    entry_shape: MapShape | None
    slots: ObservedSlots
    frozen: bool = False
    probed: Probed | None = None


class ObservedBlock(msgspec.Struct, frozen=True):
    """The entries of the slots first..last-1 of an observed map, and each inner map's capacity, shape (last-first,).

    Slots that vanished while they were read have `max_entries` 0.
    """

    first: int
    last: int
    max_entries: NDArray[np.uint32]
    entries: EntryTable


class ObservedProgram(msgspec.Struct, frozen=True):
    """A pinned program; `map_ids` are the maps it uses."""

    id: int
    name: str
    tag: str
    map_ids: tuple[int, ...]


class ObservedLink(msgspec.Struct, frozen=True):
    """A pinned link: `ifindex` is 0 when its interface is gone."""

    id: int
    program_id: int
    ifindex: int


class ObservedState(msgspec.Struct, frozen=True):
    """What lives under the pin root.

    `maps` holds those that the spec declares, `object_maps` those that its objects bring (declared or not), by name.
    `other_pins` are names that the spec does not account for; `interfaces` are those that attachments name, by index;
    `leftovers` are temporary pins of an apply that was killed, and pins of inner maps that are in no slot.
    `inner_pins` has the ids of inner maps that are in a slot and pinned, by outer map. `access` is who may open each
    pin of ours and enter each folder, by its path from the pin root, `gid` the group: looked up if the spec says one.
    """

    exists: bool
    meta: Meta | None
    maps: Mapping[str, ObservedMap]
    object_maps: Mapping[str, ObservedMap]
    programs: Mapping[str, ObservedProgram]
    links: Mapping[str, ObservedLink]
    interfaces: Mapping[str, int]
    other_pins: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    inner_pins: Mapping[str, frozenset[int]] = {}
    access: Mapping[str, Access] = {}
    gid: int | None = None

    @property
    def own_pins(self) -> tuple[str, ...]:
        """Those of the other pins that the record says this project made."""
        made = self.meta.pins if self.meta is not None else ()
        return tuple(pin for pin in self.other_pins if pin in made)

    def interface_of(self, link: ObservedLink) -> str:
        """An interface's name, where an attachment of the spec has it; else its number."""
        if link.ifindex == 0:
            return "an interface that is gone"
        names = {index: name for name, index in self.interfaces.items()}
        return names.get(link.ifindex, f"interface number {link.ifindex}")

    @staticmethod
    def nothing() -> ObservedState:
        """A host without any of it: what `plan --against empty` compares with."""
        return ObservedState(False, None, {}, {}, {}, {}, {})
