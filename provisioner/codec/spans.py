"""Texts as they stand in a file: one buffer of bytes, and where each text begins and ends in it.

A million of them are typed without a string for any: what is here reads the forms that everybody writes, and says None
for a column that holds anything else, which is then read text by text. The two must never differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Self, overload

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int32]

PAD: Final = bytes(32)
"""What a buffer begins with, so that the bytes before a text's end can be taken at once, whatever its length."""

_ZERO: Final = ord("0")
_ZEROS: Final = np.uint64(0x3030303030303030)
_MAX_DIGITS: Final = 19
"""Decimal digits that 64 bits hold, whichever they are."""

_JOINS: Final = tuple(
    (np.uint64(power), np.uint64(bits), np.uint64(kept))
    for power, bits, kept in ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10_000, 32, 0xFFFFFFFF))
)
"""What joins neighbours, how far apart they are, and which bits hold a join."""

_NOTHING: Final = np.uint64(0)
_OWN_BYTES: Final = np.array([(1 << 64) - (1 << (64 - 8 * length)) for length in range(9)], np.uint64)
"""For each length of a text, up to 8: which bytes of the word that ends with it are its own."""

_OWN: Final = np.where(np.arange(len(PAD))[::-1] < np.arange(len(PAD) + 1)[:, None], np.uint8(0xFF), np.uint8(0))
"""The same for each length up to that of `PAD`, byte by byte."""

_POWERS: Final = np.array([10**power for power in range(_MAX_DIGITS + 1)], np.uint64)


