"""Types as users write them: a closed set of values without a layout.

`codec.build` turns a `TypeExpr` and the spec's named types into a `codec.Type`, which knows bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, assert_never

import msgspec

from provisioner.model.location import Location

VMLINUX: Final = "vmlinux"
"""The source of types of the kernel."""


class NamedType(msgspec.Struct, frozen=True):
    """A built-in type (`u32`, `ipv4`) or one of `types`."""

    name: str
    where: Location


class ArrayType(msgspec.Struct, frozen=True):
    """`T[count]`; with the element `char` it is text, with `bytes` it is hex."""

    element: TypeExpr
    count: int
    where: Location


class Member(msgspec.Struct, frozen=True):
    """A named part of a struct or union."""

    name: str
    type: TypeExpr
    where: Location


class StructType(msgspec.Struct, frozen=True):
    """Members in order, in the layout of C; `packed` means no padding."""

    members: tuple[Member, ...]
    packed: bool
    where: Location


class UnionType(msgspec.Struct, frozen=True):
    """A value has exactly one of the members."""

    members: tuple[Member, ...]
    where: Location


class EnumType(msgspec.Struct, frozen=True):
    """Names for numbers, stored as the integer type `base`."""

    names: tuple[tuple[str, int], ...]
    base: NamedType
    where: Location


class LpmKeyType(msgspec.Struct, frozen=True):
    """The key of an LPM trie: a u32 prefix length and `data`, most significant bit first."""

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
        """Whether the type comes from a live map."""
        return self.source.startswith("/")

    @property
    def is_of_host(self) -> bool:
        """Whether the type comes from a live map or the kernel, and so can be read on the host only."""
        return self.is_live or self.source == VMLINUX


class OptionType(msgspec.Struct, frozen=True):
    """`type` with options: `sensitive` hides its values in output, `unit` (`s`, `B`) accepts `10ms` or `64KiB`."""

    type: TypeExpr
    sensitive: bool
    unit: str
    where: Location


TypeExpr = NamedType | ArrayType | StructType | UnionType | EnumType | LpmKeyType | BtfType | OptionType


def parts(expr: TypeExpr) -> Iterator[TypeExpr]:
    """A type and all types within it."""
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
    for inner in within:
        yield from parts(inner)


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
    """Whether any part of a value of the type must not appear in output."""
    return expr is not None and any(isinstance(part, OptionType) and part.sensitive for part in reachable(expr, types))
