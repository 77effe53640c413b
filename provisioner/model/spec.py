"""What a project declares, in the user's words: structure only, no bytes.

Field names are the spec language's. `where` is the place of the declaration, for errors and for `explain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from provisioner.model.approval import Approval
from provisioner.model.attachment import Attachment
from provisioner.model.location import Location
from provisioner.model.moved import Move
from provisioner.model.object_settings import MapSettings, ProgramSettings
from provisioner.model.tree import RawEntries, ScalarNode, SpecNode
from provisioner.model.type_expr import TypeExpr
from provisioner.model.types import Path
from provisioner.model.uapi import MapFlag, MapType


class Contents(Enum):
    """The entries of a map that the spec owns: all, the listed ones, or none."""

    EXACT = "exact"
    PRESENT = "present"
    IGNORE = "ignore"


class Update(Enum):
    """The way to update a changed inner map."""

    AUTO = "auto"
    IN_PLACE = "in_place"
    REPLACE = "replace"


class OnReplace(Enum):
    """The treatment of entries that the spec does not own when their map is replaced."""

    COPY = "copy"
    DROP = "drop"


class OnConflict(Enum):
    """The side that wins where an entry of another writer changed in the old and in the new map of a replacement."""

    NEW = "new"
    OLD = "old"
    SUM = "sum"


class MigrateMode(Enum):
    """The treatment of entries when the shape of their map changes."""

    AUTO = "auto"
    DROP = "drop"


class Migrate(msgspec.Struct, frozen=True):
    """How entries are carried into a map of another shape.

    `rename` has the new name of each renamed member by the old one, `set` the scalars of new members by their path;
    `from_types` is the file with the types of the live map, where neither its BTF nor the record has them.
    """

    mode: MigrateMode
    rename: tuple[tuple[str, ScalarNode], ...]
    set: tuple[tuple[Path, ScalarNode], ...]
    from_types: ScalarNode | None
    where: Location


class OwnedMembers(msgspec.Struct, frozen=True):
    """The members of a value that the spec owns, by their dotted names.

    `set` has the scalars of other members in new entries, by their paths.
    """

    names: tuple[ScalarNode, ...]
    set: tuple[tuple[Path, ScalarNode], ...]
    where: Location


class FromTypes(msgspec.Struct, frozen=True):
    """The types of a live map in a file; None for those that it does not have."""

    types: Mapping[str, TypeExpr]
    key: TypeExpr | None
    value: TypeExpr | None
    outer_key: TypeExpr | None


class ExtraInnerMaps(Enum):
    """The treatment of live inner maps that the spec does not list."""

    DELETE = "delete"
    KEEP = "keep"
    FAIL = "fail"


class ChangeLimits(msgspec.Struct, frozen=True):
    """The limits on what one apply deletes or updates, in percent of the live entries; `at_least` is always allowed."""

    delete_percent: int | None
    update_percent: int | None
    at_least: int | None
    where: Location


class TableColumn(msgspec.Struct, frozen=True):
    """The source of a key or value: one column by name, or a column for each member path."""

    columns: tuple[tuple[tuple[str | int, ...], str], ...]
    where: Location


class TableRef(msgspec.Struct, frozen=True):
    """Entries in a file. `outer_key` is set in the long form, where one table fills many inner maps.

    `delimiter` is that of a CSV file, None for the usual one, empty for one that is invalid.
    """

    file: ScalarNode
    format: str | None
    key: TableColumn | None
    value: TableColumn | None
    outer_key: TableColumn | None
    where: Location
    delimiter: str | None = None


Entries = RawEntries | TableRef


class KeyRange(msgspec.Struct, frozen=True):
    """`first..last`, inclusive, as text; `possible_cpus` has neither."""

    first: ScalarNode | None
    last: ScalarNode | None
    where: Location


class MapFields(msgspec.Struct, frozen=True):
    """The arguments of BPF_MAP_CREATE in the spec; None means the value of the object or the default.

    `filled_flags` are those of `map_flags` that the map type requires and the spec does not have.
    """

    map_type: MapType | None
    key: TypeExpr | None
    value: TypeExpr | None
    max_entries: int | None
    map_flags: MapFlag | None
    map_extra: int | None
    numa_node: int | None
    filled_flags: MapFlag = MapFlag(0)


class Policy(msgspec.Struct, frozen=True):
    """Ownership and update of entries. None inherits: inner map from outer map from template from the default."""

    contents: Contents | None = None
    update: Update | None = None
    on_replace: OnReplace | None = None
    owned_keys: tuple[KeyRange, ...] = ()
    on_conflict: OnConflict | None = None
    migrate: Migrate | None = None
    owned_members: OwnedMembers | None = None


class InnerTemplate(msgspec.Struct, frozen=True):
    """The shape that all inner maps of an outer map share, and how they change."""

    name: str
    fields: MapFields
    policy: Policy
    prevent_destroy: bool
    where: Location


class InnerMap(msgspec.Struct, frozen=True):
    """A slot or range of slots of an outer map.

    `shared` names a shared inner map, `object_map` a map of the object: either replaces entries.
    """

    key: SpecNode | KeyRange
    entries: Entries | None
    max_entries: int | None
    shared: str | None
    policy: Policy
    where: Location
    object_map: str | None = None


class SharedInnerMap(msgspec.Struct, frozen=True):
    """An inner map for several slots; `inner` names its template."""

    name: str
    inner: str
    entries: Entries | None
    max_entries: int | None
    where: Location


class OuterMap(msgspec.Struct, frozen=True):
    """An outer map from an `object`, adopted by its `pin`, or else created by the provisioner.

    With both, the object uses the adopted map. `own` says that the project creates the map and pins it at `pin`.
    `also` are the other objects that have this map in common with `object`.
    """

    name: str
    object: str | None
    pin: ScalarNode | None
    fields: MapFields
    inner: str
    inner_maps: tuple[InnerMap, ...] | TableRef
    default_shared: str | None
    policy: Policy
    extra_inner_maps: ExtraInnerMaps
    limits: ChangeLimits | None
    prevent_destroy: bool
    after: tuple[ScalarNode, ...]
    where: Location
    also: tuple[str, ...] = ()
    own: bool = False

    @property
    def adopts(self) -> bool:
        """Whether another owner made the map."""
        return self.pin is not None and not self.own

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that have the map."""
        return (self.object, *self.also) if self.object is not None else ()


