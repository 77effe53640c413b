"""Short ways to write types and values in the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from provisioner.codec import BtfTypes, ByteOrder, Bytes, Column, Fault, Path, Type, build
from provisioner.model.errors import Problems
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

HERE = Location("spec.yaml", 1, 1)
ORDERS: tuple[ByteOrder, ...] = ("little", "big")

INTERFACES = {"eth0": 7, "lo": 1}


def typ(written: TypeExpr | str) -> TypeExpr:
    """`u32`, `char[16]`, `u8[2][3]` (three arrays of two) or a TypeExpr as it is."""
    if not isinstance(written, str):
        return written
    element, bracket, count = written.rpartition("[")
    return ArrayType(typ(element), int(count[:-1]), HERE) if bracket else NamedType(written, HERE)


def members(given: Mapping[str, TypeExpr | str]) -> tuple[Member, ...]:
    return tuple(Member(name, typ(each), HERE) for name, each in given.items())


def struct(packed: bool = False, **given: TypeExpr | str) -> StructType:
    return StructType(members(given), packed, HERE)


def union(**given: TypeExpr | str) -> UnionType:
    return UnionType(members(given), HERE)


def enum(base: str = "u8", **names: int) -> EnumType:
    return EnumType(tuple(names.items()), NamedType(base, HERE), HERE)


def lpm(data: TypeExpr | str) -> LpmKeyType:
    return LpmKeyType(typ(data), HERE)


def option(inner: TypeExpr | str, sensitive: bool = False, unit: str = "") -> OptionType:
    return OptionType(typ(inner), sensitive, unit, HERE)


def btf(name: str, source: str = "", **refine: TypeExpr | str) -> BtfType:
    return BtfType(name, source, members({path.replace("__", "."): each for path, each in refine.items()}), HERE)


def built(
    written: TypeExpr | str,
    byteorder: ByteOrder = "little",
    types: Mapping[str, TypeExpr] | None = None,
    btf: Mapping[str, BtfTypes] | None = None,
) -> Type:
    """The codec type; what is wrong with it is raised."""
    problems = Problems()
    lookups = {"ifindex": INTERFACES.get}
    type_ = build(typ(written), types or {}, byteorder=byteorder, problems=problems, btf=btf, lookups=lookups)
    problems.raise_if_any()
    assert type_ is not None
    return type_


def flat(value: Any, path: Path = ()) -> dict[Path, str | None]:
    """The text at each path of a value as a user writes it; a decoded value is written as JSON has it."""
    match value:
        case dict():
            return {key: text for name, part in value.items() for key, text in flat(part, (*path, name)).items()}
        case list():
            return {key: text for index, part in enumerate(value) for key, text in flat(part, (*path, index)).items()}
        case bool():
            return {path: str(value).lower()}
        case None:
            return {path: None}
        case _:
            return {path: str(value)}


def encode(type_: Type, values: Sequence[Any]) -> tuple[Bytes, list[Fault]]:
    """The rows of `values`, which are written alike, and their faults."""
    rows = [flat(value) for value in values]
    columns: dict[Path, Column] = {path: [row[path] for row in rows] for path in rows[0]}
    out = np.zeros((len(values), type_.size), np.uint8)
    return out, type_.encode(columns, out)


def encoded(type_: Type, value: Any) -> bytes:
    """The bytes of one value that must be good."""
    out, faults = encode(type_, [value])
    assert faults == []
    return out.tobytes()


def faults_of(type_: Type, value: Any) -> list[Fault]:
    return encode(type_, [value])[1]


def decoded(type_: Type, data: bytes) -> Any:
    return type_.decode(np.frombuffer(data, np.uint8).reshape(1, type_.size))[0]
