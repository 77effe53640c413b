"""Reads types as `TypeExpr`. The codecs know the names and the bytes of types. Pure.

The tree can have errors that the schema reports: nodes of the wrong form are skipped here.
"""

from __future__ import annotations

import re
from typing import Final

from provisioner.language.scalars import integer, is_true
from provisioner.model.errors import Problems
from provisioner.model.tree import MappingNode, ScalarNode, SpecNode
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
from provisioner.model.types import shown

_FORMS: Final = ("struct", "union", "enum", "btf", "lpm_key", "type")
_OPTIONS: Final = ("from", "as", "base", "packed", "sensitive", "unit")
_NAMED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\[(?:0x[0-9A-Fa-f]+|[1-9][0-9]*)\])*)")
MAX_DIMENSIONS: Final = 32
"""The limit of BTF on nested types (MAX_RESOLVE_DEPTH, kernel/bpf/btf.c)."""

_COUNT: Final = re.compile(r"\[([^]]+)\]")


def read_type(node: SpecNode | None, problems: Problems) -> TypeExpr | None:
    """The type of `node`; None if it is absent or invalid, which the schema or a Problem reports."""
    match node:
        case ScalarNode():
            return _named(node, problems)
        case MappingNode():
            return _described(node, problems)
        case _:
            return None


def _named(node: ScalarNode, problems: Problems) -> TypeExpr | None:
    """`u32`, or `u32[2][3]`: as in C, two arrays of three elements."""
    match = _NAMED.fullmatch(node.text or "")
    if match is None:
        return None
    result: TypeExpr = NamedType(match[1], node.where)
    counts = _COUNT.findall(match[2])
    if len(counts) > MAX_DIMENSIONS:
        what = f"the array has {len(counts)} dimensions; the limit is {MAX_DIMENSIONS}"
        problems.add(what, node.where, id="limit-exceeded")
        return None
    for count in reversed(counts):
        number = integer(count)
        if not number or number >= 1 << 32:
            what = f"the length of {shown(node.text or '')} is out of range"
            problems.add(what, node.where, "write a length from 1 to 4294967295", id="out-of-range")
            return None
        result = ArrayType(result, number, node.where)
    return result


def _described(node: MappingNode, problems: Problems) -> TypeExpr | None:
    forms = [(name, key, value) for name, key, value in node.named() if name in _FORMS]
    if not forms and any(name not in _FORMS and name not in _OPTIONS for name, _, _ in node.named()):
        return None  # the schema reports a field that no type has
    if len(forms) != 1:
        where = forms[1][1].where if forms else node.where
        written = " and ".join(f"`{name}`" for name, _, _ in forms) or "none"
        what = f"a type must have exactly one of {', '.join(_FORMS)}, and this one has {written}"
        problems.add(what, where, "write one of them", id="invalid-type")
        return None
    result = _formed(*forms[0], node, problems)
    unit = node.get("unit")
    sensitive = is_true(node.get("sensitive"))
    if result is not None and (sensitive or isinstance(unit, ScalarNode)):
        return OptionType(result, sensitive, (unit.text or "") if isinstance(unit, ScalarNode) else "", node.where)
    return result


def _formed(form: str, key: ScalarNode, value: SpecNode, node: MappingNode, problems: Problems) -> TypeExpr | None:
    match form:
        case "struct":
            return StructType(_members(value, problems), is_true(node.get("packed")), key.where)
        case "union":
            return UnionType(_members(value, problems), key.where)
        case "enum":
            return _enum(key, value, node)
        case "btf":
            source, refined = node.get("from"), node.get("as")
            if not isinstance(value, ScalarNode) or not value.text:
                return None
            written = (source.text or "") if isinstance(source, ScalarNode) else ""
            return BtfType(value.text, written, _members(refined, problems) if refined else (), key.where)
        case "lpm_key":
            data = read_type(value, problems)
            return LpmKeyType(data, key.where) if data else None
        case _:
            return read_type(value, problems)


def _members(node: SpecNode, problems: Problems) -> tuple[Member, ...]:
    if not isinstance(node, MappingNode):
        return ()
    read = ((name, read_type(value, problems), key.where) for name, key, value in node.named())
    return tuple(Member(name, type_, where) for name, type_, where in read if type_ is not None)


def _enum(key: ScalarNode, value: SpecNode, node: MappingNode) -> EnumType | None:
    if not isinstance(value, MappingNode):
        return None
    numbers = ((name, integer(item.text)) for name, _, item in value.named() if isinstance(item, ScalarNode))
    base = node.get("base")
    stored = NamedType("u32", key.where)
    if isinstance(base, ScalarNode) and base.text:
        stored = NamedType(base.text, base.where)
    return EnumType(tuple((name, number) for name, number in numbers if number is not None), stored, key.where)
