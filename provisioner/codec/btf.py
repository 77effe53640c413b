"""A reader of BTF, the type information of BPF objects and of the kernel, from bytes of either byte order.

The format is that of Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from enum import IntEnum

import msgspec

from provisioner.model.errors import InputError, Problem
from provisioner.model.types import ByteOrder

MAGIC = 0xEB9F
MAX_DEPTH = 32
"""The limit of the kernel on nested types (MAX_RESOLVE_DEPTH, kernel/bpf/btf.c)."""

POINTER_SIZE = 8
"""Bytes of a pointer in a BPF program, on every host."""


class BtfKind(IntEnum):
    """`BTF_KIND_*`."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class IntEncoding(IntEnum):
    """`BTF_INT_*`: the meaning of the bits of an integer."""

    UNSIGNED = 0
    SIGNED = 1
    CHAR = 2
    BOOL = 4


class BtfInt(msgspec.Struct, frozen=True):
    """An integer: `size` in bytes, `bits` of it used, `encoding` as BTF_INT_* flags."""

    name: str
    size: int
    encoding: int
    bits: int


class BtfArray(msgspec.Struct, frozen=True):
    """`count` elements of the type with the id `element`."""

    element: int
    count: int


class BtfMember(msgspec.Struct, frozen=True):
    """A member of a struct or union. `bits` is 0 for a member that is not a bit field."""

    name: str
    type: int
    bit_offset: int
    bits: int


class BtfComposite(msgspec.Struct, frozen=True):
    """A struct or union."""

    kind: BtfKind
    name: str
    size: int
    members: tuple[BtfMember, ...]


class BtfEnum(msgspec.Struct, frozen=True):
    """Names for the numbers of an integer of `size` bytes."""

    name: str
    size: int
    signed: bool
    names: tuple[tuple[str, int], ...]


class BtfAlias(msgspec.Struct, frozen=True):
    """Another name or a qualifier for `target`: typedef, const, volatile, restrict, type tag."""

    kind: BtfKind
    name: str
    target: int


class BtfOther(msgspec.Struct, frozen=True):
    """Kinds without values: pointers, functions, forward declarations, variables. `target` is 0 if there is none."""

    kind: BtfKind
    name: str
    target: int


BtfNode = BtfInt | BtfArray | BtfComposite | BtfEnum | BtfAlias | BtfOther

_ALIASES = frozenset({BtfKind.TYPEDEF, BtfKind.CONST, BtfKind.VOLATILE, BtfKind.RESTRICT, BtfKind.TYPE_TAG})
_TAGGED = {BtfKind.STRUCT: "struct ", BtfKind.UNION: "union ", BtfKind.ENUM: "enum ", BtfKind.ENUM64: "enum "}
_NAMED = frozenset({*_TAGGED, BtfKind.INT, BtfKind.TYPEDEF, BtfKind.FLOAT, BtfKind.FWD})
_BYTES_AFTER = {BtfKind.INT: 4, BtfKind.ARRAY: 12, BtfKind.VAR: 4, BtfKind.DECL_TAG: 4}
_BYTES_EACH = {
    BtfKind.STRUCT: 12,
    BtfKind.UNION: 12,
    BtfKind.ENUM: 8,
    BtfKind.FUNC_PROTO: 8,
    BtfKind.DATASEC: 12,
    BtfKind.ENUM64: 12,
}


