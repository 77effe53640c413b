"""Integers, and types that are stored as one: `bool` and enums.

Text is decimal, or has the prefix `0x`, `0o` or `0b`. A text that YAML 1.1 or Python reads in another way (`0755`,
`1_000`, `1:30`, `+5`, `1.0`) is invalid, with the reason. A number that does not fit is never wrapped.
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
"""The most characters of a number: 64-bit numbers have fewer, and `int` is quadratic in the length."""

_EXPLAINED = (
    (re.compile(r"-?0[0-7]+", re.ASCII), "some readers take a leading zero as octal, others as decimal"),
    (re.compile(r"-?0[0-9]+", re.ASCII), "some readers take a leading zero as octal"),
    (re.compile(r"\+[0-9].*", re.ASCII), "a plus sign is not supported"),
    (re.compile(r"-?[0-9][0-9_]*_[0-9_]*", re.ASCII), "underscores are not supported"),
    (re.compile(r"-?[0-9][0-9,]*,[0-9,]*", re.ASCII), "commas are not supported"),
    (re.compile(r"-?[0-9]+(:[0-9]+)+", re.ASCII), "YAML 1.1 reads it in base 60"),
    (re.compile(r"-?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII), "it is a decimal fraction"),
    (re.compile(r"-?[0-9]+[eE][-+]?[0-9]+", re.ASCII), "it is a floating-point number"),
    (re.compile(r"-?0[XOB][0-9a-fA-F]+", re.ASCII), "the prefix of a number must be in lower case"),
)


def parse_number(text: str) -> int:
    """The number that `text` writes. Raises InvalidTextError for every other text."""
    if len(text) <= _LONGEST and _NUMBER.fullmatch(text):
        return int(text, 0)
    if text.removeprefix("-").isdecimal() and text.isascii() and len(text) > _LONGEST:
        raise InvalidTextError(f"{shown(text)} does not fit any integer type", id="out-of-range")
    for pattern, reason in _EXPLAINED:
        if len(text) <= _LONGEST and pattern.fullmatch(text):
            what = f"{shown(text)} is not accepted as an integer: {reason}"
            raise InvalidTextError(what, _rewritten(text), id="invalid-number")
    if text and text.removeprefix("-").isnumeric():
        what = f"{shown(text)} has digits other than 0 to 9"
        raise InvalidTextError(what, "write the number in ASCII digits", id="invalid-number")
    hint = "" if text else "write a number"
    if re.fullmatch(r"[0-9]+ ?- ?[0-9]+", text, re.ASCII):
        hint = "a range is written `first..last`, and only as the key of an inner map or in `owned_keys`"
    elif re.fullmatch(r"(?=.*[0-9])[0-9a-fA-F]+", text, re.ASCII):
        hint = f"write 0x{text} if it is hexadecimal"
    raise InvalidTextError(f"{shown(text)} is not an integer", hint, id="invalid-number")


def _rewritten(text: str) -> str:
    """A hint with the number that a user can have meant; without a number where several are possible."""
    if re.fullmatch(r"-?0[0-9]+", text):
        sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
        kept = digits.lstrip("0") or "0"
        octal = f" or {sign}0o{kept}" if not set(kept) & set("89") else ""
        return f"write {sign}{kept}{octal}"
    if "," in text:  # 5,0 is a fraction where a comma is the decimal mark, and 1,000 can be one
        is_grouped = re.fullmatch(r"-?[0-9]{1,3}(,[0-9]{3})+", text)
        return f"write {text.replace(',', '')} if commas separate thousands" if is_grouped else "write a whole number"
    plain = text.lower().removeprefix("+").replace("_", "")
    return f"write {plain}" if _NUMBER.fullmatch(plain) and plain != text else "write a whole number"


def parse_numbers(texts: Sequence[str]) -> NDArray[np.uint64] | NDArray[np.int64] | None:
    """All of `texts` as numbers if each is canonical decimal within 64 bits, else None.

    A whole column is checked by its digits: if it has as many characters as the numbers need, no leading zero is in it.
    """
    joined = "".join(texts)
    if not joined.isascii() or not all(texts):
        return None
    listed = ",".join(texts)
    if joined.isdigit():
        values = np.fromstring(listed, np.uint64, sep=",")
        # NumPy reads a number beyond 64 bits as the largest one, so the largest one is not accepted here.
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
    """The number of decimal digits of all values together."""
    return int(np.searchsorted(_POWERS_OF_TEN, values, side="right").sum()) + len(values)


class Integer(ScalarType, frozen=True):
    """An integer of 1, 2, 4 or 8 bytes. `bits` below 8 * size limits the range, for bit fields.

    `name` is the name in messages: `u16`, `be16`.
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
            what = f"{written} does not fit {self.name} ({self.low} to {self.high})"
            raise InvalidTextError(what, id="out-of-range")
        return number.to_bytes(self.size, self.byteorder, signed=self.signed)

    def parse_one(self, text: str) -> bytes:
        return self.pack(parse_number(text), text)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        values = parse_numbers(texts)
        if values is None or int(values.min()) < self.low or int(values.max()) > self.high:
            return None
        return values.astype(self._dtype).view(np.uint8).reshape(len(values), self.size)

    def parse_spans(self, spans: Spans) -> Bytes | None:
        parsed = parse_decimal(spans)
        if parsed is None:
            return None
        size, negative = parsed
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
    """`true` or `false`, in one byte. A live byte other than 0 and 1 is decoded to its number."""

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
    """Names for numbers. Text is a name or a number that has one; decoded to the first name, else the number.

    An enum that is `open` takes every number of `base`: enums of C often hold sets of flags.
    """

    names: tuple[tuple[str, int], ...]
    base: Integer
    open: bool = False

    @property
    def size(self) -> int:
        return self.base.size

    def parse_one(self, text: str) -> bytes:
        number = dict(self.names).get(text)
        if number is not None:
            return self.base.pack(number)
        if text[:1].isdigit() or text[:1] in ("-", "+"):
            packed = self.base.parse_one(text)
            if self.open or parse_number(text) in dict(self.names).values():
                return packed
            what, hint = f"no name of the enum has the number {text}", f"known: {self._listed()}"
            raise InvalidTextError(what, hint, id="unknown-value")
        known = [name for name, _ in self.names]
        hint = did_you_mean(text, known, f"known: {self._listed()}")
        raise InvalidTextError(f"{shown(text)} is not a name of the enum", hint, id="unknown-value")

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
        return f"enum {{{self._listed()}}}"

    def _listed(self) -> str:
        more = ", ..." if len(self.names) > 6 else ""
        return ", ".join(f"{name}: {number}" for name, number in self.names[:6]) + more


def _parse_distinct(kind: ScalarType, spans: Spans) -> Bytes | None:
    """Encode words, of which few are different: each is parsed once."""
    different = distinct(spans)
    if different is None:
        return None
    texts, number = different
    rows = kind.parse_all(texts)
    return None if rows is None else rows.take(number, axis=0)
