"""The two states that a plan compares: desired, encoded to the kernel's bytes; observed, read from the kernel.

Both speak of maps by name and of inner maps by outer key. A plain map is a map with exactly one slot, whose outer key
has no bytes: the same table, diff and apply with one level less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.access import Access
from provisioner.codec.base import Bytes, Type
from provisioner.columns import EntryTable
from provisioner.document.overlays import NONE, Overlays
from provisioner.host import Host
from provisioner.inner_facts import Probed
from provisioner.location import Location
from provisioner.shape import MapShape
from provisioner.spec import (
    Contents,
    ExtraInnerMaps,
    Limits,
    OnReplace,
    Update,
    XdpAttach,
)
from provisioner.uapi import MapFlag, XdpMode

META_PIN: Final = "_meta"
"""Names that begin with an underscore are ours: users' pins never do."""

NEW_PREFIX: Final = "_new_"
"""Pins of a generation that is being loaded: renamed over the old ones as the last step, or removed."""

OLD_PREFIX: Final = "_old_"
"""Pins that hold what was replaced until the apply is verified."""

INNER_PINS: Final = "_inner"
"""The folder, below the pin root, of the pins of inner maps: in a folder for each outer map, named by their ids."""

TEMPORARY_PREFIXES: Final = (NEW_PREFIX, OLD_PREFIX, "_tmp-")
"""What a killed apply may leave behind: the next one removes it."""


# --- desired -----------------------------------------------------------------------------------------------------


class Sources(msgspec.Struct, frozen=True):
    """Where each row of an entry table was written: `file`, shape (n,), indexes `files`; `line`, shape (n,).

    `overlays` is what was laid over the spec.
    """

    files: tuple[str, ...]
    file: NDArray[np.uint16]
    line: NDArray[np.uint32]
    overlays: Overlays = NONE

    def where(self, row: int) -> Location:
        return Location(self.files[int(self.file[row])], int(self.line[row]), 1)

    def overlay(self, row: int) -> str:
        """`site.yaml:7` of a row that an overlay gave; empty for all others, and for -1, which is no row."""
        return self.overlays.told(self.where(row)) if self.overlays.files and row >= 0 else ""


class DesiredSlots(msgspec.Struct, frozen=True):
    """m slots in the order that people read keys. `keys` has shape (m, outer key size), the others (m,).

    `contents` indexes `list(Contents)`; `shared` numbers the shared inner map in the slot, or is -1.
    """

    keys: Bytes
    max_entries: NDArray[np.uint32]
    contents: NDArray[np.uint8]
    shared: NDArray[np.int32]
    places: tuple[Location, ...]

    def policy(self, slot: int) -> Contents:
        return CONTENTS[int(self.contents[slot])]


CONTENTS: Final = tuple(Contents)
OwnedRange = tuple[int, int]
"""The first and the last number of a range of keys."""

EXACT, PRESENT, IGNORE = range(3)
assert (CONTENTS[EXACT], CONTENTS[PRESENT], CONTENTS[IGNORE]) == (Contents.EXACT, Contents.PRESENT, Contents.IGNORE)


class OuterPolicy(msgspec.Struct, frozen=True):
    """What only an outer map has. `owned` are the ranges of outer keys that are ours, empty for all of them.

    `only` are the outer keys that a plan is limited to, shape (k, outer key size); None for all of them.
    """

    key: Type
    template_name: str
    extra_inner_maps: ExtraInnerMaps
    shared_names: tuple[str, ...]
    owned: tuple[OwnedRange, ...] = ()
    template_where: Location | None = None
    only: Bytes | None = None


