"""The `owned_members` of a template or plain map: names checked against its value, the other members set. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from provisioner.codec.layout import Struct, Union
from provisioner.codec.members import Absent
from provisioner.codec.owned import Owned, owned
from provisioner.desired.constants import constants, member_at, plain
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.map_shape import MapShape
from provisioner.model.spec import OwnedMembers, Policy, Update
from provisioner.model.tree import ScalarNode
from provisioner.model.types import Bytes, Path, Type, shown
from provisioner.model.words import with_article

_SHARES: Final = "a union: its members share their bytes"


def with_owned_members(policy: Policy, value: Type, shape: MapShape, address: str, problems: Problems) -> Type:
    """The type of values in which the members are ours that `policy` names; `value` itself if it names none."""
    written = policy.owned_members
    if written is None:
        return value
    checks = _Check(written, value, address, problems)
    before = len(problems)
    if not shape.is_listable:
        what = f"`owned_members` are not supported in {with_article(shape.map_type.word)}"
        problems.add(what, written.where, "remove it", address, id="unsupported-by-map-type")
        return value
    if policy.update is Update.REPLACE:
        refuse_replace(written, address, problems)
    struct = plain(value)
    if not isinstance(struct, Struct):
        what = f"`owned_members` names members, and the value is {with_article(struct.describe())}"
        problems.add(what, written.where, "use a struct, or remove `owned_members`", address, id="owned-not-a-struct")
        return value
    paths = checks.paths(struct)
    if len(problems) > before:
        return value
    made = owned(value, paths, np.zeros(struct.size, np.uint8))
    checks.not_all(made)
    checks.whole_bytes(made, paths)
    row = checks.initial(made)
    return owned(value, paths, row) if len(problems) == before else value


def refuse_replace(written: OwnedMembers, address: str, problems: Problems) -> None:
    """Add the problem of a map that would be replaced for each change."""
    what = "`update: replace` would replace the members of other writers with each change"
    hint = "remove `update`, or `owned_members`"
    problems.add(what, written.where, hint, address, id="replace-with-owned-members")


class _Check:
    """The checks of one map; each problem is at the name that causes it."""

    def __init__(self, written: OwnedMembers, value: Type, address: str, problems: Problems) -> None:
        self._written = written
        self._value = value
        self._address = address
        self._problems = problems

    def _add(self, node: ScalarNode, what: str, hint: str, *, id: str) -> None:
        self._problems.add(what, node.where, hint, self._address, id=id)

    def paths(self, struct: Struct) -> list[tuple[str, ...]]:
        """The paths of the members, each of which is there and once."""
        done: dict[tuple[str, ...], ScalarNode] = {}
        for node in self._written.names:
            path = tuple((node.text or "").split("."))
            if not self._is_member(node, struct, path):
                continue
            other = next((each for each in done if each[: len(path)] == path or path[: len(each)] == each), None)
            if other is not None:
                what = f"member {shown(node.text or '')} is part of `{'.'.join(other)}`, which is listed too"
                if other == path:
                    what = f"member {shown(node.text or '')} is listed twice"
                elif len(other) > len(path):
                    what = f"member {shown(node.text or '')} contains `{'.'.join(other)}`, which is listed too"
                self._add(node, what, "remove one of the two", id="duplicate-key")
                continue
            done[path] = node
        return list(done)

    def _is_member(self, node: ScalarNode, struct: Struct, path: tuple[str, ...]) -> bool:
        inside: Type = struct
        for depth, name in enumerate(path):
            if isinstance(inside, Union):
                return self._in_union(node, ".".join(path[:depth]))
            fields = dict(_reached(inside)) if isinstance(inside, Struct) else {}
            if name not in fields:
                if isinstance(inside, Struct) and any(name in field.reached_by() for field in inside.fields):
                    return self._in_union(node, "")
                above = f"`{'.'.join(path[:depth])}`" if depth else f"the {struct.describe()}"
                what = f"{above} has no member {shown(name)}"
                self._add(node, what, did_you_mean(name, fields), id="unknown-field")
                return False
            inside = fields[name] if isinstance(fields[name], Absent) else plain(fields[name])
        if isinstance(inside, Absent):
            fault = inside.refused(".".join(path))
            self._add(node, fault.what, "remove it from `owned_members`", id=fault.id)
        return not isinstance(inside, Absent)

    def _in_union(self, node: ScalarNode, union: str) -> bool:
        hint = f"own all of it: `{union}`" if union else "give the union a name, and own all of it"
        self._add(node, f"member {shown(node.text or '')} is in {_SHARES}", hint, id="owned-member-shares-bytes")
        return False

    def not_all(self, made: Owned) -> None:
        if not made.theirs.mask().any():
            what = "all members are in `owned_members`, so that none is left for other writers"
            self._problems.add(what, self._written.where, "remove it", self._address, id="owned-members-all")

    def whole_bytes(self, made: Owned, paths: list[tuple[str, ...]]) -> None:
        """A bit field can be written alone only with all bits of its bytes."""
        shared = (made.ours.mask() != 0) & (made.theirs.mask() != 0)
        for path, node in zip(paths, self._written.names, strict=False):
            member = member_at(self._value, path)
            if member is None:
                continue
            field = member[0]
            if shared[field.offset : field.offset + field.type.size].any():
                what = f"member `{'.'.join(path)}` has bits in one byte with a member of other writers"
                self._add(node, what, "own all bit fields of this byte, or none", id="owned-member-shares-bytes")

    def initial(self, made: Owned) -> Bytes:
        """The bytes of the members that `set` names."""
        scalars: dict[Path, ScalarNode] = {}
        mask = made.ours.mask()
        for path, node in self._written.set:
            member = member_at(self._value, path)
            name = ".".join(map(str, path))
            if member is None:
                struct = plain(self._value)
                known = [each for each, _ in _reached(struct)] if isinstance(struct, Struct) else []
                what = f"the {struct.describe()} has no member {shown(name)}"
                self._add(node, what, did_you_mean(name, known), id="unknown-field")
            elif mask[member[0].offset : member[0].offset + member[0].type.size].any():
                what = f"`set` has member {shown(name)}, which is in `owned_members`"
                self._add(node, what, "write it in the entries, and not in `set`", id="conflicting-fields")
            else:
                scalars[path] = node
        return constants(self._value, scalars, self._address, self._problems).row


def _reached(struct: Struct) -> Iterator[tuple[str, Type]]:
    """The members by the names that reach them; those of a struct without a name are members of the struct around."""
    for field in struct.fields:
        if field.name:
            yield field.name, field.type
        elif isinstance(field.type, Struct):
            yield from _reached(field.type)
