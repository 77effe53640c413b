"""The types of an object: each whole, and each reference and name inside the section.

The rules are those of the kernel (btf_check_all_metas, kernel/bpf/btf.c) as far as libbpf depends on them.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.btf import MAGIC, POINTER_SIZE, BtfKind
from provisioner.object_check.fault import Malformed, Words, first, words_of

_HEADER: Final = 24
_HEAD: Final = 3
"""Words that each type begins with: name, info, size or type."""

_AFTER: Final = {BtfKind.INT: 1, BtfKind.ARRAY: 3, BtfKind.VAR: 1, BtfKind.DECL_TAG: 1}
_EACH: Final = {
    BtfKind.STRUCT: 3, BtfKind.UNION: 3, BtfKind.ENUM: 2, BtfKind.FUNC_PROTO: 2, BtfKind.DATASEC: 3, BtfKind.ENUM64: 3,
}  # fmt: skip
_QUALIFIERS: Final = (BtfKind.TYPEDEF, BtfKind.VOLATILE, BtfKind.CONST, BtfKind.RESTRICT, BtfKind.TYPE_TAG)
_COMPOSITES: Final = (BtfKind.STRUCT, BtfKind.UNION)
_ENUMS: Final = (BtfKind.ENUM, BtfKind.ENUM64)
_VALUES: Final = (
    BtfKind.INT,
    BtfKind.PTR,
    BtfKind.ARRAY,
    *_COMPOSITES,
    *_ENUMS,
    *_QUALIFIERS,
    BtfKind.FLOAT,
    BtfKind.FWD,
)
"""What a variable or a member can be. A forward declaration is a type that is never used."""

_SIZED: Final = (BtfKind.INT, *_COMPOSITES, *_ENUMS, BtfKind.FLOAT)

_KIND_MASK: Final = 0x1F
_MAX_DEPTH: Final = 256
"""Types inside each other. The kernel takes 32; libbpf recurses into each."""

_INT_MASK: Final = 0x0FFFFFFF
_ENCODINGS: Final = (0, 1, 2, 4)
_MAX_BITS: Final = 128


class TypeRows(msgspec.Struct, frozen=True):
    """The records that follow the heads of some types: `owners` (n,) the type of each, `words` (n, width)."""

    owners: Words
    words: Words


class BtfCheck(msgspec.Struct, frozen=True):
    """The types of a `.BTF` section. Arrays have a row for each type; row 0 is void."""

    strings: bytes
    words: Words
    """The section of types."""
    heads: Words
    """Where each type begins in `words`."""
    names: Words
    kinds: Words
    counts: Words
    """How many records follow each type's head."""
    targets: Words
    """The size of a type, or the type that it refers to."""

    @staticmethod
    def parse(data: bytes, order: str) -> BtfCheck:
        """Split a section into types. Raises Malformed."""
        types, strings = _parts(data, order)
        words = words_of(types, order)
        heads = _heads(words.tolist())
        begin = heads[1:]
        zero = np.zeros(1, np.int64)
        name, info, target = (np.concatenate([zero, words[begin + at]]) for at in range(_HEAD))
        return BtfCheck(strings, words, heads, name, info >> 24 & _KIND_MASK, info & 0xFFFF, target)

    def check(self) -> None:
        """Raise Malformed for a type that refers to something outside the section, or contains itself."""
        self.refuse(self.names >= len(self.strings), None, "its name is outside the section of names")
        self._check_references()
        self._check_numbers()
        self._check_records()
        self._check_containment()

    # --- what checks are made of --------------------------------------------------------------------------------

    def ids(self, kinds: tuple[BtfKind, ...]) -> Words:
        """The types of these kinds."""
        return np.flatnonzero(_among(kinds)[self.kinds]).astype(np.int64)

    def rows(self, *kinds: BtfKind) -> TypeRows:
        """The records after the heads of all types of these kinds, which have records of one width."""
        width = _EACH[kinds[0]]
        owners = self.ids(kinds)
        counts = self.counts[owners]
        before = np.cumsum(counts) - counts
        number = np.arange(int(counts.sum())) - np.repeat(before, counts)
        begin = np.repeat(self.heads[owners] + _HEAD, counts) + width * number
        return TypeRows(np.repeat(owners, counts), self.words[begin[:, np.newaxis] + np.arange(width)])

    def extras(self, kind: BtfKind) -> tuple[Words, Words]:
        """The types of a kind, and the words (n, width) after their heads."""
        ids = self.ids((kind,))
        return ids, self.words[(self.heads[ids] + _HEAD)[:, np.newaxis] + np.arange(_AFTER[kind])]

    def refuse(self, bad: NDArray[np.bool_], owners: Words | None, what: str) -> None:
        """Raise Malformed for the first type that is `bad`; `owners` says which types the rows of `bad` belong to."""
        if (at := first(bad)) is not None:
            number = at if owners is None else int(owners[at])
            raise Malformed(f"type {number} of `.BTF` ({self.kind_of(number)}): {what}")

    def refuse_references(
        self, targets: Words, owners: Words, kinds: tuple[BtfKind, ...], what: str, *, void: bool = False
    ) -> None:
        """Refuse references that are not to types of `kinds`, nor to void where `void` allows it."""
        self.refuse(targets >= len(self.heads), owners, f"{what} is outside the section")
        good = _among(kinds)[self.kinds[targets]] | (void & (targets == 0))
        self.refuse(~good, owners, f"{what} is of a kind that cannot be there")

    def kind_of(self, number: int) -> str:
        return BtfKind(int(self.kinds[number])).name

    def name(self, offset: int) -> str:
        return self.strings[offset : self.strings.index(b"\0", offset)].decode(errors="replace")

    def size_of(self, number: int) -> int:
        """Bytes of a value of a type that was checked; 0 for what has none."""
        count = 1
        while (kind := BtfKind(int(self.kinds[number]))) in (BtfKind.ARRAY, *_QUALIFIERS):
            if kind is BtfKind.ARRAY:
                begin = int(self.heads[number]) + _HEAD
                count *= int(self.words[begin + 2])
                number = int(self.words[begin])
            else:
                number = int(self.targets[number])
        return count * (int(self.targets[number]) if kind in _SIZED else POINTER_SIZE if kind is BtfKind.PTR else 0)

    # --- the rules ----------------------------------------------------------------------------------------------

    def _check_references(self) -> None:
        for kinds, allowed, void in (
            ((BtfKind.PTR, *_QUALIFIERS), (*_VALUES, BtfKind.FUNC_PROTO), True),
            ((BtfKind.VAR,), _VALUES, True),
            ((BtfKind.FUNC,), (BtfKind.FUNC_PROTO,), True),  # void: -gline-tables-only
            ((BtfKind.FUNC_PROTO,), _VALUES, True),
            ((BtfKind.DECL_TAG,), (*_VALUES, BtfKind.VAR, BtfKind.FUNC), False),
        ):
            ids = self.ids(kinds)
            self.refuse_references(self.targets[ids], ids, allowed, "what it refers to", void=void)
        ids, array = self.extras(BtfKind.ARRAY)
        self.refuse_references(array[:, 0], ids, _VALUES, "its element")
        self.refuse_references(array[:, 1], ids, _VALUES, "its index")

    def _check_numbers(self) -> None:
        ids, integer = self.extras(BtfKind.INT)
        data, size = integer[:, 0], self.targets[ids]
        bits, offset = data & 0xFF, data >> 16 & 0xFF
        bad = (data > _INT_MASK) | (bits + offset > _MAX_BITS) | (bits > size * 8) | (size == 0)
        bad |= ~np.isin(data >> 24 & 0xF, _ENCODINGS)
        self.refuse(bad, ids, "its size, bits and encoding do not agree")
        ids = self.ids(_ENUMS)
        self.refuse(~np.isin(self.targets[ids], (1, 2, 4, 8)), ids, "its size is not 1, 2, 4 or 8 bytes")
        ids = self.ids((BtfKind.FLOAT,))
        self.refuse(~np.isin(self.targets[ids], (2, 4, 8, 12, 16)), ids, "its size is not that of a number")

    def _check_records(self) -> None:
        members = self.rows(*_COMPOSITES)
        self._check_names(members)
        self.refuse_references(members.words[:, 1], members.owners, _VALUES, "the type of a member")
        offset = members.words[:, 2]
        flags = self.words[self.heads[members.owners] + 1] >> 31 == 1
        bits = np.where(flags, offset & 0xFFFFFF, offset)
        self.refuse(bits > self.targets[members.owners] * 8, members.owners, "a member begins after its end")
        self._check_names(self.rows(BtfKind.ENUM))
        self._check_names(self.rows(BtfKind.ENUM64))
        parameters = self.rows(BtfKind.FUNC_PROTO)
        self._check_names(parameters)
        self.refuse_references(parameters.words[:, 1], parameters.owners, _VALUES, "a parameter's type", void=True)

    def _check_names(self, rows: TypeRows) -> None:
        self.refuse(rows.words[:, 0] >= len(self.strings), rows.owners, "a name in it is outside the section of names")

    def _check_containment(self) -> None:
        """A value cannot contain itself: pointers end what libbpf follows, all else must come to an end."""
        aliases, arrays = self.ids((*_QUALIFIERS, BtfKind.VAR)), self.ids((BtfKind.ARRAY,))
        members = self.rows(*_COMPOSITES)
        outer = np.concatenate([aliases, arrays, members.owners])
        inner = np.concatenate([self.targets[aliases], self.extras(BtfKind.ARRAY)[1][:, 0], members.words[:, 1]])
        for _ in range(_MAX_DEPTH):
            is_open = np.zeros(len(self.heads), bool)
            is_open[outer] = True
            deeper = is_open[inner]
            if not deeper.any():
                return
            outer, inner = outer[deeper], inner[deeper]
        self.refuse(np.ones(1, np.bool_), outer[:1], "it contains itself, or too many others inside each other")


