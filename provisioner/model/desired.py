"""The desired state, encoded to the kernel's bytes.

Maps have names, inner maps have outer keys. A plain map is a map with exactly one slot, whose outer key has no bytes:
the same table, diff and apply with one level less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.model.access import Access
from provisioner.model.approval import Approval
from provisioner.model.attachment import Attachment, AttachPoint
from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, SlotMove
from provisioner.model.object_settings import VARIABLES, MapSettings, ProgramSettings, Recorded
from provisioner.model.overlays import NONE, Overlays
from provisioner.model.spec import ChangeLimits, Contents, ExtraInnerMaps, OnConflict, OnReplace, Update
from provisioner.model.type_layout import TypeLayout
from provisioner.model.types import Bytes, Type
from provisioner.model.uapi import GENERATIONAL_TYPES, MapFlag
from provisioner.model.variables import DataSection


class Sources(msgspec.Struct, frozen=True):
    """Where each row of an entry table was written: `file`, shape (n,), indexes `files`; `line`, shape (n,).

    `overlays` is what was laid over the spec; `variables` has the variables of rows that have any, with their sources.
    """

    files: tuple[str, ...]
    file: NDArray[np.uint16]
    line: NDArray[np.uint32]
    overlays: Overlays = NONE
    variables: Mapping[int, str] = {}

    def where(self, row: int) -> Location:
        return Location(self.files[int(self.file[row])], int(self.line[row]), 1)

    def decided_by(self, row: int) -> str:
        """`site.yaml:7` for a row from an overlay, `${port}: --var` for one with a variable; both, or empty.

        It is empty for -1, which means no row.
        """
        if row < 0:
            return ""
        overlay = self.overlays.place(self.where(row)) if self.overlays.files else ""
        return ", ".join(filter(None, (overlay, self.variables.get(row, ""))))

    def part(self, rows: Index) -> Sources:
        """The sources of some rows, in their order."""
        variables = {}
        if self.variables:
            variables = {at: self.variables[row] for at, row in enumerate(rows.tolist()) if row in self.variables}
        return replace(self, file=self.file.take(rows), line=self.line.take(rows), variables=variables)


class DesiredSlots(msgspec.Struct, frozen=True):
    """m slots in the order that people read keys. `keys` has shape (m, outer key size), the others (m,).

    `contents` indexes `list(Contents)`; `shared` numbers the shared inner map in the slot, or is -1; `members` numbers
    the map of the object in the slot, or is -1, and is None if no slot has one.
    """

    keys: Bytes
    max_entries: NDArray[np.uint32]
    contents: NDArray[np.uint8]
    shared: NDArray[np.int32]
    places: tuple[Location, ...]
    members: NDArray[np.int32] | None = None

    @property
    def member(self) -> NDArray[np.int32]:
        """`members` of all slots."""
        return self.members if self.members is not None else np.full(len(self.keys), -1, np.int32)

    def policy(self, slot: int) -> Contents:
        return CONTENTS[int(self.contents[slot])]


CONTENTS: Final = tuple(Contents)
OwnedRange = tuple[int, int]
"""The first and last number of a range of keys."""

EXACT, PRESENT, IGNORE = range(3)
assert (CONTENTS[EXACT], CONTENTS[PRESENT], CONTENTS[IGNORE]) == (Contents.EXACT, Contents.PRESENT, Contents.IGNORE)


class OuterPolicy(msgspec.Struct, frozen=True):
    """What only an outer map has. `owned` are the ranges of outer keys that are ours, empty for all of them.

    `only` are the outer keys that a plan is limited to, shape (k, outer key size); None for all of them. `members` are
    the names of the object's maps that are in slots.
    """

    key: Type
    template_name: str
    extra_inner_maps: ExtraInnerMaps
    shared_names: tuple[str, ...]
    owned: tuple[OwnedRange, ...] = ()
    template_where: Location | None = None
    only: Bytes | None = None
    members: tuple[str, ...] = ()


class Constants(msgspec.Struct, frozen=True):
    """Bytes of members that a migration sets: `row`, shape (size,), and the dotted names of the members."""

    row: Bytes
    members: frozenset[str]


class Migration(msgspec.Struct, frozen=True):
    """How entries are carried into a map of another shape; with `drop`, they are not.

    `rename` has new names by old ones. `key`, `value` and `outer_key` are the layouts that the spec gives of the live
    map, None for those that it does not.
    """

    drop: bool
    rename: Mapping[str, str]
    key_constants: Constants
    value_constants: Constants
    key: TypeLayout | None
    value: TypeLayout | None
    outer_key: TypeLayout | None
    where: Location


class DesiredMap(msgspec.Struct, frozen=True):
    """A desired map. `shape` is its own; `entry_shape` that of the maps that hold entries.

    For an outer map `entry_shape` is the inner template; for a plain map it is `shape` itself, and `outer` is None.
    `object` names the object that brings the map, `also` the others that have it too, `adopted` the pin of a map that
    another owner made, `place` that of a map of our own outside of the pin root. `owned` are the ranges of entry keys
    that are ours, empty for all of them. `filled_flags` are those of `entry_shape` that the spec leaves out and the
    kernel asks for.
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
    limits: ChangeLimits | None
    prevent_destroy: bool
    after: tuple[str, ...]
    where: Location
    filled_flags: MapFlag = MapFlag(0)
    also: tuple[str, ...] = ()
    place: str | None = None
    on_conflict: OnConflict = OnConflict.NEW
    migration: Migration | None = None

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that bring the map."""
        return (self.object, *self.also) if self.object is not None else ()

    @property
    def is_generational(self) -> bool:
        """Whether each load of the object creates the map again, so that new and old programs never share it."""
        return self.object is not None and self.shape.map_type in GENERATIONAL_TYPES

    @property
    def copies_others(self) -> bool:
        """Whether a new inner map takes over what others wrote to the one that it replaces."""
        return self.on_replace is OnReplace.COPY and self.entry_shape.is_listable

    def member_of(self, slot: int) -> str | None:
        """The map of the object that a slot has; None for a map of its own."""
        members = self.slots.members
        number = -1 if members is None else int(members[slot])
        return self.outer.members[number] if self.outer is not None and number >= 0 else None

    def owned_part(self, values: Bytes) -> Bytes:
        """`values`, shape (n, size), with zero where members are not ours: as they are compared."""
        return values & self.value.owned.mask() if self.value.owns_part else values

    def holds_others(self, slot: int) -> bool:
        """Whether the inner map in a slot can have entries or members that the spec does not own, and would lose."""
        if self.member_of(slot) is not None:
            return False
        return bool(self.owned) or self.value.owns_part or int(self.slots.contents[slot]) != EXACT

    def hold_others(self) -> NDArray[np.bool_]:
        """`holds_others` of all slots."""
        all_do = bool(self.owned) or self.value.owns_part
        hold: NDArray[np.bool_] = ((self.slots.contents != EXACT) | all_do) & (self.slots.member < 0)
        return hold


class DesiredProgram(msgspec.Struct, frozen=True):
    """A program to pin, and to attach in each place of `attachments`: `planning.link_names` has their pins.

    `of_map` is the attached map that it is a part of, which the kernel calls it through; empty for others.
    """

    name: str
    pin: str
    attachments: tuple[Attachment, ...]
    where: Location
    settings: ProgramSettings = ProgramSettings()
    of_map: str = ""


class AttachedMap(msgspec.Struct, frozen=True):
    """A map of an object that is attached itself, with the programs that are its value. Its pin has its name."""

    name: str
    attachments: tuple[Attachment, ...]
    where: Location

    @property
    def pin(self) -> str:
        return self.name


Owner = DesiredProgram | AttachedMap
"""What an attachment belongs to."""


class ObjectTypes(msgspec.Struct, frozen=True):
    """The BTF of an object file, and the ids of the key and value types of its maps, by their names."""

    btf: bytes
    ids: Mapping[str, tuple[int, int]]


class DesiredObject(msgspec.Struct, frozen=True):
    """An object to be loaded. `maps` are the pins that its maps get, with the shape they have in the ELF or the spec.

    `reused` are its maps that are adopted, with the paths of their pins. `helpers` are programs that it loads for its
    prog_arrays alone, without a pin; `presets` the slots of maps that it fills itself, by map. `templates` has the
    dummy inner map of each outer map that the spec declares, by map name; libbpf makes the others. `settings` are what
    is set of its maps before load, `variables` its data sections with the values that they get. `types` are those of
    the file, None where it has none. `attached_maps` are its maps that are attached themselves.
    """

    name: str
    file: str
    digest: str
    programs: tuple[DesiredProgram, ...]
    maps: Mapping[str, MapShape]
    templates: Mapping[str, MapShape]
    where: Location
    settings: Mapping[str, MapSettings] = {}
    helpers: tuple[str, ...] = ()
    presets: Mapping[str, frozenset[int]] = {}
    variables: tuple[DataSection, ...] = ()
    reused: Mapping[str, str] = {}
    types: ObjectTypes | None = None
    attached_maps: tuple[AttachedMap, ...] = ()

    @property
    def owners(self) -> tuple[Owner, ...]:
        """What it has that can be attached."""
        return (*self.programs, *self.attached_maps)

    @property
    def pins(self) -> frozenset[str]:
        """The pins of its programs."""
        return frozenset(program.pin for program in self.programs)

    @property
    def recorded_settings(self) -> Recorded:
        """The settings before load, as in the record: a change loads the object again."""
        maps = (pair for name, one in sorted(self.settings.items()) for pair in one.recorded(name))
        names = sorted(variable.name for section in self.variables for variable in section.variables)
        programs = (pair for one in self.programs for pair in one.settings.recorded(one.name))
        return {**dict(maps), **{f"{VARIABLES}{name}": "set" for name in names}, **dict(programs)}

    @property
    def made_at_load(self) -> Mapping[str, str]:
        """The pins of maps that each load creates again, as part of its programs -> their names in the object."""
        return {section.pin: section.map for section in self.variables}


class DesiredState(msgspec.Struct, frozen=True):
    """The desired state of one project.

    `pin_inner_maps` says that inner maps have pins of their own, by which they are opened without CAP_SYS_ADMIN;
    `pin_mode` and `pin_group` who may open pins, where the spec says; `overlays` what was laid over it. `revision` is
    the digest of all files and variables, empty if contents were not read. `approvals` lift refusals.
    `moved` are the names that changed, `moved_slots` the slots, `moved_roots` the older pin roots.
    `pinned_programs` are programs that no object declares, because there is no spec, with their recorded attachments.
    """

    project: str
    pin_root: str
    host: Host
    objects: Mapping[str, DesiredObject]
    maps: Mapping[str, DesiredMap]
    limits: ChangeLimits | None
    pin_inner_maps: bool = False
    pin_mode: int | None = None
    pin_group: str | None = None
    overlays: Overlays = NONE
    revision: str = ""
    pinned_programs: Mapping[str, tuple[Attachment, ...]] = {}
    approvals: tuple[Approval, ...] = ()
    moved: tuple[Move, ...] = ()
    moved_slots: tuple[SlotMove, ...] = ()
    moved_roots: tuple[Move, ...] = ()

    @property
    def has_moves(self) -> bool:
        return bool(self.moved or self.moved_slots or self.moved_roots)

    def on(self, day: str) -> DesiredState:
        """The same on a day (`2026-12-31`, in UTC), which decides the approvals that are valid."""
        if not self.approvals:
            return self
        current = (replace(each, is_current=not each.until or day <= each.until) for each in self.approvals)
        return replace(self, approvals=tuple(current))

    def access(self, gid: int | None) -> Access:
        """The permissions of pins that the spec asks for; `gid` is that of `pin_group`."""
        return Access(self.pin_mode, gid)

    @property
    def attachments(self) -> tuple[tuple[str, Attachment], ...]:
        """All attachments, each with the pin of its owner."""
        owners = (owner for each in self.objects.values() for owner in each.owners)
        return tuple((owner.pin, attachment) for owner in owners for attachment in owner.attachments)

    @property
    def attach_points(self) -> tuple[AttachPoint, ...]:
        """The interfaces, cgroups and namespaces that attachments name, each once, in order."""
        attachments = [attachment for _, attachment in self.attachments]
        attachments += [attachment for each in self.pinned_programs.values() for attachment in each]
        points = {each.point for each in attachments}
        return tuple(sorted(point for point in points if point is not None))

    @property
    def has_access(self) -> bool:
        """Whether the spec sets permissions of pins."""
        return self.pin_mode is not None or self.pin_group is not None
