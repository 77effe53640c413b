"""Global variables in BTF: the sections of an object, and what is where in them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from provisioner.codec.btf import BtfKind, BtfOther, BtfTypes

_SETTABLE: Final = (".rodata", ".data", ".bss")


class BtfVariable(msgspec.Struct, frozen=True):
    """`type` is the id of the variable's type; `offset` and `size` are bytes in the section."""

    name: str
    type: int
    offset: int
    size: int


def section_name(types: BtfTypes, id_: int) -> str:
    """The name of a data section whose variables a loader can set; empty for every other type."""
    node = types[id_] if id_ else None
    if not isinstance(node, BtfOther) or node.kind is not BtfKind.DATASEC:
        return ""
    return node.name if node.name in _SETTABLE or node.name.startswith(tuple(f"{one}." for one in _SETTABLE)) else ""


def variables(types: BtfTypes, section: int) -> Iterator[BtfVariable]:
    """The variables of a section."""
    for id_, offset, size in types.section(section):
        node = types[id_]
        if isinstance(node, BtfOther) and node.kind is BtfKind.VAR:
            yield BtfVariable(node.name, node.target, offset, size)
