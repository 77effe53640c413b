"""Entries of one layout as those of another: members by name, integers by number, on whole columns. Pure.

What becomes of each member is decided once (`reshape_match`). A reshaping then converts rows of bytes, without a Python
object for each. A value that does not fit is not changed to one that does: its row is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.entry_table import Index
from provisioner.model.type_layout import Placed, TypeLayout
from provisioner.model.types import Bytes

_ROWS: Final = 65_536
"""Rows that are converted at once: what is made for them stays in the cache."""

_SHOWN: Final = 1000
"""Values that are kept for messages: those that are reported can be any of them."""


class Misfit(msgspec.Struct, frozen=True):
    """Rows whose value of a member does not fit; `shown` has the values of the first of them that have a short form."""

    member: str
    rows: Index
    shown: Mapping[int, str]
    word: str

    def per(self, count: int) -> Misfit:
        """The same by groups of `count` rows: the CPUs of an entry, or the elements of an array."""
        shown: dict[int, str] = {}
        for row, text in self.shown.items():
            shown.setdefault(row // count, text)
        return Misfit(self.member, np.unique(self.rows // count), shown, self.word)


class Lost(msgspec.Struct, frozen=True):
    """A member that the new layout does not have, and how many rows have a value other than zero in it."""

    member: str
    rows: Index


class Converted(msgspec.Struct, frozen=True):
    """Rows in the new layout; those of misfits have no meaning in the members that do not fit."""

    rows: Bytes
    misfits: tuple[Misfit, ...]
    lost: tuple[Lost, ...]


class CopyBytes(msgspec.Struct, frozen=True):
    """The same bytes at another offset."""

    old: int
    new: int
    size: int


class Number(msgspec.Struct, frozen=True):
    """`count` integers in other integers."""

    old: int
    new: int
    count: int
    before: TypeLayout
    after: TypeLayout
    member: str


class Zero(msgspec.Struct, frozen=True):
    """Bytes that have no place in the new layout, and must be zero."""

    old: int
    size: int
    member: str
    word: str


class Elements(msgspec.Struct, frozen=True):
    """`count` elements of an array, each by its own conversion."""

    old: int
    new: int
    count: int
    each: Reshaping
    member: str


Move = CopyBytes | Number | Zero | Elements


class Reshaping(msgspec.Struct, frozen=True):
    """How rows of `old_size` bytes become rows of `new_size`. `constant`, shape (new_size,), has what is set.

    `added` are new members that start as zero, `renamed` pairs of old and new names, `dropped` old members without a
    place in the new layout, with their bytes.
    """

    old_size: int
    new_size: int
    moves: tuple[Move, ...]
    constant: Bytes
    added: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    dropped: tuple[tuple[str, Placed], ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether rows stay as they are."""
        return self.moves == (CopyBytes(0, 0, self.old_size),) and self.old_size == self.new_size

    @property
    def keeps_bytes(self) -> bool:
        """Whether each member stays where it is, as it is; bytes between members do not count."""
        if self.old_size != self.new_size or self.added or self.dropped or self.constant.any():
            return False
        return all(_stays(move) for move in self.moves)

    @property
    def drops_members(self) -> bool:
        """Whether an old member has no place in the new layout, also one of the elements of an array."""
        return bool(self.dropped) or any(move.each.drops_members for move in self.moves if isinstance(move, Elements))

    def convert(self, rows: Bytes) -> Converted:
        """`rows`, shape (n, old_size), in the new layout."""
        if self.is_identity:
            return Converted(rows, (), ())
        out = np.empty((len(rows), self.new_size), np.uint8)
        misfits = _Faults()
        lost = _Faults()
        old = np.ascontiguousarray(rows)
        for start in range(0, len(rows), _ROWS):
            before, after = old[start : start + _ROWS], out[start : start + _ROWS]
            after[:] = self.constant
            for move in self.moves:
                _apply(move, before, after, start, misfits, lost)
            for name, gone in self.dropped:
                held = before[:, gone.offset : gone.offset + gone.layout.size]
                lost.add(name, np.flatnonzero(_mask(gone.layout, held).any(axis=1)) + start, {}, "")
        return Converted(out, misfits.misfits(), tuple(Lost(one.member, one.rows) for one in lost.misfits()))


class _Faults(msgspec.Struct):
    """Rows that do not fit, by member, over many blocks."""

    parts: dict[str, list[Index]] = {}
    words: dict[str, tuple[dict[int, str], str]] = {}

    def add(self, member: str, rows: NDArray[np.intp], shown: Mapping[int, str], word: str) -> None:
        if len(rows):
            self.parts.setdefault(member, []).append(rows.astype(np.int64))
            known = self.words.setdefault(member, ({}, word))[0]
            known.update(islice(shown.items(), max(0, _SHOWN - len(known))))

    def misfits(self) -> tuple[Misfit, ...]:
        return tuple(Misfit(name, np.concatenate(rows), *self.words[name]) for name, rows in self.parts.items())


def _stays(move: Move) -> bool:
    match move:
        case CopyBytes():
            return move.old == move.new
        case Number(before=before, after=after):
            same = (before.kind, before.size, before.big, before.width, before.shift)
            return move.old == move.new and same == (after.kind, after.size, after.big, after.width, after.shift)
        case Elements(each=each):
            return move.old == move.new and each.keeps_bytes
        case Zero():
            return False


def identity(size: int) -> Reshaping:
    """Rows as they are."""
    return Reshaping(size, size, (CopyBytes(0, 0, size),), np.zeros(size, np.uint8))