class BtfTypes:
    """The types of one piece of BTF (`.BTF` of an object, or of the kernel), by id and by name.

    At first only the offset of each type is read, so that the 150,000 types of the kernel take a fraction of a second.
    Raises InputError for bytes that are not BTF.
    """

    __slots__ = ("_data", "_names", "_offsets", "_order", "_strings", "byteorder")

    byteorder: ByteOrder

    def __init__(self, data: bytes) -> None:
        if len(data) < 24:
            raise _malformed("it is shorter than its header")
        self.byteorder = "little" if data[:2] == MAGIC.to_bytes(2, "little") else "big"
        self._order = "<" if self.byteorder == "little" else ">"
        magic, version, _, header, type_off, type_len, str_off, str_len = struct.unpack_from(
            self._order + "HBBIIIII", data
        )
        if magic != MAGIC or version != 1:
            raise _malformed("it does not begin with BTF's magic number and version 1")
        if max(header + type_off + type_len, header + str_off + str_len) > len(data):
            raise _malformed("it is truncated")
        self._data = data
        self._strings = data[header + str_off : header + str_off + str_len]
        self._offsets = self._scan(header + type_off, header + type_off + type_len)
        self._names: dict[str, int] | None = None

    def _scan(self, at: int, end: int) -> array[int]:
        """The offset of each type; index 0 is void."""
        offsets = array("Q", [0])
        read_info = struct.Struct(self._order + "I").unpack_from
        after: dict[int, int] = {int(kind): size for kind, size in _BYTES_AFTER.items()}
        each: dict[int, int] = {int(kind): size for kind, size in _BYTES_EACH.items()}
        last = max(BtfKind)
        while at < end:
            if end - at < 12:
                raise _malformed("its last type is truncated")
            offsets.append(at)
            info = read_info(self._data, at + 4)[0]
            kind = info >> 24 & 0x1F
            if not 0 < kind <= last:
                raise _malformed(f"type {len(offsets) - 1} has the unknown kind {kind}")
            at += 12 + after.get(kind, 0) + each.get(kind, 0) * (info & 0xFFFF)
        if at != end:
            raise _malformed("its last type is truncated")
        return offsets

    def __len__(self) -> int:
        """The number of types, which is also the highest id; ids begin at 1."""
        return len(self._offsets) - 1

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            raise _malformed("a name is truncated")
        return self._strings[offset:end].decode("utf-8", "replace")

    def _head(self, id_: int) -> tuple[int, int, int, int, int]:
        """Name offset, kind, vlen, kind flag, and size or type of a type."""
        if not 0 < id_ < len(self._offsets):
            raise _malformed(f"type {id_} does not exist")
        name, info, size = struct.unpack_from(self._order + "III", self._data, self._offsets[id_])
        return name, info >> 24 & 0x1F, info & 0xFFFF, info >> 31, size

    def __getitem__(self, id_: int) -> BtfNode:
        """The type with this id. Raises InputError if it does not exist."""
        if id_ == 0:
            return BtfOther(BtfKind.VOID, "void", 0)
        name_off, kind_number, count, flag, size = self._head(id_)
        name, kind = self._string(name_off), BtfKind(kind_number)
        if kind in (BtfKind.ENUM, BtfKind.ENUM64) and size not in (1, 2, 4, 8):
            raise _malformed(f"enum {id_} has {size} bytes")
        match kind:
            case BtfKind.INT:
                [data] = self._records(id_, 1, "I")
                return BtfInt(name, size, data[0] >> 24 & 0xF, data[0] & 0xFF)
            case BtfKind.ARRAY:
                [(element, _, length)] = self._records(id_, 1, "III")
                return BtfArray(element, length)
            case BtfKind.STRUCT | BtfKind.UNION:
                return BtfComposite(kind, name, size, tuple(self._members(id_, count, flag)))
            case BtfKind.ENUM:
                sign = "i" if flag else "I"
                pairs = list(self._records(id_, count, "I" + sign))
                if not flag and any(number >> 31 for _, number in pairs):
                    # Before this flag (6089fb325cf7, Linux 6.0) all numbers of enums were signed.
                    return BtfEnum(name, size, True, self._signed_names(id_, count))
                return BtfEnum(name, size, bool(flag), tuple((self._string(at), number) for at, number in pairs))
            case BtfKind.ENUM64:
                records = self._records(id_, count, "IIi" if flag else "III")
                names = tuple((self._string(at), high << 32 | low) for at, low, high in records)
                return BtfEnum(name, size, bool(flag), names)
            case _ if kind in _ALIASES:
                return BtfAlias(kind, name, size)
            case _:
                return BtfOther(kind, name, size if kind in (BtfKind.PTR, BtfKind.VAR) else 0)

    def _signed_names(self, id_: int, count: int) -> tuple[tuple[str, int], ...]:
        return tuple((self._string(at), number) for at, number in self._records(id_, count, "Ii"))

    def _records(self, id_: int, count: int, fields: str) -> Iterator[tuple[int, ...]]:
        """The records after the head of a type."""
        record = struct.Struct(self._order + fields)
        start = self._offsets[id_] + 12
        return record.iter_unpack(self._data[start : start + count * record.size])

    def _members(self, id_: int, count: int, flag: int) -> Iterator[BtfMember]:
        for name, type_, offset in self._records(id_, count, "III"):
            bits, place = (offset >> 24, offset & 0xFFFFFF) if flag else (0, offset)
            yield BtfMember(self._string(name), type_, place, bits)

    def section(self, id_: int) -> Iterator[tuple[int, ...]]:
        """The type id, offset and size of each variable of a data section."""
        _, _, count, _, _ = self._head(id_)
        return self._records(id_, count, "III")

    def names(self) -> dict[str, int]:
        """Ids by the name in C code: `struct backend`, `union u`, `enum e`, `__u32`, `backend_t`.

        A definition takes precedence over a forward declaration.
        """
        if self._names is None:
            names: dict[str, int] = {}
            for id_ in range(1, len(self._offsets)):
                name, kind, _, flag, _ = self._head(id_)
                if name == 0 or kind not in _NAMED:
                    continue
                word = self._string(name)
                if kind == BtfKind.FWD:
                    names.setdefault(("union " if flag else "struct ") + word, id_)
                    continue
                key = _TAGGED.get(BtfKind(kind), "") + word
                if key not in names or self._head(names[key])[1] == BtfKind.FWD:
                    names[key] = id_
            self._names = names
        return self._names

    def find(self, name: str) -> int | None:
        """The id of a type by its name in C code (`struct backend`, `__u32`); None if it does not exist."""
        return self.names().get(name)

    def variables(self, section: str) -> Iterator[tuple[str, int, int, int]]:
        """The variables of a data section: name, id of the type, offset and size in bytes."""
        for id_ in range(1, len(self._offsets)):
            name, kind, count, _, _ = self._head(id_)
            if kind == BtfKind.DATASEC and self._string(name) == section:
                for variable, offset, size in self._records(id_, count, "III"):
                    at, _, _, _, type_ = self._head(variable)
                    yield self._string(at), type_, offset, size

    def resolve(self, id_: int) -> int:
        """The id of a type without its typedefs and qualifiers."""
        for _ in range(len(self._offsets)):
            node = self[id_]
            if not isinstance(node, BtfAlias):
                return id_
            id_ = node.target
        raise _malformed(f"type {id_} is an alias of itself")

    def size_of(self, id_: int, depth: int = 0) -> int:
        """Bytes of a value of the type; 0 if it has none. `depth` counts the arrays around it."""
        if depth > MAX_DEPTH:
            raise _malformed(f"type {id_} is nested too deeply")
        match self[self.resolve(id_)]:
            case BtfArray(element, count):
                return count * self.size_of(element, depth + 1)
            case BtfInt(size=size) | BtfComposite(size=size) | BtfEnum(size=size):
                return size
            case BtfOther(kind=BtfKind.PTR):
                return POINTER_SIZE
            case _:
                return 0


def _malformed(why: str) -> InputError:
    hint = "compile the object with clang -g -target bpf"
    return InputError(Problem(f"the BTF is malformed: {why}", hint=hint, id="malformed-btf"))
