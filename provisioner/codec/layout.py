"""Structs and unions in the layout of a C compiler. Padding is always zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from provisioner.codec.members import Absent
from provisioner.model.errors import did_you_mean
from provisioner.model.special_fields import Special
from provisioner.model.types import HIDDEN, Bytes, Column, Fault, Path, Type, Value, shown

Columns = Mapping[Path, Column]


class Field(msgspec.Struct, frozen=True):
    """A member at its byte offset. The members of a field without a name are members of the struct around it."""

    name: str
    type: Type
    offset: int

    def span(self, rows: Bytes) -> Bytes:
        """The bytes of this member in `rows`, as a view."""
        return rows[:, self.offset : self.offset + self.type.size]

    def reached_by(self) -> tuple[str, ...]:
        """The names by which a user reaches this member, or the members in it if it has no name."""
        if self.name or not isinstance(self.type, Struct | Union):
            return (self.name,) if self.name else ()
        return tuple(name for field in self.type.fields for name in field.reached_by())


class _Members(Type, frozen=True):
    """Named members at their offsets. `name` is the name of the struct in C, for BTF; it can be empty."""

    fields: tuple[Field, ...]
    length: int
    alignment: int
    name: str = ""

    @property
    def size(self) -> int:
        return self.length

    @property
    def align(self) -> int:
        return self.alignment

    @property
    def sensitive(self) -> bool:
        return any(field.type.sensitive for field in self.fields)

    def mask(self) -> Bytes:
        return _mask(self.fields, self.size)


class Struct(_Members, frozen=True):
    """Members by name, one after the other."""

    @property
    def specials(self) -> tuple[Special, ...]:
        return tuple(sorted(special.moved(field.offset) for field in self.fields for special in field.type.specials))

    def encode(self, columns: Columns, out: Bytes) -> list[Fault]:
        if faults := _no_mapping(columns, self.fields, self.describe()):
            return faults
        parts, faults = _split(columns, self.fields, self.describe())
        for index, field in enumerate(self.fields):
            if isinstance(field.type, Absent):
                continue
            part = parts.get(index, None if field.name else {})
            if part is not None:
                faults += _inside(field, field.type.encode(part, field.span(out)))
            else:
                faults.append(Fault(-1, (), f"member `{field.name}` is missing", _offer(field), "missing-field"))
        return faults

    def decode(self, rows: Bytes) -> list[Value]:
        kept = [field for field in self.fields if not isinstance(field.type, Absent)]
        decoded = [field.type.decode(field.span(rows)) for field in kept]
        if not kept:
            return [{} for _ in range(len(rows))]
        if all(field.name for field in kept):
            names = [field.name for field in kept]
            return [dict(zip(names, parts, strict=True)) for parts in zip(*decoded, strict=True)]
        values: list[dict[str, Value]] = [{} for _ in range(len(rows))]
        for field, column in zip(kept, decoded, strict=True):
            for value, part in zip(values, column, strict=True):
                value.update({field.name: part} if field.name else part)
        return values

    def conceal(self, value: Value) -> Value:
        return _conceal(self.fields, value) if self.sensitive else value

    def describe(self) -> str:
        return f"struct {self.name}" if self.name else _listed("struct", self.fields)


class Union(_Members, frozen=True):
    """A value has exactly one of the members; the bytes beyond it are zero.

    The bytes do not show which member was written. They are decoded to the first member that covers all bytes other
    than zero, and to the widest if no single member covers them. `preferred` are the numbers of members that come
    before the others: the spec says what they mean.
    """

    preferred: tuple[int, ...] = ()

    def encode(self, columns: Columns, out: Bytes) -> list[Fault]:
        if faults := _no_mapping(columns, self.fields, self.describe()):
            return faults
        parts, faults = _split(columns, self.fields, self.describe())
        if faults:
            return faults
        if len(parts) != 1:
            known = ", ".join(f"`{name}`" for field in self.fields for name in field.reached_by())
            named = " and ".join(f"`{path[0]}`" for path in {path[:1]: None for path in columns})
            what = f"a union must have exactly one member, not {named if parts else 'none'}"
            return [Fault(-1, (), what, f"write one of {known}", "wrong-type")]
        [(index, part)] = parts.items()
        field = self.fields[index]
        return _inside(field, field.type.encode(part, field.span(out)))

    def decode(self, rows: Bytes) -> list[Value]:
        chosen = np.full(len(rows), self._widest())
        meant = self.mask()
        others = [index for index in range(len(self.fields)) if index not in self.preferred]
        for index in reversed([*self.preferred, *others]):
            beyond = meant & ~_mask((self.fields[index],), self.size)
            chosen[~(rows & beyond).any(axis=1)] = index
        values: list[Value] = [None] * len(rows)
        for index, field in enumerate(self.fields):
            which = np.flatnonzero(chosen == index)
            for row, part in zip(which.tolist(), field.type.decode(field.span(rows[which])), strict=True):
                values[row] = {field.name: part} if field.name else part
        return values

    def _widest(self) -> int:
        return max(range(len(self.fields)), key=lambda index: self.fields[index].type.size)

    def conceal(self, value: Value) -> Value:
        # The bytes do not show which member was written, so one sensitive member hides all.
        return HIDDEN if self.sensitive else value

    def describe(self) -> str:
        return f"union {self.name}" if self.name else _listed("union", self.fields)


def lay_out_struct(members: Iterable[tuple[str, Type]], packed: bool, name: str = "") -> Struct:
    """Members one after the other, each at its alignment; `packed` means no padding and an alignment of 1."""
    fields: list[Field] = []
    end, align = 0, 1
    for member, type_ in members:
        if not packed:
            align = max(align, type_.align)
            end = _rounded(end, type_.align)
        fields.append(Field(member, type_, end))
        end += type_.size
    return Struct(tuple(fields), _rounded(end, align), align, name)


def lay_out_union(members: Iterable[tuple[str, Type]], name: str = "") -> Union:
    """All members at offset 0."""
    fields = tuple(Field(member, type_, 0) for member, type_ in members)
    align = max(field.type.align for field in fields)
    return Union(fields, _rounded(max(field.type.size for field in fields), align), align, name)


def _rounded(size: int, align: int) -> int:
    return -(-size // align) * align


def _leads(fields: Sequence[Field]) -> dict[str, int]:
    """The number of the field that each name reaches."""
    return {
        name: index
        for index, field in enumerate(fields)
        if not isinstance(field.type, Absent)
        for name in field.reached_by()
    }


def _no_mapping(columns: Columns, fields: Sequence[Field], what: str) -> list[Fault]:
    """A fault if the value is a scalar or a list."""
    if all(path and isinstance(path[0], str) for path in columns):
        return []
    written = ", ".join(f"{name}: ..." for name in _leads(fields))
    return [Fault(-1, (), f"the value of a {what} must be a mapping", f"write {{{written}}}", "wrong-type")]


def _split(columns: Columns, fields: Sequence[Field], what: str) -> tuple[dict[int, dict[Path, Column]], list[Fault]]:
    """The columns of each field, with its name removed from their paths; faults for unknown names."""
    leads = _leads(fields)
    parts: dict[int, dict[Path, Column]] = {}
    unknown: dict[str, None] = {}
    absent = {field.name: field.type for field in fields if isinstance(field.type, Absent)}
    for path, column in columns.items():
        head = str(path[0])
        index = leads.get(head)
        if index is None:
            if head not in absent or len(path) > 1 or not absent[head].accepts(column):
                unknown[head] = None
        else:
            parts.setdefault(index, {})[path[1:] if fields[index].name else path] = column
    faults: list[Fault] = []
    has_secrets = any(field.type.sensitive for field in fields)
    for name in unknown:
        if name in absent:
            faults.append(absent[name].refused(name))
        elif has_secrets:  # what is written in the place of a name can be a secret
            refused = f"{what} has no member of this name"
            faults.append(Fault(-1, (name,), refused, did_you_mean("", leads), "unknown-field"))
        else:
            hint = did_you_mean(name, leads)
            faults.append(Fault(-1, (name,), f"{what} has no member {shown(name)}", hint, "unknown-field"))
    return parts, faults


def _inside(field: Field, faults: Iterable[Fault]) -> list[Fault]:
    if not field.name:
        return list(faults)
    return [Fault(fault.row, (field.name, *fault.path), fault.what, fault.hint, fault.id) for fault in faults]


def _offer(field: Field) -> str:
    """A hint for a missing member; empty where it is long."""
    if field.type.size > 16:
        return ""
    value = field.type.example()
    if isinstance(value, bool):
        return f"write `{field.name}: {str(value).lower()}`"
    if value == "":
        return f'write `{field.name}: ""`'
    return f"write `{field.name}: {value}`" if isinstance(value, int | str) else ""


def _mask(fields: Iterable[Field], size: int) -> Bytes:
    mask = np.zeros(size, np.uint8)
    for field in fields:
        mask[field.offset : field.offset + field.type.size] |= field.type.mask()
    return mask


def _conceal(fields: Iterable[Field], value: Value) -> Value:
    result = dict(value)
    for field in fields:
        if field.name in result:
            result[field.name] = field.type.conceal(result[field.name])
        elif field.type.sensitive:
            result |= dict.fromkeys(result.keys() & set(field.reached_by()), HIDDEN)
    return result


def _listed(kind: str, fields: Iterable[Field]) -> str:
    return f"{kind} {{" + ", ".join(f"{field.name}: {field.type.describe()}" for field in fields) + "}"
