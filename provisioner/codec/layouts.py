"""From codec types to layouts, as conversions compare them and the record of a project keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provisioner.codec.array import Array
from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_convert import Conversion
from provisioner.codec.integer import Boolean, Enum, Integer
from provisioner.codec.layout import Field, Struct, Union
from provisioner.codec.members import Absent, Bits, Opaque
from provisioner.codec.owned import Owned
from provisioner.codec.percpu import PerCpu
from provisioner.codec.resolve import HostNumber
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.text import Char
from provisioner.codec.units import Quantity
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.type_layout import EntryLayout, LayoutKind, MemberLayout, TypeLayout
from provisioner.model.types import Type


def layout_of(type_: Type) -> TypeLayout:
    """The layout of a type; of a per-CPU value, that of one CPU."""
    match type_:
        case Sensitive(inner=inner) | Owned(inner=inner):
            return layout_of(inner)
        case PerCpu(element=element):
            return layout_of(element)
        case Integer():
            kind = LayoutKind.SIGNED if type_.signed else LayoutKind.UNSIGNED
            return TypeLayout(kind, type_.size, type_.describe(), type_.size > 1 and type_.byteorder == "big")
        case Boolean():
            return TypeLayout(LayoutKind.UNSIGNED, 1, "bool")
        case Enum(base=base) | Quantity(base=base) | HostNumber(base=base):
            return layout_of(base)
        case Bits():
            kind = LayoutKind.SIGNED if type_.signed else LayoutKind.UNSIGNED
            return TypeLayout(kind, type_.size, type_.describe(), type_.byteorder == "big", type_.width, type_.shift)
        case Char():
            return TypeLayout(LayoutKind.TEXT, type_.size, type_.describe())
        case Array(element=element, count=count):
            inside = (MemberLayout("", 0, layout_of(element)),)
            return TypeLayout(LayoutKind.ARRAY, type_.size, type_.describe(), count=count, members=inside)
        case Struct(fields=fields):
            return TypeLayout(LayoutKind.STRUCT, type_.size, type_.name or "struct", members=tuple(_parts(fields)))
        case Union(fields=fields):
            either = tuple(MemberLayout(field.name, 0, layout_of(field.type)) for field in fields)
            return TypeLayout(LayoutKind.UNION, type_.size, type_.describe(), members=either)
        case Opaque():
            return TypeLayout(LayoutKind.KERNEL, type_.size, type_.describe())
        case _:  # addresses, digits, prefixes: bytes that have their meaning as a whole
            return TypeLayout(LayoutKind.BYTES, type_.size, type_.describe())


def btf_layout(types: BtfTypes, key_id: int, value_id: int) -> EntryLayout | None:
    """The layouts of the entries of a map by its BTF; None if a type has no values, such as a pointer."""
    where, problems = Location("BTF"), Problems()
    types_ = [Conversion(types, {}, where, problems).run(id_, "") for id_ in (key_id, value_id) if id_]
    built = [layout_of(type_) for type_ in types_ if type_ is not None]
    return EntryLayout(built[0], built[1]) if len(built) == 2 else None


def _parts(fields: Iterable[Field], offset: int = 0) -> Iterator[MemberLayout]:
    """The members by name; those of a struct without a name belong to the struct around it."""
    for field in fields:
        at = offset + field.offset
        if not field.name and isinstance(field.type, Struct):
            yield from _parts(field.type.fields, at)
        elif isinstance(field.type, Union) and not field.name:
            # Its members share their bytes: as a whole they are known by the first name.
            yield MemberLayout(field.reached_by()[0], at, layout_of(field.type))
        elif not isinstance(field.type, Absent):
            yield MemberLayout(field.name, at, layout_of(field.type))
