"""The `migrate` of a map or template: names checked against its types, and values encoded by them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from provisioner.codec.build import Builder
from provisioner.codec.layouts import layout_of
from provisioner.codec.reshape_match import WHOLE
from provisioner.desired.constants import constants, member_at
from provisioner.model.desired import Migration
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.spec import FromTypes, Migrate, MigrateMode
from provisioner.model.tree import ScalarNode
from provisioner.model.type_expr import TypeExpr
from provisioner.model.type_layout import LayoutKind, TypeLayout
from provisioner.model.types import Path, Type, shown

ReadTypes = Callable[[ScalarNode], FromTypes | None]
"""Reads the file of `from_types`; None with a Problem added."""

MakeBuilder = Callable[[Mapping[str, TypeExpr]], Builder]
"""A builder of the types of a spec, with some more."""

_PLACES: Final = ("key", "value", "outer_key")


def encode_migration(
    written: Migrate | None,
    key: Type,
    value: Type,
    outer_key: Type | None,
    read_types: ReadTypes,
    builder: MakeBuilder,
    address: str,
    problems: Problems,
) -> Migration | None:
    """The `migrate` of one map; `outer_key` is None for a plain map."""
    if written is None:
        return None
    types = [key, value] + ([outer_key] if outer_key is not None else [])
    known = Counter(path or WHOLE for type_ in types for path in _names(layout_of(type_)))
    _check_renames(written, known, address, problems)
    key_part: dict[Path, ScalarNode] = {}
    value_part: dict[Path, ScalarNode] = {}
    for path, node in written.set:
        owner = next((each for each in (value, key) if member_at(each, path) is not None), None)
        if owner is None:
            name = ".".join(map(str, path))
            what = f"{shown(name)} is not a member of the key or the value"
            problems.add(what, node.where, did_you_mean(name, known), address, id="unknown-field")
        else:
            (value_part if owner is value else key_part)[path] = node
    given = _given(written, read_types, builder)
    return Migration(
        drop=written.mode is MigrateMode.DROP,
        rename={old: new.text or "" for old, new in written.rename},
        key_constants=constants(key, key_part, address, problems),
        value_constants=constants(value, value_part, address, problems),
        key=given.get("key"),
        value=given.get("value"),
        outer_key=given.get("outer_key"),
        where=written.where,
    )


def _names(layout: TypeLayout, path: str = "") -> Iterator[str]:
    """The dotted names of a type and its members, those of the elements of arrays among them."""
    yield path
    while layout.kind is LayoutKind.ARRAY:
        layout = layout.members[0].layout
    if layout.kind is LayoutKind.STRUCT:
        for part in layout.members:
            yield from _names(part.layout, f"{path}.{part.name}" if path else part.name)


def _check_renames(written: Migrate, known: Counter[str], address: str, problems: Problems) -> None:
    """Add the problems of `rename`; `known` has the names of new members, and in how many types each is."""
    constants = {".".join(map(str, path)): node for path, node in written.set}
    sources: dict[str, list[ScalarNode]] = {}
    for old, new in written.rename:
        name = new.text or ""
        if not old:
            what, hint = f"`rename` has no old name for {shown(name)}", f"write `{WHOLE}` for a value without members"
            problems.add(what, new.where, hint, address, id="empty-value")
        if name not in known:
            what = f"{shown(name)} is not a member of the key or the value"
            problems.add(what, new.where, did_you_mean(name, known), address, id="unknown-field")
            continue
        sources.setdefault(name, []).append(new)
        if len(sources[name]) > known[name]:
            what = f"two members are renamed to {shown(name)} (first at {sources[name][0].where})"
            problems.add(what, new.where, "remove one of the two", address, id="duplicate-key")
        elif name in constants and known[name] == 1:
            what = f"{shown(name)} takes the value of another member, and `set` gives it one"
            problems.add(what, constants[name].where, "remove one of the two", address, id="conflicting-fields")


def _given(written: Migrate, read_types: ReadTypes, builder: MakeBuilder) -> dict[str, TypeLayout]:
    """The layouts that the file of `from_types` has, by their place."""
    read = read_types(written.from_types) if written.from_types is not None else None
    if read is None:
        return {}
    types = builder(read.types)
    built = {place: types.build(expr) for place in _PLACES if (expr := getattr(read, place)) is not None}
    return {place: layout_of(type_) for place, type_ in built.items() if type_ is not None}
