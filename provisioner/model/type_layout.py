"""The layout of a key or value: what a conversion to another layout must know of each member, and no more.

The record of a project keeps layouts, because the kernel keeps no types of outer keys, and none of maps without BTF.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated

import msgspec

Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]


class LayoutKind(Enum):
    """What the bytes of a member are."""

    UNSIGNED = "u"
    SIGNED = "s"
    TEXT = "text"
    BYTES = "bytes"
    ARRAY = "array"
    STRUCT = "struct"
    UNION = "union"
    KERNEL = "kernel"


class TypeLayout(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """`word` is the type in messages; `size` is in bytes.

    `big` is the byte order of an integer. A bit field has a `width` in bits, from bit `shift` of its first byte on. An
    array has `count` times `members[0]`; a struct or union has its members by name and offset, without those of the
    kernel.
    """

    kind: LayoutKind
    size: Size
    word: str
    big: bool = False
    width: Size = 0
    shift: Size = 0
    count: Size = 0
    members: tuple[MemberLayout, ...] = ()

    @property
    def is_integer(self) -> bool:
        return self.kind in (LayoutKind.UNSIGNED, LayoutKind.SIGNED)

    @property
    def is_signed(self) -> bool:
        return self.kind is LayoutKind.SIGNED

    @property
    def bits(self) -> int:
        """The bits of an integer."""
        return self.width or 8 * self.size


class MemberLayout(msgspec.Struct, frozen=True, array_like=True):
    """A member of a struct."""

    name: str
    offset: Size
    layout: TypeLayout


class EntryLayout(msgspec.Struct, frozen=True):
    """The layouts of the entries of a map; those of an outer map are of its inner maps, and `outer` is of its keys."""

    key: TypeLayout
    value: TypeLayout
    outer: TypeLayout | None = None


class Relaid(msgspec.Struct, frozen=True):
    """Entries of a live map in another layout of the same size. `before` is theirs, `words` are the differences.

    `moves` says that a conversion changes their bytes, or those of outer keys: otherwise only their meaning differs.
    `moves_entries` says so of the entries alone.
    """

    before: EntryLayout
    words: tuple[str, ...]
    moves: bool
    moves_entries: bool


class Placed(msgspec.Struct, frozen=True):
    """A layout at its offset in the whole key or value."""

    offset: int
    layout: TypeLayout


def has_same_places(first: TypeLayout, second: TypeLayout) -> bool:
    """Whether both have members of the same names, offsets and sizes."""
    return [(path, at.offset, at.layout.size) for path, at in placed(first)] == [
        (path, at.offset, at.layout.size) for path, at in placed(second)
    ]


def placed(layout: TypeLayout, path: str = "", offset: int = 0) -> Iterator[tuple[str, Placed]]:
    """Every struct and member by its dotted path, the whole first."""
    yield path, Placed(offset, layout)
    if layout.kind is LayoutKind.STRUCT:
        for part in layout.members:
            yield from placed(part.layout, f"{path}.{part.name}" if path else part.name, offset + part.offset)
