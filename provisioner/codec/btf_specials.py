"""What of a type in BTF belongs to the kernel: found by name, as the kernel finds it."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.codec.btf import MAX_DEPTH, BtfAlias, BtfArray, BtfComposite, BtfKind, BtfOther, BtfTypes
from provisioner.model.special_fields import POINTER_TAGS, STRUCTS, Special

_MOST = 12
"""Elements of an array that are looked at: the kernel takes no more than 11 fields (BTF_FIELDS_MAX)."""


def specials_of(types: BtfTypes, id_: int) -> tuple[Special, ...]:
    """The fields of the type with this id that belong to the kernel, by offset. Raises InputError for broken BTF."""
    return tuple(sorted(_found(types, id_, 0)))


def pointee(types: BtfTypes, pointer: BtfOther) -> str:
    """`kptr task_struct` for a pointer that the kernel manages, empty for others."""
    node = types[pointer.target]
    tag = ""
    while isinstance(node, BtfAlias):
        tag = node.name if node.kind is BtfKind.TYPE_TAG and node.name in POINTER_TAGS else tag
        node = types[node.target]
    if not tag:
        return ""
    return f"{tag} {node.name}" if isinstance(node, BtfComposite | BtfOther) else tag


def _found(types: BtfTypes, id_: int, depth: int) -> Iterator[Special]:
    if depth > MAX_DEPTH:
        return
    match types[types.resolve(id_)]:
        case BtfComposite(kind=BtfKind.STRUCT, name=name) if name in STRUCTS:
            yield Special(0, name)
        case BtfComposite(kind=BtfKind.STRUCT, members=members):
            for member in members:
                if not member.bits:
                    yield from (one.moved(member.bit_offset // 8) for one in _found(types, member.type, depth + 1))
        case BtfArray(element, count):
            each = list(_found(types, element, depth + 1))
            stride = types.size_of(element)
            yield from (one.moved(number * stride) for number in range(min(count, _MOST)) for one in each)
        case BtfOther(kind=BtfKind.PTR) as pointer if kind := pointee(types, pointer):
            yield Special(0, kind)
        case _:
            return
