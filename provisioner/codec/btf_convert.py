"""From BTF to codec types: the types of C, with the refinements that the user writes for members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from provisioner.codec.array import Array
from provisioner.codec.btf import (
    MAX_DEPTH,
    POINTER_SIZE,
    BtfAlias,
    BtfArray,
    BtfComposite,
    BtfEnum,
    BtfInt,
    BtfKind,
    BtfMember,
    BtfOther,
    BtfTypes,
    IntEncoding,
)
from provisioner.codec.btf_specials import pointee, specials_of
from provisioner.codec.integer import Boolean, Enum, Integer
from provisioner.codec.layout import Field, Struct, Union
from provisioner.codec.members import Bits, Opaque, Pointer
from provisioner.codec.scalar import ScalarType
from provisioner.codec.text import Char
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.special_fields import STRUCTS, in_words
from provisioner.model.types import ByteOrder, Type

_ORDERS: Final[tuple[tuple[str, ByteOrder], ...]] = (("be", "big"), ("le", "little"))

FIXED_ORDER: Final[Mapping[str, tuple[str, int, ByteOrder]]] = {
    f"__{letters}{bits}": (f"{letters}{bits}", bits // 8, order) for letters, order in _ORDERS for bits in (16, 32, 64)
}
"""Typedefs of linux/types.h that say the byte order: type name, bytes, order."""

_POINTERS = "a pointer has no meaning outside the kernel; refine it as u64 to write its bits"

Refinements = Mapping[tuple[str, ...], tuple[Type, Location]]
"""The type that the user writes for a member, by its path."""


class Conversion(msgspec.Struct):
    """Converts one BTF type to a codec type. Collects problems, with the dotted names of members."""

    types: BtfTypes
    refine: Refinements
    where: Location
    problems: Problems
    used: set[tuple[str, ...]] = set()
    seen: set[tuple[str, ...]] = set()
    depth: int = 0
    null_pointers: bool = False
    """Whether pointers are members that are always null, instead of an error."""

    def run(self, id_: int, name: str) -> Type | None:
        """The codec type of `id_`, or None with the problems added. Every refinement must match a member."""
        converted = self._convert(id_, ())
        for path, (_, where) in self.refine.items():
            if path not in self.used:
                known = [".".join(each) for each in self.seen]
                dotted = ".".join(path)
                hint = did_you_mean(dotted, known)
                self.problems.add(f"`{name}` has no member `{dotted}`", where, hint, id="unknown-field")
        return converted

    def _refuse(self, path: tuple[str, ...], why: str, hint: str = "") -> Type | None:
        """Add a problem, and return None for the type."""
        member = f"member `{'.'.join(path)}`" if path else "the type"
        self.problems.add(f"{member} {why}", self.where, hint, id="unsupported-btf-type")
        return None

    def _convert(self, id_: int, path: tuple[str, ...]) -> Type | None:
        if self.depth > MAX_DEPTH:
            return self._refuse(path, "is nested too deeply")
        self.depth += 1
        try:
            return self._by_kind(id_, path)
        finally:
            self.depth -= 1

    def _by_kind(self, id_: int, path: tuple[str, ...]) -> Type | None:
        node = self.types[id_]
        match node:
            case BtfAlias(name=name, target=target):
                return self._fixed(name, id_) or self._convert(target, path)
            case BtfInt():
                return self._integer(node, path)
            case BtfEnum():
                return enum_type(node, self.types.byteorder)
            case BtfArray(element, count):
                return self._array(element, count, path)
            case BtfComposite():
                return self._composite(node, path)
            case BtfOther():
                return self._other(node, path)
            case _:
                assert_never(node)

    def _fixed(self, typedef: str, id_: int) -> Integer | None:
        """`be16` for `__be16` and the like."""
        name, size, order = FIXED_ORDER.get(typedef, ("", 0, "little"))
        return Integer(name, size, False, order, 8 * size) if name and self.types.size_of(id_) == size else None

    def _integer(self, node: BtfInt, path: tuple[str, ...]) -> Type | None:
        if node.encoding & IntEncoding.BOOL and node.size == 1:
            return Boolean()
        if node.size not in (1, 2, 4, 8):
            return self._refuse(path, f"is an integer of {node.size} bytes", f"refine it as bytes[{node.size}]")
        if node.bits != 8 * node.size:
            return self._refuse(path, "is a bit field in the format of old compilers", "compile with a newer clang")
        return integer_type(node, self.types.byteorder)

    def _array(self, element: int, count: int, path: tuple[str, ...]) -> Type | None:
        if count == 0:
            return self._refuse(path, "is an array without a length", "use a type without this member")
        behind = self.types[self.types.resolve(element)]
        if isinstance(behind, BtfInt) and behind.size == 1 and behind.name == "char":
            return Char(count)
        converted = self._convert(element, path)
        if isinstance(converted, Pointer):
            return Pointer(f"{converted.kind}[{count}]", converted.size * count, converted.align)
        return Array(converted, count) if converted else None

    def _other(self, node: BtfOther, path: tuple[str, ...]) -> Type | None:
        match node.kind:
            case BtfKind.PTR:
                if kind := pointee(self.types, node):
                    return Opaque(kind, POINTER_SIZE, POINTER_SIZE)
                if self.null_pointers:
                    return Pointer("pointer", POINTER_SIZE, POINTER_SIZE)
                return self._refuse(path, "is a pointer", _POINTERS)
            case BtfKind.FLOAT:
                return self._refuse(path, f"is a {node.name}: BPF programs have no floating point")
            case BtfKind.FWD:
                hint = "clang omits the members of a struct that no global variable or function uses"
                return self._refuse(path, f"is `struct {node.name}`, which is only declared in this object", hint)
            case _:
                return self._refuse(path, f"is a {node.kind.name.lower()}, which has no value")

    def _composite(self, node: BtfComposite, path: tuple[str, ...]) -> Type | None:
        if node.name in STRUCTS and node.kind is BtfKind.STRUCT:
            return Opaque(node.name, node.size, 4 if node.size % 8 else 8)
        if not node.size or not node.members:
            return self._refuse(path, f"is `{node.name}`, which has no members")
        fields = [self._member(member, path) for member in node.members]
        kept = tuple(each for each in fields if each is not None)
        if len(kept) != len(fields):
            return None
        if any(each.offset + each.type.size > node.size for each in kept):
            return self._refuse(path, f"is `{node.name}`, whose size is less than that of its members")
        align = max(each.type.align for each in kept)
        if node.size % align or any(each.offset % each.type.align for each in kept):
            align = 1
        if node.kind is BtfKind.STRUCT:
            return Struct(kept, node.size, align, node.name)
        preferred = tuple(number for number, each in enumerate(kept) if self._is_refined(each, path))
        return Union(kept, node.size, align, node.name, preferred)

    def _is_refined(self, field: Field, path: tuple[str, ...]) -> bool:
        """Whether the spec says what a member means, or a member in it."""
        inside = {(*path, name) for name in field.reached_by()}
        return any(refined[: len(path) + 1] in inside for refined in self.refine)

    def _member(self, member: BtfMember, path: tuple[str, ...]) -> Field | None:
        inside = (*path, member.name) if member.name else path
        if member.name:
            self.seen.add(inside)
        refined = self.refine.get(inside) if member.name else None
        if member.bits:
            if not member.name:
                self._refuse(path, "has a bit field without a name")
                return None
            if refined:
                self.used.add(inside)
                what = f"`{'.'.join(inside)}` is a bit field, which cannot be refined"
                self.problems.add(what, refined[1], "remove the refinement", id="invalid-type")
                return None
            type_ = self._bits(member, inside)
            return Field(member.name, type_, member.bit_offset // 8) if type_ else None
        converted = self._refined(member, inside, *refined) if refined else self._convert(member.type, inside)
        if converted and not member.name and not isinstance(converted, Struct | Union):
            self._refuse(path, f"has a {converted.describe()} without a name")
            return None
        return Field(member.name, converted, member.bit_offset // 8) if converted else None

    def _refined(self, member: BtfMember, path: tuple[str, ...], type_: Type, where: Location) -> Type | None:
        self.used.add(path)
        size = self.types.size_of(member.type)
        if kernels := specials_of(self.types, member.type):
            what = f"`{'.'.join(path)}` is managed by the kernel ({in_words(kernels)}) and cannot be refined"
            self.problems.add(what, where, "remove the refinement", id="kernel-field")
            return None
        if type_.size == size:
            return type_
        behind = self.types[self.types.resolve(member.type)]
        if isinstance(behind, BtfArray) and behind.count * type_.size == size:
            return Array(type_, behind.count)
        what = f"`{'.'.join(path)}` has {size} bytes, and {type_.describe()} has {type_.size}"
        self.problems.add(what, where, "use a type of the same size", id="invalid-type")
        return None

    def _bits(self, member: BtfMember, path: tuple[str, ...]) -> Bits | None:
        node = self.types[self.types.resolve(member.type)]
        order = self.types.byteorder
        base: ScalarType
        match node:
            case BtfInt(size=size) | BtfEnum(size=size) if member.bits > 8 * min(size, 8):
                self._refuse(path, f"is a bit field of {member.bits} bits in {size} bytes")
                return None
            case BtfInt(encoding=encoding, size=1) if encoding & IntEncoding.BOOL:
                base, signed = Boolean(), False
            case BtfInt(encoding=encoding):
                signed = encoding == IntEncoding.SIGNED
                base = Integer(f"{'s' if signed else 'u'}{member.bits}", 8, signed, order, member.bits)
            case BtfEnum(signed=signed):
                base = enum_type(node, order, member.bits)
            case _:
                self._refuse(path, "is a bit field of a type that is not an integer")
                return None
        return Bits(base, member.bits, member.bit_offset % 8, signed, order)


def integer_type(node: BtfInt, byteorder: ByteOrder) -> Integer:
    """An integer of C by its size and sign, in the byte order of the BTF."""
    signed = node.encoding == IntEncoding.SIGNED
    bits = 8 * node.size
    return Integer(f"{'s' if signed else 'u'}{bits}", node.size, signed, byteorder, bits)


def enum_type(node: BtfEnum, byteorder: ByteOrder, bits: int = 0) -> Enum:
    """An enum of C, of its own size, or of `bits` in 8 bytes for a bit field, without the names that do not fit."""
    length, bits = (8, bits) if bits else (node.size, 8 * node.size)
    base = Integer(f"{'s' if node.signed else 'u'}{bits}", length, node.signed, byteorder, bits)
    return Enum(tuple(pair for pair in node.names if base.low <= pair[1] <= base.high), base, open=True)
