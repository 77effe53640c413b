"""Members of a key or value that the spec sets to constants, by their paths. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from provisioner.codec.layout import Field, Struct
from provisioner.codec.owned import Owned
from provisioner.codec.percpu import PerCpu
from provisioner.codec.sensitive import Sensitive
from provisioner.model.desired import Constants
from provisioner.model.errors import Problems
from provisioner.model.tree import ScalarNode
from provisioner.model.types import Path, Type


def plain(type_: Type) -> Type:
    """The type of one value, without what only says how it is shown or spread."""
    while isinstance(type_, PerCpu | Sensitive | Owned):
        type_ = type_.element if isinstance(type_, PerCpu) else type_.inner
    return type_


def member_at(type_: Type, path: Path) -> tuple[Field, tuple[str, ...], Path] | None:
    """The deepest named member on `path`, its offset in the whole, its name, and the rest of the path."""
    offset, rest, inside = 0, path, plain(type_)
    names: tuple[str, ...] = ()
    match_: tuple[Field, tuple[str, ...], Path] | None = None
    while rest and isinstance(inside, Struct):
        field = next((each for each in inside.fields if rest[0] in each.reached_by()), None)
        if field is None:
            return None
        offset += field.offset
        if field.name:
            names, rest = (*names, field.name), rest[1:]
            match_ = Field(field.name, field.type, offset), names, rest
        inside = plain(field.type)
    return match_


def constants(type_: Type, scalars: Mapping[Path, ScalarNode], address: str, problems: Problems) -> Constants:
    """The bytes of the members that `set` names, in one row of zeros."""
    row = np.zeros((1, plain(type_).size), np.uint8)
    groups: dict[tuple[str, ...], tuple[Field, dict[Path, ScalarNode]]] = {}
    for path, node in scalars.items():
        member = member_at(type_, path)
        assert member is not None
        field, names, rest = member
        groups.setdefault(names, (field, {}))[1][rest] = node
    for names, (field, columns) in groups.items():
        faults = field.type.encode({rest: [node.text] for rest, node in columns.items()}, field.span(row))
        for fault in faults:
            node = columns.get(fault.path) or next(iter(columns.values()))
            problems.add(f"{'.'.join(names)}: {fault.what}", node.where, fault.hint, address, id=fault.id)
    return Constants(row[0], frozenset(".".join(names) for names in groups))