class PlainMap(msgspec.Struct, frozen=True):
    """A map that is neither an outer nor an inner map: an index, a switch, an allow list. `also` as in `OuterMap`."""

    name: str
    object: str | None
    pin: ScalarNode | None
    fields: MapFields
    entries: Entries | None
    policy: Policy
    prevent_destroy: bool
    after: tuple[ScalarNode, ...]
    where: Location
    also: tuple[str, ...] = ()
    own: bool = False
    limits: ChangeLimits | None = None

    @property
    def adopts(self) -> bool:
        """Whether another owner made the map."""
        return self.pin is not None and not self.own

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that have the map."""
        return (self.object, *self.also) if self.object is not None else ()


class Program(msgspec.Struct, frozen=True):
    """A program of an object, the name of its pin, and where it is attached, in the order of the spec."""

    name: str
    pin: str
    attachments: tuple[Attachment, ...]
    where: Location
    settings: ProgramSettings = ProgramSettings()


class VariableValue(msgspec.Struct, frozen=True):
    """The value of a global variable of an object, as text."""

    node: SpecNode
    where: Location


class BpfObject(msgspec.Struct, frozen=True):
    """A compiled object file; `file` is as written, relative to the spec file.

    `maps` has what the loader sets of the object's maps before it loads them, `variables` the values of its globals.
    `left_out` are the programs that are listed and not loaded.
    """

    name: str
    file: ScalarNode
    programs: tuple[Program, ...]
    where: Location
    maps: Mapping[str, MapSettings] = {}
    variables: Mapping[str, VariableValue] = {}
    left_out: tuple[Program, ...] = ()


class Spec(msgspec.Struct, frozen=True):
    """One project. Mappings keep the order of the input; the plan alone decides the order of work."""

    name: str
    pin_root: str
    types: Mapping[str, TypeExpr]
    inner_templates: Mapping[str, InnerTemplate]
    objects: Mapping[str, BpfObject]
    shared_inner_maps: Mapping[str, SharedInnerMap]
    maps: Mapping[str, PlainMap]
    outer_maps: Mapping[str, OuterMap]
    limits: ChangeLimits | None
    pin_inner_maps: bool
    pin_mode: int | None
    pin_group: str | None
    where: Location
    approvals: tuple[Approval, ...] = ()
    moved: tuple[Move, ...] = ()
