"""Whole numbers, and what is stored as one: `bool` and enums.

Text is decimal, or explicit `0x`, `0o`, `0b`. What YAML 1.1 or Python would read otherwise (`0755`, `1_000`, `1:30`,
`+5`, `1.0`) is refused with the reason, and a number that does not fit is never wrapped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from provisioner.codec.scalar import ScalarType
from provisioner.codec.spans import Spans, distinct, parse_decimal
from provisioner.model.errors import did_you_mean
from provisioner.model.types import ByteOrder, Bytes, InvalidTextError, Value, shown

_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)", re.ASCII)
_POWERS_OF_TEN = np.array([10**power for power in range(1, 20)], np.uint64)
_LONGEST = 100
"""Characters of a number that are looked at; no 64-bit number is longer, and `int` is quadratic in them."""

_EXPLAINED = (
    (re.compile(r"-?0[0-7]+", re.ASCII), "a leading zero is octal to some readers and decimal to others"),
    (re.compile(r"-?0[0-9]+", re.ASCII), "a leading zero is octal to some readers"),
    (re.compile(r"\+[0-9].*", re.ASCII), "a number takes no plus sign"),
    (re.compile(r"-?[0-9][0-9_]*_[0-9_]*", re.ASCII), "a number takes no underscores"),
    (re.compile(r"-?[0-9][0-9,]*,[0-9,]*", re.ASCII), "a number takes no commas"),
    (re.compile(r"-?[0-9]+(:[0-9]+)+", re.ASCII), "YAML 1.1 reads this as base 60"),
    (re.compile(r"-?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII), "this is a fraction"),
    (re.compile(r"-?[0-9]+[eE][-+]?[0-9]+", re.ASCII), "this is a floating-point number"),
    (re.compile(r"-?0[XOB][0-9a-fA-F]+", re.ASCII), "the prefix of a number is in lower case"),
)


def parse_number(text: str) -> int:
    """The number that `text` writes; raises RefusedError for all that is not strictly one."""
    if len(text) <= _LONGEST and _NUMBER.fullmatch(text):
        return int(text, 0)
    if text.removeprefix("-").isdecimal() and text.isascii() and len(text) > _LONGEST:
        raise InvalidTextError(f"{shown(text)} does not fit any integer type")
    for pattern, reason in _EXPLAINED:
        if len(text) <= _LONGEST and pattern.fullmatch(text):
            raise InvalidTextError(f"{shown(text)} is not taken as an integer: {reason}", _rewritten(text))
    if text and text.removeprefix("-").isnumeric():
        raise InvalidTextError(f"{shown(text)} has digits other than 0 to 9", "write the number in ASCII digits")
    raise InvalidTextError(f"{shown(text)} is not an integer", "write 755 or 0x2f3")


def _rewritten(text: str) -> str:
    """What a user may have meant by a number that is refused; empty where it can't be told."""
    if re.fullmatch(r"-?0[0-9]+", text):
        sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
        kept = digits.lstrip("0") or "0"
        octal = f" or {sign}0o{kept}" if not set(kept) & set("89") else ""
        return f"write {sign}{kept}{octal}"
    plain = text.lower().removeprefix("+").replace("_", "").replace(",", "")
    return f"write {plain}" if _NUMBER.fullmatch(plain) and plain != text else "write a whole number"


def parse_numbers(texts: Sequence[str]) -> NDArray[np.uint64] | NDArray[np.int64] | None:
    """All of `texts` as numbers if each is plain canonical decimal within 64 bits, else None.

    A whole column is checked by its digits: as many characters as the numbers need means that none had a leading zero.
    """
    joined = "".join(texts)
    if not joined.isascii() or not all(texts):
        return None
    listed = ",".join(texts)
    if joined.isdigit():
        values = np.fromstring(listed, np.uint64, sep=",")
        # A number beyond 64 bits is read as the largest one, so the largest one is looked at again.
        if len(values) != len(texts) or values.max() == np.iinfo(np.uint64).max:
            return None
        return values if _digits(values) == len(joined) else None
    negatives = joined.count("-")
    leading = listed.count(",-") + listed.startswith("-")
    alone = listed.count("-,") + listed.endswith("-")
    if not negatives or leading != negatives or alone or not joined.replace("-", "").isdigit():
        return None
    signed = np.fromstring(listed, np.int64, sep=",")
    limits = np.iinfo(np.int64)
    if len(signed) != len(texts) or signed.max() == limits.max or signed.min() == limits.min:
        return None
    characters = _digits(np.abs(signed).astype(np.uint64)) + int((signed < 0).sum())
    return signed if characters == len(joined) else None


def _digits(values: NDArray[np.uint64]) -> int:
    """Decimal digits of all values together."""
    return int(np.searchsorted(_POWERS_OF_TEN, values, side="right").sum()) + len(values)


