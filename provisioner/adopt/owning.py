"""The owned members of a live map, in a spec that is made from it. Pure."""

from __future__ import annotations

import io
from collections.abc import Iterator

from provisioner.codec.display import format_value
from provisioner.codec.owned import Owned, initial_members, member_names
from provisioner.desired.owned_members import with_owned_members
from provisioner.document.compose import compose
from provisioner.document.events import Events
from provisioner.language.read_maps import read_owned_members
from provisioner.model.errors import Problems
from provisioner.model.map_shape import MapShape
from provisioner.model.record import RecordedTypes
from provisioner.model.spec import OwnedMembers, Policy
from provisioner.model.types import Type, Value


def recorded_members(types: RecordedTypes | None) -> OwnedMembers | None:
    """What a record has of the owned members of a map; None if the spec owns all, or if the record is malformed."""
    if types is None or not types.owned_members:
        return None
    names: list[Value] = [*types.owned_members]
    text = f"owned_members: {format_value(names)}\n" + (f"set: {types.set}\n" if types.set else "")
    problems = Problems()
    tree = compose(Events(io.BytesIO(text.encode())), "record", problems)
    return read_owned_members(tree) if tree is not None and not len(problems) else None


def with_members(type_: Type, written: OwnedMembers | None, shape: MapShape, problems: Problems) -> Type:
    """The type of values of which the members of `written` are ours; `type_` itself for None, and with a problem."""
    return with_owned_members(Policy(owned_members=written), type_, shape, "", problems)


def member_lines(type_: Type, indent: str) -> Iterator[str]:
    """The fields of a map whose values are of `type_`."""
    if isinstance(type_, Owned):
        names: list[Value] = [*member_names(type_.ours)]
        yield f"{indent}owned_members: {format_value(names)}"
        if initial := initial_members(type_):
            yield f"{indent}set: {format_value(initial)}"
