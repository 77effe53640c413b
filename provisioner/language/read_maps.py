"""Reads the parts of a map for a Spec: fields, policy, entries, inner maps. Pure.

The tree can have errors that the schema reports: nodes of the wrong form are skipped here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final, TypeVar

from provisioner.language.read_types import read_type
from provisioner.language.scalars import integer, plain
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import (
    ChangeLimits,
    Contents,
    Entries,
    FromTypes,
    InnerMap,
    KeyRange,
    MapFields,
    Migrate,
    MigrateMode,
    OnConflict,
    OnReplace,
    OwnedMembers,
    Policy,
    TableColumn,
    TableRef,
    Update,
)
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode, flatten
from provisioner.model.types import shown
from provisioner.model.uapi import NEEDED_FLAGS, MapFlag, MapType

POSSIBLE_CPUS: Final = "possible_cpus"
UINT32_MAX: Final = (1 << 32) - 1
UINT64_MAX: Final = (1 << 64) - 1
_OF_TYPES: Final = ("key", "value", "outer_key", "types")
_Choice = TypeVar("_Choice", bound=Enum)
_FLAGS: Final = {flag.name.lower(): flag for flag in MapFlag if flag.name}
_TYPES: Final = {map_type.word: map_type for map_type in MapType}


def text(node: SpecNode | None) -> str | None:
    return node.text if isinstance(node, ScalarNode) else None


def number(node: SpecNode | None, low: int = 0, high: int = UINT32_MAX) -> int | None:
    """An integer without quotes, from `low` to `high`; None for everything else, which the schema reports."""
    value = plain(node) if isinstance(node, ScalarNode) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def capacity(node: SpecNode | None) -> int | None:
    """A `max_entries`, which the kernel holds in 32 bits."""
    return number(node, 1)


def choice(kind: type[_Choice], node: SpecNode | None) -> _Choice | None:
    """The member of `kind` with the value of the node."""
    written = text(node)
    return next((member for member in kind if member.value == written), None)


def names(node: SpecNode | None) -> tuple[ScalarNode, ...]:
    items = node.items if isinstance(node, SequenceNode) else ()
    return tuple(item for item in items if isinstance(item, ScalarNode) and item.text)


def read_fields(body: MappingNode, problems: Problems) -> MapFields:
    map_type = _TYPES.get(text(body.get("type")) or "")
    flags = _flags(body.get("flags"))
    needed = NEEDED_FLAGS.get(map_type, MapFlag(0)) if map_type is not None else MapFlag(0)
    return MapFields(
        map_type=map_type,
        key=read_type(body.get("key"), problems),
        value=read_type(body.get("value"), problems),
        max_entries=capacity(body.get("max_entries")),
        map_flags=(flags or MapFlag(0)) | needed if needed else flags,
        map_extra=number(body.get("map_extra"), 0, UINT64_MAX),
        numa_node=number(body.get("numa_node")),
        filled_flags=needed & ~(flags or MapFlag(0)),
    )


def _flags(node: SpecNode | None) -> MapFlag | None:
    """The flags of the spec, without those that the map type needs."""
    if not isinstance(node, SequenceNode):
        return None
    flags = MapFlag(0)
    for name in names(node):
        flags |= _FLAGS.get(name.text or "", MapFlag(0))
    return flags


def read_policy(body: MappingNode, problems: Problems) -> Policy:
    owned = body.get("owned_keys")
    written = owned.items if isinstance(owned, SequenceNode) else (owned,)
    ranges = (_owned(item, problems) for item in written if isinstance(item, ScalarNode) and item.text)
    return Policy(
        contents=choice(Contents, body.get("contents")),
        update=choice(Update, body.get("update")),
        on_replace=choice(OnReplace, body.get("on_replace")),
        on_conflict=choice(OnConflict, body.get("on_conflict")),
        owned_keys=tuple(owned_range for owned_range in ranges if owned_range),
        migrate=read_migrate(body.get("migrate")),
        owned_members=read_owned_members(body),
    )


def read_owned_members(body: MappingNode) -> OwnedMembers | None:
    """`owned_members` and `set`, of which the second needs the first."""
    owned, constants = body.get("owned_members"), body.get("set")
    if owned is None:
        return None
    pairs = tuple(flatten(constants)) if isinstance(constants, MappingNode) else ()
    return OwnedMembers(names(owned), pairs, owned.where)


def read_migrate(node: SpecNode | None) -> Migrate | None:
    """`auto`, `drop`, or a mapping, which is `auto` with the names and values of members."""
    if isinstance(node, ScalarNode):
        mode = choice(MigrateMode, node)
        return Migrate(mode, (), (), None, node.where) if mode is not None else None
    if not isinstance(node, MappingNode):
        return None
    renamed, constants, file = node.get("rename"), node.get("set"), node.get("from_types")
    pairs = renamed.named() if isinstance(renamed, MappingNode) else ()
    return Migrate(
        MigrateMode.AUTO,
        tuple((old, new) for old, _, new in pairs if isinstance(new, ScalarNode) and new.text),
        tuple(flatten(constants)) if isinstance(constants, MappingNode) else (),
        file if isinstance(file, ScalarNode) and file.text else None,
        node.where,
    )


def read_from_types(tree: MappingNode, problems: Problems) -> FromTypes:
    """The file of `from_types`: `key`, `value` and `outer_key`, and the `types` that they name."""
    for name, written, _ in tree.named():
        if name not in _OF_TYPES:
            what, known = f"{shown(name)} is not a field of a file of `from_types`", did_you_mean(name, _OF_TYPES)
            problems.add(what, written.where, known, id="unknown-field")
    named = tree.get("types")
    pairs = named.named() if isinstance(named, MappingNode) else ()
    types = ((name, read_type(node, problems)) for name, _, node in pairs)
    key, value, outer = (read_type(tree.get(name), problems) for name in ("key", "value", "outer_key"))
    return FromTypes({name: type_ for name, type_ in types if type_ is not None}, key, value, outer)


def _owned(node: ScalarNode, problems: Problems) -> KeyRange | None:
    if ".." not in (node.text or "") or node.quoted:
        return KeyRange(node, node, node.where)
    return _range(node, problems)


def _range(node: ScalarNode, problems: Problems) -> KeyRange | None:
    """`first..last`; None with a Problem if an end is missing or the ends are in the wrong order."""
    written = node.text or ""
    first, _, last = written.partition("..")
    if not first or not last or ".." in last or last.startswith("."):
        hint = "write `first..last`, inclusive; quote a key that contains `..`"
        problems.add("invalid range of keys", node.where, hint, id="invalid-range")
        return None
    low, high = integer(first), integer(last)
    if low is not None and high is not None and low > high:
        problems.add(
            "the range ends before it begins", node.where, "write the smaller number first", id="invalid-range"
        )
        return None
    last_at = Location(node.where.file, node.where.line, node.where.column + len(first) + 2)
    return KeyRange(ScalarNode(first, node.where), ScalarNode(last, last_at), node.where)


def read_limits(node: SpecNode | None) -> ChangeLimits | None:
    if not isinstance(node, MappingNode):
        return None
    percents = number(node.get("delete_percent"), 0, 100), number(node.get("update_percent"), 0, 100)
    return ChangeLimits(*percents, number(node.get("at_least")), node.where)


def read_entries(node: SpecNode | None) -> Entries | None:
    match node:
        case RawEntries():
            return node
        case MappingNode():
            return read_table(node)
        case _:
            return None


def read_table(node: MappingNode) -> TableRef | None:
    """A mapping that begins with `from`; None if `from` is not the name of a file."""
    file = node.get("from")
    if not isinstance(file, ScalarNode) or not file.text:
        return None
    return TableRef(
        file=file,
        format=text(node.get("format")),
        key=_column(node.get("key")),
        value=_column(node.get("value")),
        outer_key=_column(node.get("outer_key")),
        where=node.where,
        delimiter=_delimiter(text(node.get("delimiter"))),
    )


def _delimiter(given: str | None) -> str | None:
    """Empty for one that the schema refuses: such a table is not read."""
    return given if given is None or (len(given) == 1 and given.isascii() and given not in '"\r\n') else ""


def _column(node: SpecNode | None) -> TableColumn | None:
    if node is None or isinstance(node, RawEntries):
        return None
    columns = tuple((path, scalar.text) for path, scalar in flatten(node) if scalar.text)
    return TableColumn(columns, node.where) if columns else None


def read_inner_maps(node: SpecNode | None, problems: Problems) -> tuple[InnerMap, ...] | TableRef:
    match node:
        case MappingNode() if node.is_table:
            return read_table(node) or ()
        case MappingNode():
            pairs: Iterator[tuple[SpecNode, Location, SpecNode]] = (
                (key, key.where, body) for _, key, body in node.named()
            )
        case SequenceNode(items):
            listed = ((item.get("key"), item) for item in items if isinstance(item, MappingNode))
            pairs = ((key, item.where, item) for key, item in listed if key is not None)
        case _:
            return ()
    read = (_inner_map(key, where, body, problems) for key, where, body in pairs if isinstance(body, MappingNode))
    return tuple(inner_map for inner_map in read if inner_map)


def _inner_map(key: SpecNode, where: Location, body: MappingNode, problems: Problems) -> InnerMap | None:
    slot: SpecNode | KeyRange | None = key
    if isinstance(key, ScalarNode) and not key.quoted:
        if key.text == POSSIBLE_CPUS:
            slot = KeyRange(None, None, key.where)
        elif ".." in (key.text or ""):
            slot = _range(key, problems)
    if slot is None or isinstance(slot, RawEntries):
        return None
    return InnerMap(
        key=slot,
        entries=read_entries(body.get("entries")),
        max_entries=capacity(body.get("max_entries")),
        shared=text(body.get("shared")),
        policy=read_policy(body, problems),
        where=where,
        object_map=text(body.get("object_map")),
    )
