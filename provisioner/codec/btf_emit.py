"""From codec types to BTF, so that `bpftool map dump` prints the field names of maps that no object declares."""

from __future__ import annotations

import re
import struct
from typing import Final

from provisioner.codec.array import Array
from provisioner.codec.btf import MAGIC, BtfKind, IntEncoding
from provisioner.codec.integer import Boolean, Enum, Integer
from provisioner.codec.layout import Field, Struct, Union
from provisioner.codec.lpm import PREFIX, LpmScalar, LpmStruct
from provisioner.codec.members import Bits, Opaque
from provisioner.codec.network import Ipv4
from provisioner.codec.owned import Owned
from provisioner.codec.percpu import PerCpu
from provisioner.codec.resolve import HostNumber
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.text import Char
from provisioner.codec.units import Quantity
from provisioner.model.special_fields import STRUCTS
from provisioner.model.types import ByteOrder, Type

_C_NAMES: Final = {
    (1, False): "unsigned char",
    (2, False): "unsigned short",
    (4, False): "unsigned int",
    (8, False): "unsigned long long",
    (1, True): "signed char",
    (2, True): "short",
    (4, True): "int",
    (8, True): "long long",
}


def btf_of(key: Type, value: Type, byteorder: ByteOrder) -> tuple[bytes, int, int]:
    """The BTF of a map: its bytes for BPF_BTF_LOAD, and the type ids of the key and the value."""
    emitter = _Emitter(byteorder)
    key_id, value_id = emitter.emit(key), emitter.emit(value)
    return emitter.data(), key_id, value_id


class _Emitter:
    """Collects types and strings; equal types are added once."""

    def __init__(self, byteorder: ByteOrder) -> None:
        self._order = "<" if byteorder == "little" else ">"
        self._byteorder = byteorder
        self._strings = bytearray(b"\0")
        self._names: dict[str, int] = {"": 0}
        self._types: list[bytes] = []
        self._ids: dict[bytes, int] = {}
        self._known: dict[Type, int] = {}

    def data(self) -> bytes:
        types = b"".join(self._types)
        header = struct.pack(self._order + "HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(self._strings))
        return header + types + bytes(self._strings)

    def emit(self, type_: Type) -> int:
        """The id of `type_`."""
        if type_ not in self._known:
            self._known[type_] = self._emitted(type_)
        return self._known[type_]

    def _emitted(self, type_: Type) -> int:
        match type_:
            case Integer():
                return self._integer(type_)
            case Boolean():
                return self._int("_Bool", 1, IntEncoding.BOOL)
            case Enum():
                return self._enum(type_)
            case Quantity(base=base) | HostNumber(base=base):
                return self.emit(base)
            case Sensitive(inner=inner) | Owned(inner=inner):
                return self.emit(inner)
            case PerCpu(element=element):
                # To the kernel, the value type of a per-CPU map is that of one CPU.
                return self.emit(element)
            case Char(length=length):
                return self._array(self._int("char", 1, IntEncoding.SIGNED), length)
            case Ipv4():
                return self._alias("__be32", self._int("unsigned int", 4, IntEncoding.UNSIGNED))
            case Array(element=element, count=count):
                return self._array(self.emit(element), count)
            case Struct() | Union():
                return self._composite(type_)
            case LpmScalar(data=data, length=length) | LpmStruct(data=data, length=length):
                # The key of an lpm_trie must be a struct in BTF (trie_check_btf).
                fields = (Field(PREFIX, length, 0), Field("data", data, 4))
                return self._composite(Struct(fields, type_.size, 4))
            case Opaque(kind=kind, size=size) if kind in STRUCTS:
                # The kernel recognises its structs by name, size and alignment, not by their members.
                member = self._record("III", self._name("opaque"), self._bytes(size), 0)
                return self._add(kind, BtfKind.STRUCT, 1, size, member)
            case Opaque(kind=kind):
                # The kernel looks up the target of a pointer by name in its own BTF.
                tag, _, pointee = kind.partition(" ")
                target = self._add(pointee, BtfKind.STRUCT, 0, 0)
                return self._add("", BtfKind.PTR, 0, self._add(tag, BtfKind.TYPE_TAG, 0, target))
            case _:
                return self._bytes(type_.size)

    def _name(self, name: str) -> int:
        """The offset of `name` in the strings. The kernel accepts [A-Za-z0-9_] without a digit first."""
        if name not in self._names:
            self._names[name] = len(self._strings)
            self._strings += name.encode() + b"\0"
        return self._names[name]

    def _record(self, fields: str, *numbers: int) -> bytes:
        return struct.pack(self._order + fields, *numbers)

    def _add(self, name: str, kind: BtfKind, count: int, size: int, rest: bytes = b"", flag: bool = False) -> int:
        data = self._record("III", self._name(name), flag << 31 | kind << 24 | count, size) + rest
        if data not in self._ids:
            self._types.append(data)
            self._ids[data] = len(self._types)
        return self._ids[data]

    def _int(self, name: str, size: int, encoding: IntEncoding) -> int:
        return self._add(name, BtfKind.INT, 0, size, self._record("I", encoding << 24 | 8 * size))

    def _alias(self, name: str, target: int) -> int:
        return self._add(name, BtfKind.TYPEDEF, 0, target)

    def _integer(self, type_: Integer) -> int:
        encoding = IntEncoding.SIGNED if type_.signed else IntEncoding.UNSIGNED
        plain = self._int(_C_NAMES[type_.size, type_.signed], type_.size, encoding)
        return self._alias(f"__{type_.name}", plain) if type_.name[:2] in ("be", "le") else plain

    def _enum(self, type_: Enum) -> int:
        # BTF_KIND_ENUM64 is newer than the oldest kernel here, so 64-bit enums are written as integers.
        if type_.base.size == 8 or any(not -(1 << 31) <= number < 1 << 32 for _, number in type_.names):
            return self.emit(type_.base)
        pairs = b"".join(self._record("II", self._name(identifier(n)), v & 0xFFFFFFFF) for n, v in type_.names)
        return self._add("", BtfKind.ENUM, len(type_.names), type_.size, pairs)

    def _array(self, element: int, count: int) -> int:
        index = self._int("unsigned int", 4, IntEncoding.UNSIGNED)
        return self._add("", BtfKind.ARRAY, 0, 0, self._record("III", element, index, count))

    def _bytes(self, size: int) -> int:
        return self._array(self._int("unsigned char", 1, IntEncoding.UNSIGNED), size)

    def _composite(self, type_: Struct | Union) -> int:
        flag = any(isinstance(field.type, Bits) for field in type_.fields)
        members = b"".join(self._member(field, flag) for field in type_.fields)
        kind = BtfKind.STRUCT if isinstance(type_, Struct) else BtfKind.UNION
        name = identifier(type_.name) if type_.name else ""
        return self._add(name, kind, len(type_.fields), type_.size, members, flag)

    def _member(self, field: Field, flag: bool) -> bytes:
        offset, bits, type_ = 8 * field.offset, 0, field.type
        if isinstance(type_, Bits):
            offset, bits, type_ = offset + type_.shift, type_.width, type_.base
        name = self._name(identifier(field.name)) if field.name else 0
        return self._record("III", name, self.emit(type_), bits << 24 | offset if flag else offset)


def identifier(name: str) -> str:
    """`name` as an identifier of C and the kernel: [A-Za-z0-9_] without a digit first."""
    safe = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{safe}" if safe[:1].isdigit() else safe
