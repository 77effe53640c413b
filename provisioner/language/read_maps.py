"""What stands below a map's name -> the parts of a Spec: fields, policy, entries, inner maps. Pure.

Readers take a tree that the schema may have found fault with: what has the wrong form is passed over here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final, TypeVar

from provisioner.language.read_types import read_type
from provisioner.language.scalars import integer, plain
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.spec import (
    Contents,
    Entries,
    InnerMap,
    KeyRange,
    Limits,
    MapFields,
    OnReplace,
    Policy,
    TableColumn,
    TableRef,
    Update,
)
from provisioner.model.tree import Mapping, Node, RawEntries, Scalar, Sequence, flatten
from provisioner.model.uapi import NEEDED_FLAGS, MapFlag, MapType

POSSIBLE_CPUS: Final = "possible_cpus"
UINT32_MAX: Final = (1 << 32) - 1
UINT64_MAX: Final = (1 << 64) - 1
_Choice = TypeVar("_Choice", bound=Enum)
_FLAGS: Final = {flag.name.lower(): flag for flag in MapFlag if flag.name}
_TYPES: Final = {map_type.word: map_type for map_type in MapType}


def text(node: Node | None) -> str | None:
    return node.text if isinstance(node, Scalar) else None


def number(node: Node | None, low: int = 0, high: int = UINT32_MAX) -> int | None:
    """An integer without quotes, from `low` to `high`; None for everything else, which the schema reports."""
    value = plain(node) if isinstance(node, Scalar) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def capacity(node: Node | None) -> int | None:
    """A `max_entries`, which the kernel holds in 32 bits."""
    return number(node, 1)


def is_true(node: Node | None) -> bool:
    return isinstance(node, Scalar) and plain(node) is True


def choice(kind: type[_Choice], node: Node | None) -> _Choice | None:
    """The member of `kind` whose value is written."""
    written = text(node)
    return next((member for member in kind if member.value == written), None)


def names(node: Node | None) -> tuple[Scalar, ...]:
    items = node.items if isinstance(node, Sequence) else ()
    return tuple(item for item in items if isinstance(item, Scalar) and item.text)


def read_fields(body: Mapping, problems: Problems) -> MapFields:
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


def _flags(node: Node | None) -> MapFlag | None:
    """Flags as written."""
    if not isinstance(node, Sequence):
        return None
    flags = MapFlag(0)
    for name in names(node):
        flags |= _FLAGS.get(name.text or "", MapFlag(0))
    return flags


def read_policy(body: Mapping, problems: Problems) -> Policy:
    owned = body.get("owned_keys")
    written = owned.items if isinstance(owned, Sequence) else (owned,)
    ranges = (_owned(item, problems) for item in written if isinstance(item, Scalar) and item.text)
    return Policy(
        contents=choice(Contents, body.get("contents")),
        update=choice(Update, body.get("update")),
        on_replace=choice(OnReplace, body.get("on_replace")),
        owned_keys=tuple(found for found in ranges if found),
    )


def _owned(node: Scalar, problems: Problems) -> KeyRange | None:
    if ".." not in (node.text or "") or node.quoted:
        return KeyRange(node, node, node.where)
    return _range(node, problems)


def _range(node: Scalar, problems: Problems) -> KeyRange | None:
    """`first..last`; None with a Problem where an end is missing or they are in the wrong order."""
    written = node.text or ""
    first, _, last = written.partition("..")
    if not first or not last or ".." in last or last.startswith("."):
        hint = "write `first..last`, both included; quote a key that holds `..` itself"
        problems.add("invalid range of keys", node.where, hint)
        return None
    low, high = integer(first), integer(last)
    if low is not None and high is not None and low > high:
        problems.add("the range ends before it begins", node.where, "write the smaller number first")
        return None
    last_at = Location(node.where.file, node.where.line, node.where.column + len(first) + 2)
    return KeyRange(Scalar(first, node.where), Scalar(last, last_at), node.where)


def read_limits(node: Node | None) -> Limits | None:
    if not isinstance(node, Mapping):
        return None
    percents = number(node.get("delete_percent"), 0, 100), number(node.get("update_percent"), 0, 100)
    return Limits(*percents, number(node.get("at_least")), node.where)


def read_entries(node: Node | None) -> Entries | None:
    match node:
        case RawEntries():
            return node
        case Mapping():
            return read_table(node)
        case _:
            return None


def read_table(node: Mapping) -> TableRef | None:
    """A mapping that begins with `from`; None where that names no file."""
    file = node.get("from")
    if not isinstance(file, Scalar) or not file.text:
        return None
    return TableRef(
        file=file,
        format=text(node.get("format")),
        key=_column(node.get("key")),
        value=_column(node.get("value")),
        outer_key=_column(node.get("outer_key")),
        where=node.where,
    )


def _column(node: Node | None) -> TableColumn | None:
    if node is None or isinstance(node, RawEntries):
        return None
    found = tuple((path, scalar.text) for path, scalar in flatten(node) if scalar.text)
    return TableColumn(found, node.where) if found else None


def read_inner_maps(node: Node | None, problems: Problems) -> tuple[InnerMap, ...] | TableRef:
    match node:
        case Mapping() if node.is_table:
            return read_table(node) or ()
        case Mapping():
            pairs: Iterator[tuple[Node, Location, Node]] = ((key, key.where, body) for _, key, body in node.named())
        case Sequence(items):
            listed = ((item.get("key"), item) for item in items if isinstance(item, Mapping))
            pairs = ((key, item.where, item) for key, item in listed if key is not None)
        case _:
            return ()
    found = (_inner_map(key, where, body, problems) for key, where, body in pairs if isinstance(body, Mapping))
    return tuple(inner_map for inner_map in found if inner_map)


def _inner_map(key: Node, where: Location, body: Mapping, problems: Problems) -> InnerMap | None:
    slot: Node | KeyRange | None = key
    if isinstance(key, Scalar) and not key.quoted:
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
    )
