"""Texts in the buffer of a file, with the offsets at which each begins and ends.

A million texts are parsed without creating strings. The parsers here accept the usual forms only, and return None for
a column with any other form, which is then parsed text by text. Both ways must give the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Self, overload

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int32]

PAD: Final = bytes(32)
"""The first bytes of a buffer, so that a fixed number of bytes before the end of any text can be read."""

_ZERO: Final = ord("0")
_ZEROS: Final = np.uint64(0x3030303030303030)
_MAX_DIGITS: Final = 19
"""The number of decimal digits that always fit into 64 bits."""

_JOINS: Final = tuple(
    (np.uint64(power), np.uint64(bits), np.uint64(kept))
    for power, bits, kept in ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10_000, 32, 0xFFFFFFFF))
)
"""For each step: the factor, the distance in bits, and the mask of the joined digits."""

_NOTHING: Final = np.uint64(0)
_OWN_BYTES: Final = np.array([(1 << 64) - (1 << (64 - 8 * length)) for length in range(9)], np.uint64)
"""For each length of a text up to 8: a mask of its bytes in the word that ends with it."""

_OWN: Final = np.where(np.arange(len(PAD))[::-1] < np.arange(len(PAD) + 1)[:, None], np.uint8(0xFF), np.uint8(0))
"""The same for each length up to that of `PAD`, byte by byte."""

_POWERS: Final = np.array([10**power for power in range(_MAX_DIGITS + 1)], np.uint64)


class Spans(Sequence[str]):
    """Texts in UTF-8 without NUL: the bytes of `data` (`PAD` first) from `starts`, (n,), to `ends`, (n,)."""

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: bytes, starts: Positions, ends: Positions) -> None:
        self.data = data
        self.starts = starts
        self.ends = ends

    def texts(self) -> Self:
        """Itself: the texts of a column of a chunk."""
        return self

    def strings(self) -> list[str]:
        """All texts as strings."""
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
        """The last `count` bytes of each text, shape (n, count), filled with zeros in front. `PAD` is the most.

        Longer texts are shortened.
        """
        windows = np.lib.stride_tricks.sliding_window_view(self.bytes, count)
        last: NDArray[np.uint8] = windows[self.ends - count]
        last &= _OWN[:, -count:].take(self.lengths, axis=0, mode="clip")
        return last

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
    """The different texts, and for each text its index among them; None if one is longer than 8 bytes."""
    if not len(spans) or int(spans.lengths.max()) > 8:
        return None
    _, first, number = np.unique(_words(spans, 0), return_index=True, return_inverse=True)
    return spans.cut(spans.starts[first], spans.ends[first]).strings(), number.astype(np.int64).ravel()


def parse_decimal(spans: Spans) -> tuple[NDArray[np.uint64], NDArray[np.bool_]] | None:
    """Absolute value and sign (True: negative) of decimal integers, or None if any text has another form.

    The form is `0`, or up to 19 digits without a leading zero, or one of these after a `-`.
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
        digits = _eight_digits(_words(spans, part, _ZEROS))
        if digits is None:
            return None
        value += digits * _POWERS[8 * part]
    return value, negative


def _words(spans: Spans, part: int, fill: np.uint64 = _NOTHING) -> NDArray[np.uint64]:
    """The eight bytes that end 8 * `part` before the end of each text; those of `fill` before its begin.

    The first byte is the lowest.
    """
    # A word from each byte on: taken as one number, it costs less than half of a row of eight bytes.
    each: NDArray[np.uint64] = np.ndarray((len(spans.data) - 7,), "<u8", spans.data, strides=(1,))
    words = each[spans.ends - 8 * (part + 1)].astype(np.uint64, copy=False)
    own = _OWN_BYTES.take(spans.lengths - 8 * part, mode="clip")
    words &= own
    if fill:
        words |= fill & ~own
    return words


def _eight_digits(words: NDArray[np.uint64]) -> NDArray[np.uint64] | None:
    """The numbers of eight digits each, the first in the lowest byte; None if any byte is not a digit."""
    digits = words ^ _ZEROS
    # A byte above 9 has one of the high four bits set, before or after 6 is added.
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    if ((digits | (digits + np.uint64(0x0606060606060606))) & high).any():
        return None
    # Join digits to pairs, pairs to fours, fours to eight.
    for power, bits, kept in _JOINS:
        following = digits >> bits
        digits *= power
        digits += following
        digits &= kept
    return digits


def parse_ipv4(spans: Spans) -> NDArray[np.uint8] | None:
    """IPv4 addresses, shape (n, 4), or None if any text has another form, such as leading zeros."""
    count = len(spans)
    if not count or int(spans.lengths.min()) < 7 or int(spans.lengths.max()) > 15:
        return None
    # One byte more than the longest text: the end of the octet before the first.
    text = spans.last(16)
    dots = np.flatnonzero(text == ord("."))
    base = np.arange(0, count * 16, 16, dtype=np.int64)
    if len(dots) != 3 * count or (dots[::3] < base).any() or (dots[2::3] >= base + 16).any():
        return None
    ends = np.empty((4, count), np.int64)
    ends[:3] = dots.reshape(count, 3).T
    ends[3] = base + 16
    addresses = np.empty((count, 4), np.uint8)
    digits = text.ravel() - np.uint8(_ZERO)
    before = base + (15 - spans.lengths)
    for octet, end in enumerate(ends):
        length = end - before - 1
        if int(length.min()) < 1 or int(length.max()) > 3:
            return None
        ones = digits[end - 1]
        tens = digits[end - 2] * (length > 1)
        hundreds = digits[end - 3] * (length > 2)
        if max(int(ones.max()), int(tens.max()), int(hundreds.max())) > 9:
            return None
        value = ones + np.uint16(10) * tens + np.uint16(100) * hundreds
        # The value gives the number of digits, unless there are leading zeros.
        if int(value.max()) > 255 or (length != 1 + (value > 9) + (value > 99)).any():
            return None
        addresses[:, octet] = value
        before = end
    return addresses


def split_last(spans: Spans, separator: str, longest: int) -> tuple[Spans, Spans] | None:
    """The texts before and after the last `separator`, with at most `longest` (below 8) bytes after it.

    None if any text has no such separator.
    """
    if not len(spans):
        return None
    is_separator = spans.last(longest + 1) == ord(separator)
    if not is_separator.any(axis=1).all():
        return None
    after = (is_separator[:, ::-1].argmax(axis=1)).astype(np.int32)
    at = spans.ends - after
    return spans.cut(spans.starts, at - np.int32(1)), spans.cut(at, spans.ends)