class DesiredMap(msgspec.Struct, frozen=True):
    """A map that shall be. `shape` is its own; `entry_shape` that of the maps that hold entries.

    For an outer map `entry_shape` is the inner template; for a plain map it is `shape` itself, and `outer` is None.
    `object` names the object that brings the map, `adopted` the pin of a map that somebody else made. `owned` are the
    ranges of entry keys that are ours, empty for all of them. `filled_flags` are those of `entry_shape` that the spec
    leaves out and the kernel asks for.
    """

    name: str
    shape: MapShape
    entry_shape: MapShape
    outer: OuterPolicy | None
    object: str | None
    adopted: str | None
    key: Type
    value: Type
    slots: DesiredSlots
    entries: EntryTable
    sources: Sources
    update: Update
    on_replace: OnReplace | None
    owned: tuple[OwnedRange, ...]
    limits: Limits | None
    prevent_destroy: bool
    after: tuple[str, ...]
    where: Location
    filled_flags: MapFlag = MapFlag(0)

    def holds_others(self, slot: int) -> bool:
        """Whether the inner map in a slot may hold entries that are not ours."""
        return bool(self.owned) or int(self.slots.contents[slot]) != EXACT


class DesiredProgram(msgspec.Struct, frozen=True):
    """A program that shall be pinned, and attached if `attach` says where."""

    name: str
    pin: str
    attach: XdpAttach | None
    where: Location

    @property
    def link_pin(self) -> str:
        """The name under which its attachment is pinned."""
        return f"_link_{self.pin}"


class DesiredObject(msgspec.Struct, frozen=True):
    """An object to be loaded. `maps` are the pins that its maps get, with the shape they have in the ELF or the spec.

    `templates` has the dummy inner map of each outer map that the spec declares, by map name; libbpf makes the others.
    """

    name: str
    file: str
    digest: str
    programs: tuple[DesiredProgram, ...]
    maps: Mapping[str, MapShape]
    templates: Mapping[str, MapShape]
    where: Location


class DesiredState(msgspec.Struct, frozen=True):
    """Everything that one project wants.

    `pin_inner_maps` says that inner maps have pins of their own, by which they are opened without CAP_SYS_ADMIN;
    `pin_mode` and `pin_group` who may open pins, where the spec says; `overlays` what was laid over it.
    """

    project: str
    pin_root: str
    host: Host
    objects: Mapping[str, DesiredObject]
    maps: Mapping[str, DesiredMap]
    limits: Limits | None
    pin_inner_maps: bool = False
    pin_mode: int | None = None
    pin_group: str | None = None
    overlays: Overlays = NONE

    @property
    def has_access(self) -> bool:
        """Whether the spec says who may open pins."""
        return self.pin_mode is not None or self.pin_group is not None


# --- observed ----------------------------------------------------------------------------------------------------


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


class Meta(msgspec.Struct, frozen=True):
    """What the kernel can't tell, pinned beside the maps as a small frozen map.

    `objects` maps an object's name to its digest, empty while it is being loaded: then it is loaded again.
    `templates` keeps the shape of inner maps, which an empty outer map does not show. `attach_modes` has the XDP mode
    of each link, by pin, which a link does not tell; `used_maps` the pinned maps that each program was loaded with, by
    pin; `pins` all names that the project pinned.
    """

    project: str
    objects: Mapping[str, str]
    templates: Mapping[str, MapShape]
    attach_modes: Mapping[str, str]
    used_maps: Mapping[str, tuple[int, ...]]
    protected: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(msgspec.to_builtins(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Meta:
        """Raises ValueError or KeyError where the text is no meta of ours."""
        data = json.loads(text)
        shapes = {name: MapShape.from_json(fields) for name, fields in data["templates"].items()}
        used = {pin: tuple(ids) for pin, ids in data["used_maps"].items()}
        return Meta(
            data["project"],
            data["objects"],
            shapes,
            data["attach_modes"],
            used,
            tuple(data["protected"]),
            tuple(data["pins"]),
        )


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


XDP_MODES: Final = {
    "auto": XdpMode.AUTO,
    "native": XdpMode.NATIVE,
    "generic": XdpMode.GENERIC,
    "offload": XdpMode.OFFLOAD,
}
