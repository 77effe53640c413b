"""The fields of the kernel in a BTF type, recognised by name as in the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.codec.btf import MAX_DEPTH, BtfAlias, BtfArray, BtfComposite, BtfKind, BtfOther, BtfTypes
from provisioner.model.special_fields import POINTER_TAGS, STRUCTS, Special

_MOST = 12
"""The most elements of an array that are examined: the kernel takes at most 11 fields (BTF_FIELDS_MAX)."""


def specials_of(types: BtfTypes, id_: int) -> tuple[Special, ...]:
    """The fields of the kernel in the type with this id, by offset. Raises InputError for malformed BTF."""
    return tuple(sorted(_specials(types, id_, 0)))


def pointee(types: BtfTypes, pointer: BtfOther) -> str:
    """`kptr task_struct` for a pointer that the kernel manages; empty for other pointers."""
    node = types[pointer.target]
    tag = ""
    while isinstance(node, BtfAlias):
        tag = node.name if node.kind is BtfKind.TYPE_TAG and node.name in POINTER_TAGS else tag
        node = types[node.target]
    if not tag:
        return ""
    return f"{tag} {node.name}" if isinstance(node, BtfComposite | BtfOther) else tag


def _specials(types: BtfTypes, id_: int, depth: int) -> Iterator[Special]:
    if depth > MAX_DEPTH:
        return
    match types[types.resolve(id_)]:
        case BtfComposite(kind=BtfKind.STRUCT, name=name) if name in STRUCTS:
            yield Special(0, name)
        case BtfComposite(kind=BtfKind.STRUCT, members=members):
            for member in members:
                if not member.bits:
                    inner = _specials(types, member.type, depth + 1)
                    yield from (special.moved(member.bit_offset // 8) for special in inner)
        case BtfArray(element, count):
            each = list(_specials(types, element, depth + 1))
            stride = types.size_of(element)
            yield from (special.moved(number * stride) for number in range(min(count, _MOST)) for special in each)
        case BtfOther(kind=BtfKind.PTR) as pointer if kind := pointee(types, pointer):
            yield Special(0, kind)
        case _:
            return