def _apply(move: Move, old: Bytes, new: Bytes, start: int, faults: _Faults, lost: _Faults) -> None:
    match move:
        case CopyBytes():
            _copy(old, move.old, new, move.new, move.size)
        case Number():
            _numbers(move, old, new, start, faults)
        case Zero():
            held = old[:, move.old : move.old + move.size]
            faults.add(move.member, np.flatnonzero(held.any(axis=1)) + start, {}, move.word)
        case Elements():
            _elements(move, old, new, start, faults, lost)


def _copy(old: Bytes, at: int, new: Bytes, to: int, size: int) -> None:
    if size in (1, 2, 4, 8):
        _field(new, to, f"u{size}")[:] = _field(old, at, f"u{size}")
    else:
        new[:, to : to + size] = old[:, at : at + size]


def _field(rows: Bytes, offset: int, kind: str, count: int = 1) -> NDArray[np.integer]:
    """Integers in rows, as a view of shape (n,), or (n, count)."""
    dtype = np.dtype(kind)
    if count == 1:
        return np.ndarray((len(rows),), dtype, rows, offset, (rows.shape[1],))
    return np.ndarray((len(rows), count), dtype, rows, offset, (rows.shape[1], dtype.itemsize))


def _numbers(move: Number, old: Bytes, new: Bytes, start: int, faults: _Faults) -> None:
    before, after = move.before, move.after
    numbers = _bit_field(old, move.old, before) if before.width else _field(old, move.old, _kind(before), move.count)
    low = -(1 << (after.bits - 1)) if after.is_signed else 0
    high = (1 << (after.bits - after.is_signed)) - 1
    own_low = -(1 << (before.bits - 1)) if before.is_signed else 0
    own_high = (1 << (before.bits - before.is_signed)) - 1
    wrong = np.zeros(numbers.shape, np.bool_)
    if own_low < low:
        wrong |= numbers < low
    if own_high > high:
        wrong |= numbers > high
    if wrong.any():
        rows = np.flatnonzero(wrong.any(axis=1) if wrong.ndim > 1 else wrong)
        first = wrong.argmax(axis=1) if wrong.ndim > 1 else None
        few = rows[:_SHOWN].tolist()
        shown = {row + start: str(int(numbers[row] if first is None else numbers[row, first[row]])) for row in few}
        faults.add(move.member, rows + start, shown, after.word)
    if after.width:
        _write_bits(new, move.new, after, numbers)
    else:
        _field(new, move.new, _kind(after), move.count)[:] = numbers.astype(_kind(after))


def _kind(layout: TypeLayout, size: int = 0) -> str:
    return f"{'>' if layout.big else '<'}{'i' if layout.is_signed else 'u'}{size or layout.size}"


def _order(layout: TypeLayout) -> Literal["big", "little"]:
    return "big" if layout.big else "little"


def _bit_field(rows: Bytes, offset: int, layout: TypeLayout) -> NDArray[np.integer]:
    """The numbers of a bit field, shape (n,)."""
    order = _order(layout)
    bits = np.unpackbits(rows[:, offset : offset + layout.size], axis=1, bitorder=order)
    bits = bits[:, layout.shift : layout.shift + layout.width]
    whole = np.zeros((len(rows), 64), np.uint8)
    if layout.is_signed:
        highest = 0 if layout.big else layout.width - 1
        whole[:] = bits[:, highest : highest + 1]
    if layout.big:
        whole[:, 64 - layout.width :] = bits
    else:
        whole[:, : layout.width] = bits
    packed = np.packbits(whole, axis=1, bitorder=order)
    numbers: NDArray[np.integer] = packed.view(_kind(layout, 8)).ravel()
    return numbers


def _write_bits(rows: Bytes, offset: int, layout: TypeLayout, numbers: NDArray[np.integer]) -> None:
    order = _order(layout)
    wide = numbers.astype(_kind(layout, 8))
    all_bits = np.unpackbits(np.ascontiguousarray(wide).view(np.uint8).reshape(-1, 8), axis=1, bitorder=order)
    kept = all_bits[:, 64 - layout.width :] if layout.big else all_bits[:, : layout.width]
    bits = np.zeros((len(rows), 8 * layout.size), np.uint8)
    bits[:, layout.shift : layout.shift + layout.width] = kept
    # Other bit fields in the same byte are written before or after, so the bits are merged.
    rows[:, offset : offset + layout.size] |= np.packbits(bits, axis=1, bitorder=order)


def _elements(move: Elements, old: Bytes, new: Bytes, start: int, faults: _Faults, lost: _Faults) -> None:
    each = move.each
    held = old[:, move.old : move.old + move.count * each.old_size]
    done = each.convert(np.ascontiguousarray(held).reshape(-1, each.old_size))
    size = move.count * each.new_size
    new[:, move.new : move.new + size] = done.rows.reshape(len(old), size)
    for misfit in (misfit.per(move.count) for misfit in done.misfits):
        shown = {row + start: text for row, text in misfit.shown.items()}
        faults.add(f"{move.member}.{misfit.member}", misfit.rows + start, shown, misfit.word)
    for gone in done.lost:
        lost.add(f"{move.member}.{gone.member}", np.unique(gone.rows // move.count) + start, {}, "")


def _mask(layout: TypeLayout, held: Bytes) -> Bytes:
    """The bytes of a member; of a bit field, its bits alone."""
    if not layout.width:
        return held
    order = _order(layout)
    bits = np.zeros(8 * layout.size, np.uint8)
    bits[layout.shift : layout.shift + layout.width] = 1
    kept: Bytes = held & np.packbits(bits, bitorder=order)
    return kept
