"""Types as text: how a spec writes a `TypeExpr`, and which `TypeExpr` a codec type could have come from. Pure."""

from __future__ import annotations

import re
from typing import Final, assert_never

from provisioner.codec.array import Array
from provisioner.codec.build import ELEMENTS, builtins
from provisioner.codec.display import format_value
from provisioner.codec.integer import Boolean, Enum, Integer
from provisioner.codec.layout import Struct, Union, lay_out_struct, lay_out_union
from provisioner.codec.lpm import LpmScalar, LpmStruct
from provisioner.codec.owned import Owned
from provisioner.codec.percpu import PerCpu
from provisioner.codec.scalar import ScalarType
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.text import Char, HexBytes
from provisioner.codec.units import Quantity
from provisioner.model.location import Location
from provisioner.model.type_expr import (
    ArrayType,
    BtfType,
    EnumType,
    LpmKeyType,
    Member,
    NamedType,
    OptionType,
    StructType,
    TypeExpr,
    UnionType,
)
from provisioner.model.types import Type

HERE: Final = Location("")
"""The place of types that are not in a file."""

_TAKEN: Final = frozenset({*builtins("little", {}), *ELEMENTS})
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def spell(expr: TypeExpr) -> str:
    """A type as a spec writes it, on one line."""
    match expr:
        case NamedType(name):
            return name
        case ArrayType(element, count):
            inner: TypeExpr = element
            counts = f"[{count}]"
            while isinstance(inner, ArrayType):
                counts += f"[{inner.count}]"
                inner = inner.element
            return spell(inner) + counts
        case StructType(members, packed):
            return f"{{struct: {_members(members)}{', packed: true' if packed else ''}}}"
        case UnionType(members):
            return f"{{union: {_members(members)}}}"
        case EnumType(names, base):
            listed = ", ".join(f"{format_value(name)}: {number}" for name, number in names)
            return f"{{enum: {{{listed}}}, base: {base.name}}}"
        case LpmKeyType(data):
            return f"{{lpm_key: {_nested(data)}}}"
        case BtfType(name, source, refine):
            origin = f", from: {format_value(source)}" if source else ""
            return f"{{btf: {format_value(name)}{origin}{f', as: {_members(refine)}' if refine else ''}}}"
        case OptionType(inside, sensitive, unit):
            options = (", sensitive: true" if sensitive else "") + (f", unit: {format_value(unit)}" if unit else "")
            return f"{{type: {_nested(inside)}{options}}}"
        case _:
            assert_never(expr)


def _members(members: tuple[Member, ...]) -> str:
    return "{" + ", ".join(f"{format_value(member.name)}: {_nested(member.type)}" for member in members) + "}"


def _nested(expr: TypeExpr) -> str:
    """A type inside braces, where a plain bracket is special in YAML."""
    text = spell(expr)
    return f'"{text}"' if isinstance(expr, ArrayType) else text


def opaque(size: int) -> TypeExpr:
    """`bytes[size]`."""
    return ArrayType(NamedType("bytes", HERE), size, HERE)


class Vocabulary:
    """Named types of a spec that is being written; structs of BTF keep their C names."""

    def __init__(self, types: dict[str, TypeExpr]) -> None:
        self.types = dict(types)

    def express(self, type_: Type) -> TypeExpr | None:
        """A type with the layout of `type_`; None if only BTF can express it, such as bit fields."""
        match type_:
            case Integer(name=name):
                return NamedType(name, HERE) if name in _TAKEN else None
            case Boolean():
                return NamedType("bool", HERE)
            case Enum(names=names, base=base):
                fits = bool(names) and all(_IDENTIFIER.fullmatch(name) for name, _ in names)
                return EnumType(names, NamedType(base.name, HERE), HERE) if fits else NamedType(base.name, HERE)
            case Char(length=length):
                return ArrayType(NamedType("char", HERE), length, HERE)
            case HexBytes(length=length):
                return opaque(length)
            case Array(element=element, count=count):
                inner = self.express(element)
                return ArrayType(self._named(inner, element), count, HERE) if inner is not None else None
            case Struct() | Union():
                return self._composite(type_)
            case LpmScalar(name=name, data=data):
                return NamedType(name, HERE) if name in _TAKEN else self._lpm(data)
            case LpmStruct(data=data):
                return self._lpm(data)
            case Owned(inner=inner) | PerCpu(element=inner):
                return self.express(inner)
            case Sensitive(inner=inner):
                return self._option(inner, sensitive=True)
            case Quantity(base=base, unit=unit):
                return self._option(base, unit=unit)
            case ScalarType() if type_.describe() in _TAKEN:
                return NamedType(type_.describe(), HERE)
            case _:
                return None

    def _option(self, type_: Type, *, sensitive: bool = False, unit: str = "") -> TypeExpr | None:
        inside = self.express(type_)
        return OptionType(inside, sensitive, unit, HERE) if inside is not None else None

    def _lpm(self, data: Type) -> TypeExpr | None:
        inner = self.express(data)
        return LpmKeyType(inner, HERE) if inner is not None else None

    def _composite(self, type_: Struct | Union) -> TypeExpr | None:
        members = []
        for field in type_.fields:
            inner = self.express(field.type)
            if inner is None or not _IDENTIFIER.fullmatch(field.name):
                return None
            members.append(Member(field.name, inner, HERE))
        packed = type_.alignment == 1 and any(field.type.align > 1 for field in type_.fields)
        if not _is_usual(type_, packed=packed):
            return None
        if isinstance(type_, Union):
            return self._declared(UnionType(tuple(members), HERE), type_.name)
        return self._declared(StructType(tuple(members), packed, HERE), type_.name)

    def _declared(self, expr: TypeExpr, name: str) -> TypeExpr:
        return self._under(name, expr) if _IDENTIFIER.fullmatch(name) else expr

    def _named(self, expr: TypeExpr, type_: Type) -> TypeExpr:
        """The element of an array type: a name, or another array."""
        if isinstance(expr, NamedType | ArrayType):
            return expr
        return self._under(getattr(type_, "name", "") or "element", expr)

    def _under(self, name: str, expr: TypeExpr) -> NamedType:
        """A free name for `expr`, `name` if possible."""
        number, free = 1, name
        while free in _TAKEN or self.types.get(free, expr) != expr:
            number += 1
            free = f"{name}_{number}"
        self.types[free] = expr
        return NamedType(free, HERE)


def _is_usual(type_: Struct | Union, *, packed: bool) -> bool:
    """Whether the members are where a spec puts them: an alignment that C asks for (`aligned(64)`) moves them."""
    members = [(field.name, field.type) for field in type_.fields]
    usual = lay_out_struct(members, packed) if isinstance(type_, Struct) else lay_out_union(members)
    return usual.size == type_.size and [each.offset for each in usual.fields] == [each.offset for each in type_.fields]