class Integer(ScalarType, frozen=True):
    """An integer of 1, 2, 4 or 8 bytes. `bits` below 8 * size narrows what it takes: the value of a bit field.

    `name` is what messages call it: `u16`, `be16`.
    """

    name: str
    length: int
    signed: bool
    byteorder: ByteOrder
    bits: int

    @property
    def number_order(self) -> ByteOrder | None:
        return None if self.signed else self.byteorder

    @property
    def size(self) -> int:
        return self.length

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def _dtype(self) -> np.dtype[np.integer]:
        return np.dtype(f"{'<' if self.byteorder == 'little' else '>'}{'i' if self.signed else 'u'}{self.size}")

    def pack(self, number: int, text: str | None = None) -> bytes:
        """`number` in this type's bytes; raises RefusedError if it is out of range, naming it as `text`."""
        if not self.low <= number <= self.high:
            written = str(number) if text is None else text
            raise InvalidTextError(f"{written} does not fit {self.name} ({self.low} to {self.high})")
        return number.to_bytes(self.size, self.byteorder, signed=self.signed)

    def parse_one(self, text: str) -> bytes:
        return self.pack(parse_number(text), text)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        values = parse_numbers(texts)
        if values is None or int(values.min()) < self.low or int(values.max()) > self.high:
            return None
        return values.astype(self._dtype).view(np.uint8).reshape(len(values), self.size)

    def parse_spans(self, spans: Spans) -> Bytes | None:
        found = parse_decimal(spans)
        if found is None:
            return None
        size, negative = found
        below = size[negative]
        if int(size.max()) > self.high and int(size[~negative].max(initial=0)) > self.high:
            return None
        if int(below.max(initial=0)) > -self.low:
            return None
        if len(below):
            size[negative] = np.uint64(0) - below
        return size.astype(self._dtype).view(np.uint8).reshape(len(size), self.size)

    def numbers(self, rows: Bytes) -> list[int]:
        """The numbers in `rows`, shape (n, size)."""
        return np.ascontiguousarray(rows).view(self._dtype).reshape(len(rows)).tolist()

    def decode(self, rows: Bytes) -> list[Value]:
        return self.numbers(rows)

    def describe(self) -> str:
        return self.name


class Boolean(ScalarType, frozen=True):
    """`true` or `false`, in one byte. A live byte other than 0 and 1 is decoded as its number."""

    @property
    def size(self) -> int:
        return 1

    def parse_one(self, text: str) -> bytes:
        if text in ("true", "false"):
            return b"\1" if text == "true" else b"\0"
        meant = {"on": "true", "yes": "true", "y": "true", "1": "true", "true": "true"} | {
            "off": "false", "no": "false", "n": "false", "0": "false", "false": "false",
        }  # fmt: skip
        word = meant.get(text.lower())
        raise InvalidTextError(f"{shown(text)} is not a bool", f"write `{word}`" if word else "write `true` or `false`")

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        if not set(texts) <= {"true", "false"}:
            return None
        return np.array([text == "true" for text in texts], np.uint8).reshape(len(texts), 1)

    def parse_spans(self, spans: Spans) -> Bytes | None:
        return _parse_distinct(self, spans)

    def decode(self, rows: Bytes) -> list[Value]:
        return [bool(number) if number < 2 else number for number in rows[:, 0].tolist()]

    def describe(self) -> str:
        return "bool"


class Enum(ScalarType, frozen=True):
    """Names for numbers. Text is a name, or any number that fits `base`; decoded is the first name, else the number."""

    names: tuple[tuple[str, int], ...]
    base: Integer

    @property
    def size(self) -> int:
        return self.base.size

    def parse_one(self, text: str) -> bytes:
        number = dict(self.names).get(text)
        if number is not None:
            return self.base.pack(number)
        if text[:1].isdigit() or text[:1] in ("-", "+"):
            return self.base.parse_one(text)
        known = [name for name, _ in self.names]
        raise InvalidTextError(f"{shown(text)} is no name of this enum", did_you_mean(text, known))

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        numbers = dict(self.names)
        if not numbers.keys() >= set(texts):
            return None
        packed = {text: self.base.pack(numbers[text]) for text in set(texts)}
        data = b"".join(map(packed.__getitem__, texts))
        return np.frombuffer(data, np.uint8).reshape(len(texts), self.size)

    def parse_spans(self, spans: Spans) -> Bytes | None:
        return _parse_distinct(self, spans)

    def decode(self, rows: Bytes) -> list[Value]:
        words = {number: name for name, number in reversed(self.names)}
        return [words.get(number, number) for number in self.base.numbers(rows)]

    def describe(self) -> str:
        listed = ", ".join(f"{name}: {number}" for name, number in self.names[:6])
        more = ", ..." if len(self.names) > 6 else ""
        return f"enum {{{listed}{more}}}"


def _parse_distinct(kind: ScalarType, spans: Spans) -> Bytes | None:
    """Words, of which there are few: each is read once."""
    found = distinct(spans)
    if found is None:
        return None
    texts, number = found
    rows = kind.parse_all(texts)
    return None if rows is None else rows.take(number, axis=0)
