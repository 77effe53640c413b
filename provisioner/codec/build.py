"""From the types that users write to codec types: looks names up, checks sizes and recursion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Final, assert_never

from msgspec.structs import replace

from provisioner.codec.array import Array
from provisioner.codec.btf import MAX_DEPTH, BtfTypes
from provisioner.codec.btf_convert import Conversion
from provisioner.codec.integer import Boolean, Enum, Integer
from provisioner.codec.layout import Struct, lay_out_struct, lay_out_union
from provisioner.codec.lpm import MAX_DATA, PREFIX, LpmScalar, LpmStruct, cidr, prefix_length
from provisioner.codec.network import Ip, Ipv4, Ipv6, Mac
from provisioner.codec.resolve import HostNumber, Lookup
from provisioner.codec.scalar import ScalarType
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.text import Char, HexBytes
from provisioner.codec.units import UNITS, Quantity
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.special_fields import STRUCTS
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
from provisioner.model.types import ByteOrder, Type, shown

MAX_SIZE: Final = 1 << 26
"""Bytes of one value: a limit on memory. In a hash the kernel takes up to 4 MiB (htab_map_alloc_check)."""

ELEMENTS: Final = ("char", "bytes")
"""Names that are valid only before `[N]`."""

_FLOATS = frozenset({"f32", "f64", "float", "double"})
_OTHER_WORDS: Final = {
    "int": "s32", "short": "s16", "long": "s64", "unsigned": "u32", "string": "char[N]", "str": "char[N]",
    "byte": "u8", "boolean": "bool", "_Bool": "bool", "address": "ip", "addr": "ip", "cidr": "cidr4 or cidr6",
    "be8": "u8", "le8": "u8", "u128": "bytes[16]", "int128": "bytes[16]", "size_t": "u64", "in_addr": "ipv4",
} | {
    f"{prefix}{bits}{suffix}": f"{ours}{bits}"
    for bits in (8, 16, 32, 64)
    for prefix, ours in (("i", "s"), ("int", "s"), ("uint", "u"), ("__u", "u"), ("__s", "s"), ("__be", "be"))
    for suffix in ("", "_t")
} | {
    f"{sign}{bits}{order}": f"{order}{bits}"
    for bits in (16, 32, 64)
    for sign in ("u", "s", "i")
    for order in ("be", "le")
}  # fmt: skip


def integer(name: str, byteorder: ByteOrder) -> Integer | None:
    """`u8` to `u64`, `s8` to `s64` in host order, `be16` to `be64`, `le16` to `le64`; None for other names."""
    kind = name.rstrip("0123456789")
    bits = name[len(kind) :]
    if (
        kind not in ("u", "s", "be", "le")
        or bits not in ("8", "16", "32", "64")
        or (kind in ("be", "le") and bits == "8")
    ):
        return None
    orders: Mapping[str, ByteOrder] = {"be": "big", "le": "little"}
    return Integer(name, int(bits) // 8, kind == "s", orders.get(kind, byteorder), int(bits))


def builtins(byteorder: ByteOrder, lookups: Mapping[str, Lookup]) -> dict[str, Type]:
    """All built-in types by name."""
    names = [f"{kind}{bits}" for kind in ("u", "s", "be", "le") for bits in (8, 16, 32, 64)]
    integers: dict[str, Type] = {name: type_ for name in names if (type_ := integer(name, byteorder))}
    u32, u64 = Integer("u32", 4, False, byteorder, 32), Integer("u64", 8, False, byteorder, 64)
    return integers | {
        "bool": Boolean(),
        "ipv4": Ipv4(),
        "ipv6": Ipv6(),
        "ip": Ip(),
        "mac": Mac(),
        "cidr4": cidr(4, byteorder),
        "cidr6": cidr(6, byteorder),
        "ifindex": HostNumber("ifindex", "interface", u32, lookups.get("ifindex")),
        "cgroup_id": HostNumber("cgroup_id", "cgroup", u64, lookups.get("cgroup_id")),
    }


class Builder:
    """Builds the types of one spec. A named type is built once, and its problems are reported once.

    `btf` has the BTF that types can come from, by source; the source "" is the object of the map that uses the type.
    `lookups` look up the names of `ifindex` and `cgroup_id`; without them only numbers are valid.
    """

    def __init__(
        self,
        types: Mapping[str, TypeExpr],
        *,
        byteorder: ByteOrder,
        problems: Problems,
        btf: Mapping[str, BtfTypes] | None = None,
        lookups: Mapping[str, Lookup] | None = None,
    ) -> None:
        self._types = types
        self._byteorder = byteorder
        self._problems = problems
        self._btf = btf or {}
        self._builtins = builtins(byteorder, lookups or {})
        self._built: dict[str, Type | None] = {}
        self._open: list[str] = []
        self._depth = 0
        for name in types.keys() & {*self._builtins, *ELEMENTS}:
            self._refuse(f"`{name}` is a built-in type", types[name].where, "choose another name", id="name-taken")

    @property
    def built(self) -> Collection[str]:
        """The names of the declared types that are in use."""
        return self._built.keys()

    def build(self, expr: TypeExpr) -> Type | None:
        """The type, or None with at least one Problem added."""
        if self._depth >= MAX_DEPTH:
            what = f"types are nested deeper than {MAX_DEPTH} levels, the limit of BTF"
            return self._refuse(what, expr.where, id="limit-exceeded")
        self._depth += 1
        try:
            return self._of_form(expr)
        finally:
            self._depth -= 1

    def _of_form(self, expr: TypeExpr) -> Type | None:
        match expr:
            case NamedType():
                return self._named(expr)
            case ArrayType():
                return self._array(expr)
            case StructType() | UnionType():
                return self._composite(expr)
            case EnumType():
                return self._enum(expr)
            case LpmKeyType():
                return self._lpm(expr)
            case BtfType():
                return self._from_btf(expr)
            case OptionType():
                return self._option(expr)
            case _:
                assert_never(expr)

    def from_btf_id(self, id_: int, where: Location, *, null_pointers: bool = False) -> Type | None:
        """The type with an id in the BTF of the object of the map; None with a Problem added.

        With `null_pointers`, pointers are no part of its values, instead of a Problem.
        """
        conversion = Conversion(self._btf[""], {}, where, self._problems, null_pointers=null_pointers)
        return self._bounded(conversion.run(id_, ""), where)

    def _refuse(self, what: str, where: Location, hint: str = "", *, id: str = "invalid-type") -> Type | None:
        """Add a problem, and return None for the type."""
        self._problems.add(what, where, hint, id=id)
        return None

    def _named(self, expr: NamedType) -> Type | None:
        name = expr.name
        if name in self._builtins:
            return self._builtins[name]
        if name in ELEMENTS:
            return self._refuse(f"`{name}` needs a length", expr.where, f"write {name}[16]")
        if name not in self._types:
            return self._unknown(expr)
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            return self._refuse(f"type `{name}` contains itself: {circle}", expr.where, id="circular-reference")
        if name not in self._built:
            self._open.append(name)
            built = self.build(self._types[name])
            self._open.pop()
            # The name is in the BTF of the map, for `bpftool btf dump`.
            self._built[name] = replace(built, name=name) if isinstance(built, Struct) and not built.name else built
        return self._built[name]

    def _unknown(self, expr: NamedType) -> Type | None:
        if expr.name in _FLOATS:
            what = f"`{expr.name}` is not supported: BPF programs have no floating point"
            return self._refuse(what, expr.where, "use a scaled integer, as the program does")
        if expr.name in STRUCTS:
            what = f"`{expr.name}` is managed by the kernel and cannot be declared in a spec"
            return self._refuse(what, expr.where, "take the struct around it from the object: {btf: struct NAME}")
        if expr.name in _OTHER_WORDS:
            hint = f"write {_OTHER_WORDS[expr.name]}"
        elif expr.name.startswith(("struct ", "union ", "enum ")):
            hint = f"write {{btf: {expr.name}}}"
        else:
            otherwise = "declare it under `types`, or use a built-in type such as u32, be16, ipv4 or bytes[8]"
            hint = did_you_mean(expr.name, {*self._builtins, *self._types}, otherwise)
        self._problems.missing(f"type `{expr.name}` does not exist", expr.where, hint, id="unknown-type")
        return None

    def _array(self, expr: ArrayType) -> Type | None:
        if expr.count < 1:
            return self._refuse("an array must have a length of 1 or more", expr.where)
        element = expr.element
        if isinstance(element, NamedType) and element.name in ELEMENTS:
            built: Type | None = Char(expr.count) if element.name == "char" else HexBytes(expr.count)
        else:
            inner = self.build(element)
            built = Array(inner, expr.count) if inner else None
        return self._bounded(built, expr.where)

    def _bounded(self, built: Type | None, where: Location) -> Type | None:
        if built and built.size > MAX_SIZE:
            what = f"the type has {built.size:,} bytes; the limit for a value is {MAX_SIZE:,}"
            return self._refuse(what, where, id="limit-exceeded")
        return built

    def _composite(self, expr: StructType | UnionType) -> Type | None:
        if not expr.members:
            return self._refuse("a struct or union must have members", expr.where)
        counts = Counter(member.name for member in expr.members)
        for member in expr.members:
            if counts.pop(member.name, 1) > 1:
                return self._refuse(f"duplicate member `{member.name}`", member.where, id="duplicate-key")
        built = [(member.name, self.build(member.type)) for member in expr.members]
        members = [(name, type_) for name, type_ in built if type_ is not None]
        if len(members) != len(built):
            return None
        laid = lay_out_struct(members, expr.packed) if isinstance(expr, StructType) else lay_out_union(members)
        return self._bounded(laid, expr.where)

    def _enum(self, expr: EnumType) -> Type | None:
        base = self.build(expr.base)
        if base is None:
            return None
        if not isinstance(base, Integer):
            return self._refuse(f"the base of an enum must be an integer, not {base.describe()}", expr.base.where)
        if not expr.names:
            return self._refuse("an enum must have names", expr.where, f"write {base.name} for any number")
        counts = Counter(name for name, _ in expr.names)
        before = len(self._problems)
        for name, number in expr.names:
            if counts.pop(name, 1) > 1:
                self._refuse(f"duplicate name `{name}`", expr.where, id="duplicate-key")
            if not name or name[0].isdigit() or name[0] in "+-":
                self._refuse(f"`{name}` cannot be a name of an enum", expr.where, "begin it with a letter or `_`")
            if not base.low <= number <= base.high:
                what = f"`{name}: {number}` does not fit {base.name} ({base.low} to {base.high})"
                self._refuse(what, expr.where, "use a wider `base`", id="out-of-range")
        return Enum(expr.names, base) if len(self._problems) == before else None

    def _lpm(self, expr: LpmKeyType) -> Type | None:
        data = self.build(expr.data)
        length = prefix_length(self._byteorder)
        match data:
            case None:
                return None
            case _ if data.size > MAX_DATA:
                what = f"the data of an LPM key has {data.size} bytes; the limit of the kernel is {MAX_DATA}"
                return self._refuse(what, expr.where)
            case Integer(size=size, name=name) if size > 1 and not name.startswith("be"):
                what = f"LPM keys must be big-endian, and {name} is not"
                return self._refuse(what, expr.where, f"write be{8 * size}")
            case LpmScalar() | LpmStruct():
                return self._refuse(f"{data.describe()} is already an LPM key", expr.where)
            case ScalarType():
                return LpmScalar(f"lpm {data.describe()}", data, length)
            case Struct(fields=fields):
                if any(PREFIX in field.reached_by() for field in fields):
                    what = f"duplicate member `{PREFIX}`: every LPM key has one"
                    return self._refuse(what, expr.where, "rename the member", id="duplicate-key")
                return LpmStruct(data, length)
            case _:
                what = f"the data of an LPM key must be a scalar or a struct, not {data.describe()}"
                hint = "use a struct with this member; write `sensitive` outside of `lpm_key`"
                return self._refuse(what, expr.where, hint)

    def _option(self, expr: OptionType) -> Type | None:
        built = self.build(expr.type)
        if built is None:
            return None
        if expr.unit:
            if expr.unit not in UNITS:
                hint = did_you_mean(expr.unit, UNITS, f"known: {', '.join(UNITS)}")
                return self._refuse(f"{shown(expr.unit)} is not a unit", expr.where, hint)
            if not isinstance(built, Integer):
                return self._refuse(f"only integers can have a unit, not {built.describe()}", expr.where)
            built = Quantity(built, expr.unit)
        return Sensitive(built) if expr.sensitive else built

    def _from_btf(self, expr: BtfType) -> Type | None:
        types = self._btf.get(expr.source)
        if types is None:
            if expr.is_live and len(self._problems):  # reported when the map was read
                return None
            if not expr.source:
                what, hint = (
                    f"`{expr.name}` needs the BTF of an object",
                    "write `from: OBJECT`, or `object:` on the map",
                )
            else:
                what = f"`{expr.source}` has no BTF"
                hint = did_you_mean(expr.source, filter(None, self._btf))
            self._problems.missing(what, expr.where, hint, id="btf-missing")
            return None
        if types.byteorder != self._byteorder:
            what = f"the object is {types.byteorder}-endian, and the host is {self._byteorder}-endian"
            return self._refuse(what, expr.where, id="object-mismatch")
        id_ = types.find(expr.name)
        if id_ is None:
            tagged = [f"{tag} {expr.name}" for tag in ("struct", "union", "enum") if types.find(f"{tag} {expr.name}")]
            hint = f"write {tagged[0]}" if tagged else did_you_mean(expr.name, types.names())
            return self._refuse(f"the BTF has no type `{expr.name}`", expr.where, hint, id="unknown-type")
        refine = self._refinements(expr.refine)
        if refine is None:
            return None
        return self._bounded(Conversion(types, refine, expr.where, self._problems).run(id_, expr.name), expr.where)

    def _refinements(self, members: tuple[Member, ...]) -> dict[tuple[str, ...], tuple[Type, Location]] | None:
        built = [(member, self.build(member.type)) for member in members]
        refined = {tuple(member.name.split(".")): (type_, member.where) for member, type_ in built if type_ is not None}
        return refined if len(refined) == len(members) else None


def build(
    expr: TypeExpr,
    types: Mapping[str, TypeExpr],
    *,
    byteorder: ByteOrder,
    problems: Problems,
    btf: Mapping[str, BtfTypes] | None = None,
    lookups: Mapping[str, Callable[[str], int | None]] | None = None,
) -> Type | None:
    """Build a single type; see `Builder`."""
    return Builder(types, byteorder=byteorder, problems=problems, btf=btf, lookups=lookups).build(expr)