def _parts(data: bytes, order: str) -> tuple[bytes, bytes]:
    """The types and the strings of a `.BTF` section."""
    if len(data) < _HEADER:
        raise Malformed(f"`.BTF` has {len(data)} bytes, its header has {_HEADER}")
    magic, version, _, header, type_at, type_size, string_at, string_size = struct.unpack_from(order + "HBBIIIII", data)
    if magic != MAGIC or version != 1:
        raise Malformed("`.BTF` does not begin with its magic number in the file's byte order, and version 1")
    if header < _HEADER or header % 4 or type_at % 4 or type_size % 4:
        raise Malformed("the header of `.BTF` has offsets that are not multiples of 4")
    if type_at + type_size > string_at or header + string_at + string_size > len(data):
        raise Malformed("the types and the names of `.BTF` overlap, or are outside the section")
    types = data[header + type_at : header + type_at + type_size]
    strings = data[header + string_at : header + string_at + string_size]
    if not strings or strings[0] or strings[-1]:
        raise Malformed("the names of `.BTF` do not begin and end with a zero byte")
    return types, strings


def _heads(words: list[int]) -> Words:
    """Where each type begins; row 0, void, is nowhere."""
    after, each = {int(kind): n for kind, n in _AFTER.items()}, {int(kind): n for kind, n in _EACH.items()}
    heads, at, end, last = [0], 0, len(words), int(max(BtfKind))
    while at < end:
        heads.append(at)
        if end - at < _HEAD:
            break
        info = words[at + 1]
        kind = info >> 24 & 0x1F
        if not 0 < kind <= last:
            raise Malformed(f"type {len(heads) - 1} of `.BTF` is of unknown kind {kind}")
        at += _HEAD + after.get(kind, 0) + each.get(kind, 0) * (info & 0xFFFF)
    if at != end:
        raise Malformed(f"type {len(heads) - 1} of `.BTF` is cut off")
    return np.array(heads, np.int64)


@cache
def _among(kinds: tuple[BtfKind, ...]) -> NDArray[np.bool_]:
    """For each number of a kind, whether it is one of these: an index is faster than a search in a handful of types."""
    among = np.zeros(_KIND_MASK + 1, np.bool_)
    among[list(kinds)] = True
    return among