class Spans(Sequence[str]):
    """Texts in UTF-8, without a byte of zero: `data` (`PAD` first) from `starts` (n,) up to `ends` (n,)."""

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: bytes, starts: Positions, ends: Positions) -> None:
        self.data = data
        self.starts = starts
        self.ends = ends

    def texts(self) -> Self:
        """As a column of a chunk gives its texts."""
        return self

    def strings(self) -> list[str]:
        """All of them as strings."""
        bounds = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        if self.data.isascii():
            whole = self.data.decode("ascii")
            return [whole[start:end] for start, end in bounds]
        return [self.data[start:end].decode() for start, end in bounds]

    def cut(self, starts: Positions, ends: Positions) -> Self:
        """Other texts of the same buffer."""
        return type(self)(self.data, starts, ends)

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The buffer, shape (size,)."""
        return np.frombuffer(self.data, np.uint8)

    @property
    def lengths(self) -> Positions:
        return self.ends - self.starts

    def last(self, count: int) -> NDArray[np.uint8]:
        """The last `count` bytes of each text, shape (n, count); zeros before its first. At most as many as `PAD` has.

        Longer texts are cut.
        """
        windows = np.lib.stride_tricks.sliding_window_view(self.bytes, count)
        found: NDArray[np.uint8] = windows[self.ends - count]
        found &= _OWN[:, -count:].take(self.lengths, axis=0, mode="clip")
        return found

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Spans: ...
    def __getitem__(self, index: int | slice) -> str | Spans:
        if isinstance(index, slice):
            return self.cut(self.starts[index], self.ends[index])
        return self.data[self.starts[index] : self.ends[index]].decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings())

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and text in self.strings()


def distinct(spans: Spans) -> tuple[list[str], NDArray[np.int64]] | None:
    """The different texts, and for each text its number among them; None where one is longer than 8 bytes."""
    if not len(spans) or int(spans.lengths.max()) > 8:
        return None
    _, first, number = np.unique(_words(spans, 0), return_index=True, return_inverse=True)
    return spans.cut(spans.starts[first], spans.ends[first]).strings(), number.astype(np.int64).ravel()


def parse_decimal(spans: Spans) -> tuple[NDArray[np.uint64], NDArray[np.bool_]] | None:
    """Size and sign (True: below zero) of whole numbers in plain decimal, or None if any text is something else.

    Plain is `0`, or up to 19 digits of which the first is none, or one of these after a `-`.
    """
    if not len(spans) or int(spans.lengths.min()) < 1:
        return None
    first = spans.bytes[spans.starts]
    negative = first == ord("-")
    if negative.any():
        spans = spans.cut(spans.starts + negative, spans.ends)
        if int(spans.lengths.min()) < 1:
            return None
        first = spans.bytes[spans.starts]
    lengths = spans.lengths
    longest = int(lengths.max())
    if longest > _MAX_DIGITS or ((first == _ZERO) & (lengths > 1)).any():
        return None
    value = np.zeros(len(spans), np.uint64)
    for part in range(-(-longest // 8)):
        found = _eight_digits(_words(spans, part, _ZEROS))
        if found is None:
            return None
        value += found * _POWERS[8 * part]
    return value, negative


def _words(spans: Spans, part: int, fill: np.uint64 = _NOTHING) -> NDArray[np.uint64]:
    """Eight bytes of each text, those that end 8 * `part` before its end; those of `fill` where they are before it.

    The first of them is the lowest byte.
    """
    windows = np.lib.stride_tricks.sliding_window_view(spans.bytes, 8)
    found: NDArray[np.uint64] = windows[spans.ends - 8 * (part + 1)].view("<u8").ravel().astype(np.uint64, copy=False)
    own = _OWN_BYTES.take(spans.lengths - 8 * part, mode="clip")
    found &= own
    if fill:
        found |= fill & ~own
    return found


def _eight_digits(words: NDArray[np.uint64]) -> NDArray[np.uint64] | None:
    """The numbers that eight digits each write, the first in the lowest byte; None if any byte is no digit."""
    digits = words ^ _ZEROS
    # Above 9 is what has one of the high four bits set, or has it after 6 is added.
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    if ((digits | (digits + np.uint64(0x0606060606060606))) & high).any():
        return None
    # Neighbours are joined: digits to pairs, pairs to fours, fours to all eight.
    for power, bits, kept in _JOINS:
        following = digits >> bits
        digits *= power
        digits += following
        digits &= kept
    return digits


def parse_ipv4(spans: Spans) -> NDArray[np.uint8] | None:
    """Addresses as `10.0.0.1`, shape (n, 4), or None if any text is something else: leading zeros are."""
    count = len(spans)
    if not count or int(spans.lengths.min()) < 7 or int(spans.lengths.max()) > 15:
        return None
    # One more byte than the longest has: where the octet before the first would end.
    text = spans.last(16)
    dots = np.flatnonzero(text == ord("."))
    base = np.arange(0, count * 16, 16, dtype=np.int64)
    if len(dots) != 3 * count or (dots[::3] < base).any() or (dots[2::3] >= base + 16).any():
        return None
    ends = np.empty((4, count), np.int64)
    ends[:3] = dots.reshape(count, 3).T
    ends[3] = base + 16
    found = np.empty((count, 4), np.uint8)
    digits = text.ravel() - np.uint8(_ZERO)
    before = base + (15 - spans.lengths)
    for octet, end in enumerate(ends):
        length = end - before - 1
        if int(length.min()) < 1 or int(length.max()) > 3:
            return None
        one = digits[end - 1]
        ten = digits[end - 2] * (length > 1)
        hundred = digits[end - 3] * (length > 2)
        if max(int(one.max()), int(ten.max()), int(hundred.max())) > 9:
            return None
        value = one + np.uint16(10) * ten + np.uint16(100) * hundred
        # Without leading zeros, a number has as many digits as it takes.
        if int(value.max()) > 255 or (length != 1 + (value > 9) + (value > 99)).any():
            return None
        found[:, octet] = value
        before = end
    return found


def split_last(spans: Spans, separator: str, longest: int) -> tuple[Spans, Spans] | None:
    """What is before and after the last `separator`, which has at most `longest` (below 8) bytes after it.

    None where a text has no such.
    """
    if not len(spans):
        return None
    found = spans.last(longest + 1) == ord(separator)
    if not found.any(axis=1).all():
        return None
    after = (found[:, ::-1].argmax(axis=1)).astype(np.int32)
    at = spans.ends - after
    return spans.cut(spans.starts, at - np.int32(1)), spans.cut(at, spans.ends)
