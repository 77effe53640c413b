"""Which member of an old layout becomes which of a new one, and how. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from provisioner.codec.reshape import CopyBytes, Elements, Move, Number, Reshaping, Zero
from provisioner.model.type_layout import LayoutKind, Placed, TypeLayout, placed
from provisioner.model.types import Bytes

WHOLE: Final = "value"
"""The name of a value that has no members, where `rename` needs one."""

_GROWS: Final = (LayoutKind.TEXT, LayoutKind.BYTES)


class Unconvertible(msgspec.Struct, frozen=True):
    """A member whose old type cannot become its new one, whatever its values are."""

    member: str
    before: str
    after: str
    hint: str = ""


def reshaping(
    old: TypeLayout,
    new: TypeLayout,
    rename: Mapping[str, str] | None = None,
    constant: Bytes | None = None,
    constants: frozenset[str] = frozenset(),
    *,
    is_ordered: bool = False,
) -> tuple[Reshaping, tuple[Unconvertible, ...]]:
    """The conversion from one layout to another, and the members that make it impossible.

    `rename` has the new names of members by their old ones, dotted for members of members. `constants` are the new
    members whose bytes are in `constant`, shape (new size,). `is_ordered` says that `old` has the byte order of
    integers, as BTF does not: then they are converted by number, else they keep their bytes.
    """
    matcher = _Matcher(old, dict(rename or {}), constants, is_ordered)
    matcher.match("", Placed(0, new), "")
    start = np.zeros(new.size, np.uint8) if constant is None else constant
    dropped = tuple(matcher.dropped())
    moves = tuple(_joined(matcher.moves))
    made = Reshaping(old.size, new.size, moves, start, tuple(matcher.added), tuple(matcher.renamed), dropped)
    return made, tuple(matcher.impossible)


class _Matcher:
    """Finds the old member of each new one."""

    def __init__(self, old: TypeLayout, rename: dict[str, str], constants: frozenset[str], is_ordered: bool) -> None:
        self._is_ordered, self._rename = is_ordered, rename
        self._old = dict(placed(old))
        if old.kind is not LayoutKind.STRUCT:
            self._old[WHOLE] = self._old[""]
        # Keys and values have one mapping, and can have members of one name.
        self._source = {after: before for before, after in rename.items() if before in self._old}
        self._constants = constants
        self._used: set[str] = set()
        self.moves: list[Move] = []
        self.added: list[str] = []
        self.renamed: list[tuple[str, str]] = []
        self.impossible: list[Unconvertible] = []

    def match(self, path: str, new: Placed, below: str) -> None:
        """Add the moves to the member at `path`; `below` is where it is in the old layout, unless it was renamed."""
        if path in self._constants:
            return
        source = self._source.get(path or WHOLE, below)
        old = self._old.get(source)
        if old is not None and source != path and path:
            self.renamed.append((source, path))
        is_struct = new.layout.kind is LayoutKind.STRUCT
        if old is not None and not (is_struct and old.layout.kind is LayoutKind.STRUCT):
            if is_struct and old.layout.size != new.layout.size:
                old = None if not path else old  # the whole value became a struct: members can be renamed from it
            if old is not None:
                self._used.add(source)
                self._leaf(path, old, new, source)
                return
        if is_struct:
            for part in new.layout.members:
                inside = f"{path}.{part.name}" if path else part.name
                beneath = f"{source}.{part.name}" if source else part.name
                self.match(inside, Placed(new.offset + part.offset, part.layout), beneath)
            return
        self.added.append(path or WHOLE)

    def dropped(self) -> list[tuple[str, Placed]]:
        """Old members without a new place, those that hold others apart."""
        gone = []
        for path, each in self._old.items():
            used = {"" if name == WHOLE and not path else name for name in self._used}
            covered = any(path == name or path.startswith(f"{name}.") or not name for name in used)
            if each.layout.kind is not LayoutKind.STRUCT and not covered and path != WHOLE:
                gone.append((path or WHOLE, each))
        return gone

    def _leaf(self, path: str, old: Placed, new: Placed, source: str) -> None:
        before, after, member = old.layout, new.layout, path or WHOLE
        if before.is_integer and after.is_integer:
            self._integers(member, old, new, before, after, 1)
        elif before.kind is after.kind is LayoutKind.ARRAY:
            self._arrays(member, old, new, self._within(source, path))
        elif before.kind is after.kind is LayoutKind.UNION:
            self._unions(member, old, new)
        elif before.size == after.size:
            self.moves.append(CopyBytes(old.offset, new.offset, before.size))
        elif before.kind in _GROWS and before.kind is after.kind and _is_open(before) and _is_open(after):
            kept = min(before.size, after.size)
            self.moves.append(CopyBytes(old.offset, new.offset, kept))
            self._must_be_zero(member, old.offset + kept, before.size - kept, after.word)
        else:
            self.impossible.append(Unconvertible(member, before.word, after.word))

    def _integers(
        self, member: str, old: Placed, new: Placed, before: TypeLayout, after: TypeLayout, count: int
    ) -> None:
        same = (before.size, before.is_signed, before.width, before.shift)
        turns = self._is_ordered and before.big != after.big
        if same == (after.size, after.is_signed, after.width, after.shift) and not before.width and not turns:
            # Without `is_ordered`, whatever byte order a program gives it.
            self.moves.append(CopyBytes(old.offset, new.offset, before.size * count))
            return
        if before.big != after.big and min(before.size, after.size) > 1 and not turns:
            hint = "the byte orders differ: give the old type in `from_types`"
            self.impossible.append(Unconvertible(member, before.word, after.word, hint))
            return
        self.moves.append(Number(old.offset, new.offset, count, before, after, member))

    def _within(self, source: str, path: str) -> dict[str, str]:
        """The renames of members of the elements of an array, by their names in an element."""
        before, after = f"{source}." if source else "", f"{path}." if path else ""
        pairs = ((old, new) for old, new in self._rename.items() if old.startswith(before) and new.startswith(after))
        return {old.removeprefix(before): new.removeprefix(after) for old, new in pairs}

    def _arrays(self, member: str, old: Placed, new: Placed, rename: Mapping[str, str]) -> None:
        before, after = old.layout.members[0].layout, new.layout.members[0].layout
        kept = min(old.layout.count, new.layout.count)
        if before.is_integer and after.is_integer:
            self._integers(member, old, new, before, after, kept)
        elif before == after:
            self.moves.append(CopyBytes(old.offset, new.offset, before.size * kept))
        else:
            each, impossible = reshaping(before, after, rename, is_ordered=self._is_ordered)
            self.impossible += impossible
            self.renamed += [(f"{member}.{was}", f"{member}.{now}") for was, now in each.renamed]
            self.added += [f"{member}.{name}" for name in each.added]
            self.moves.append(Elements(old.offset, new.offset, kept, each, member))
        rest = (old.layout.count - kept) * before.size
        self._must_be_zero(member, old.offset + kept * before.size, rest, new.layout.word)

    def _unions(self, member: str, old: Placed, new: Placed) -> None:
        """Bytes stay, if each member does: no byte of a union says which member it holds."""
        before, after = old.layout, new.layout
        kept = {part.name: part.layout for part in after.members}
        if all(part.name in kept and self._is_same(part.layout, kept[part.name]) for part in before.members):
            self.moves.append(CopyBytes(old.offset, new.offset, before.size))
            return
        hint = "the bytes of a union do not show which member they are: keep its members, or write `migrate: drop`"
        self.impossible.append(Unconvertible(member, before.word, after.word, hint))

    def _is_same(self, old: TypeLayout, new: TypeLayout) -> bool:
        """Whether the bytes of a member stay as they are."""
        made, impossible = reshaping(old, new, is_ordered=self._is_ordered)
        return made.keeps_bytes and not impossible

    def _must_be_zero(self, member: str, offset: int, size: int, word: str) -> None:
        if size > 0:
            self.moves.append(Zero(offset, size, member, word))


def _is_open(layout: TypeLayout) -> bool:
    """Whether a member of another length means the same: text and digits do, addresses do not."""
    return layout.kind is LayoutKind.TEXT or "[" in layout.word


def _joined(moves: list[Move]) -> list[Move]:
    """The same moves, with copies of neighbours as one."""
    joined: list[Move] = []
    for move in moves:
        last = joined[-1] if joined else None
        if isinstance(move, CopyBytes) and isinstance(last, CopyBytes):
            distance = move.old - last.old
            if distance == last.size and move.new - last.new == distance:
                joined[-1] = CopyBytes(last.old, last.new, last.size + move.size)
                continue
        joined.append(move)
    return joined
