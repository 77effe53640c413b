"""A struct of which only some members are ours: the others belong to other writers of the map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from provisioner.codec.layout import Field, Struct
from provisioner.codec.members import Absent, NotOurs
from provisioner.codec.percpu import PerCpu
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.wrapper import Wrapper
from provisioner.model.special_fields import Special
from provisioner.model.types import Bytes, Column, Fault, Path, Type, Value


class Owned(Wrapper, frozen=True):
    """`inner`, of which a value in the spec has the members of `ours` only.

    Both have the same layout. `theirs` has the other members, `initial` their bytes in new entries, zero elsewhere.
    """

    ours: Type
    theirs: Type
    initial: bytes

    @property
    def specials(self) -> tuple[Special, ...]:
        return self.inner.specials

    @property
    def owned(self) -> Type:
        return self.ours

    @property
    def owns_part(self) -> bool:
        return True

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        faults = self.ours.encode(columns, out)
        out |= np.frombuffer(self.initial, np.uint8)
        return faults

    def encode_raw(self, data: bytes) -> Bytes | Fault:
        whole = self.inner.encode_raw(data)
        return whole if isinstance(whole, Fault) else self.as_new(whole)

    def as_new(self, rows: Bytes) -> Bytes:
        return (rows & self.ours.mask()) | np.frombuffer(self.initial, np.uint8)

    def conceal(self, value: Value) -> Value:
        return self.inner.conceal(value)


def owned(value: Type, paths: Sequence[tuple[str, ...]], initial: Bytes) -> Owned:
    """`value` with the members at `paths` as ours, each of which names a member.

    `initial`, shape (size,), has the bytes of others in new entries; of a per-CPU value, those of one CPU.
    """
    ours, theirs = (_kept(value, (), frozenset(paths), is_ours=is_ours) for is_ours in (True, False))
    if isinstance(value, PerCpu):
        each = np.zeros(value.stride, np.uint8)
        each[: len(initial)] = initial
        initial = np.tile(each, value.cpus)
    return Owned(value, ours, theirs, initial.tobytes())


def member_names(type_: Type) -> tuple[str, ...]:
    """The dotted names of the members that are in a value of `type_`, a struct in which others are left out."""
    return tuple(".".join(path) for path in _names(_of_one(type_), ()))


def initial_members(type_: Owned) -> dict[str, Value]:
    """The other members that are not zero in new entries, as `set` has them. Sensitive ones are left out."""
    theirs = _of_one(type_.theirs)
    return dict(_initial(theirs, np.frombuffer(type_.initial, np.uint8)[np.newaxis, : theirs.size]))


def _of_one(type_: Type) -> Type:
    """The type of the value of one CPU."""
    return type_.element if isinstance(type_, PerCpu) else type_


def _initial(type_: Type, row: Bytes) -> Iterator[tuple[str, Value]]:
    """The members of a struct that are not zero in `row`, shape (1, size)."""
    if not isinstance(type_, Struct):  # a sensitive one
        return
    for field in type_.fields:
        span, inside = field.span(row), isinstance(field.type, Struct)
        hidden = isinstance(field.type, Absent) or (field.type.sensitive and not inside)
        if hidden or not (span & field.type.mask()).any():
            continue
        value: Value = dict(_initial(field.type, span)) if inside else field.type.decode(span)[0]
        if field.name:
            yield field.name, value
        elif isinstance(value, dict):
            yield from value.items()


def _names(type_: Type, above: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
    names: list[tuple[str, ...]] = []
    inside = type_.inner if isinstance(type_, Sensitive) else type_
    if not isinstance(inside, Struct):
        return [above]
    for field in inside.fields:
        if isinstance(field.type, Absent):
            continue
        path = (*above, field.name) if field.name else above
        has_part = isinstance(field.type, Struct) and (not field.name or _lacks_some(field.type))
        names += _names(field.type, path) if has_part else [path] if field.name else [(*above, *field.reached_by()[:1])]
    return names


def _lacks_some(struct: Struct) -> bool:
    """Whether a member of a struct, or of one within it, is not ours."""
    return any(
        isinstance(field.type, NotOurs) or (isinstance(field.type, Struct) and _lacks_some(field.type))
        for field in struct.fields
    )


def _kept(type_: Type, above: tuple[str, ...], paths: frozenset[tuple[str, ...]], *, is_ours: bool) -> Type:
    """`type_` with only those members that are at `paths`, or that are not."""
    if isinstance(type_, PerCpu):
        return replace(type_, element=_kept(type_.element, above, paths, is_ours=is_ours))
    if isinstance(type_, Sensitive):
        return replace(type_, inner=_kept(type_.inner, above, paths, is_ours=is_ours))
    assert isinstance(type_, Struct)
    return replace(type_, fields=tuple(_field(field, above, paths, is_ours=is_ours) for field in type_.fields))


def _field(field: Field, above: tuple[str, ...], paths: frozenset[tuple[str, ...]], *, is_ours: bool) -> Field:
    path = (*above, field.name) if field.name else above
    if field.name and path in paths:
        return field if is_ours else _left_out(field)
    if isinstance(field.type, Absent):
        return field
    has_part = not field.name or any(other[: len(path)] == path for other in paths)
    if has_part and isinstance(field.type, Struct | Sensitive):
        return replace(field, type=_kept(field.type, path, paths, is_ours=is_ours))
    return _left_out(field) if is_ours else field


def _left_out(field: Field) -> Field:
    return replace(field, type=NotOurs(field.type.describe(), field.type.size, field.type.align))
