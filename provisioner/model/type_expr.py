"""Types as users write them: a closed set of values, before any layout is known.

`codec.build` turns a `TypeExpr` and the spec's named types into a `codec.Type`, which knows bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, assert_never

import msgspec

from provisioner.model.location import Location

VMLINUX: Final = "vmlinux"
"""The source of types that are the kernel's own."""


class NamedType(msgspec.Struct, frozen=True):
    """A built-in (`u32`, `ipv4`) or one of the spec's own `types`."""

    name: str
    where: Location


class ArrayType(msgspec.Struct, frozen=True):
    """`T[count]`; `char[16]` is text and `bytes[8]` is hex, both by their element's name."""

    element: TypeExpr
    count: int
    where: Location


class Member(msgspec.Struct, frozen=True):
    """A named part of a struct or union."""

    name: str
    type: TypeExpr
    where: Location


class StructType(msgspec.Struct, frozen=True):
    """Members in order, laid out as C does; `packed` leaves no padding."""

    members: tuple[Member, ...]
    packed: bool
    where: Location


class UnionType(msgspec.Struct, frozen=True):
    """A value names exactly one of the members."""

    members: tuple[Member, ...]
    where: Location


class EnumType(msgspec.Struct, frozen=True):
    """Names for numbers, stored as the integer type `base`; a number without a name is taken as well."""

    names: tuple[tuple[str, int], ...]
    base: NamedType
    where: Location


class LpmKeyType(msgspec.Struct, frozen=True):
    """A u32 prefix length and `data`, most significant bit first: what an LPM trie takes as its key."""

    data: TypeExpr
    where: Location


class BtfType(msgspec.Struct, frozen=True):
    """A type out of BTF: `name` as C writes it (`struct vip`), `refine` says what members mean (`port: be16`).

    `source` names the object, `vmlinux`, the absolute path of a live map's pin, or is empty for the object of the map
    that uses it.
    """

    name: str
    source: str
    refine: tuple[Member, ...]
    where: Location

    @property
    def is_live(self) -> bool:
        """Whether it comes from a live map."""
        return self.source.startswith("/")

    @property
    def is_of_host(self) -> bool:
        """Whether it comes from a live map or the kernel: only the host that has them can tell."""
        return self.is_live or self.source == VMLINUX


class OptionType(msgspec.Struct, frozen=True):
    """`type` with options: `sensitive` keeps its values out of output, `unit` (`s`, `B`) takes `10ms` or `64KiB`."""

    type: TypeExpr
    sensitive: bool
    unit: str
    where: Location


TypeExpr = NamedType | ArrayType | StructType | UnionType | EnumType | LpmKeyType | BtfType | OptionType


def parts(expr: TypeExpr) -> Iterator[TypeExpr]:
    """A type and all types that are written within it."""
    yield expr
    match expr:
        case StructType(members) | UnionType(members) | BtfType(refine=members):
            within = [member.type for member in members]
        case ArrayType(inner) | LpmKeyType(inner) | OptionType(inner):
            within = [inner]
        case NamedType() | EnumType():
            within = []
        case _:
            assert_never(expr)
    for one in within:
        yield from parts(one)


def reachable(expr: TypeExpr, types: Mapping[str, TypeExpr]) -> Iterator[TypeExpr]:
    """A type, all types within it, and those behind the names that it uses; each name is followed once."""
    seen: set[str] = set()
    pending = [expr]
    while pending:
        for part in parts(pending.pop()):
            yield part
            if isinstance(part, NamedType) and part.name in types and part.name not in seen:
                seen.add(part.name)
                pending.append(types[part.name])


def is_sensitive(expr: TypeExpr | None, types: Mapping[str, TypeExpr]) -> bool:
    """Whether any part of a value of the type must stay out of output."""
    return expr is not None and any(isinstance(part, OptionType) and part.sensitive for part in reachable(expr, types))
