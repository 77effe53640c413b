"""Integers with a unit: durations (`10ms`) and sizes (`64KiB`), stored as a count of the unit of the type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from provisioner.codec.integer import Integer, parse_number
from provisioner.codec.scalar import ScalarType
from provisioner.codec.spans import Spans
from provisioner.model.types import Bytes, InvalidTextError, Value, shown

DURATIONS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
SIZES: Final = {"B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate(("K", "M", "G", "T"), start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}
UNITS: Final = (*DURATIONS, *SIZES)

_ALIASES: Final = {
    word: unit
    for unit, words in {
        "us": "usec usecs microsecond microseconds \u00b5s \u03bcs",
        "ms": "msec msecs millisecond milliseconds",
        "s": "sec secs second seconds",
        "min": "m mins minute minutes",
        "h": "hr hrs hour hours",
        "d": "day days",
        "B": "b byte bytes",
        "KiB": "ki kib",
        "MiB": "mi mib",
        "GiB": "gi gib",
        "TiB": "ti tib",
    }.items()
    for word in words.split()
}
"""Other words for these units, in lower case. `k` and `kb` are not among them: they can mean 1000 or 1024."""

_TEXT = re.compile(r"(-?[0-9][0-9.:_]*) ?([A-Za-z]+)", re.ASCII)


class Quantity(ScalarType, frozen=True):
    """A count of `unit` in `base`. Text is a number with any unit of the same kind, or a count of `unit` without one.

    A text that is not a whole number of `unit` is invalid. Decoded to the largest unit that is exact.
    """

    base: Integer
    unit: str

    @property
    def _scale(self) -> dict[str, int]:
        return DURATIONS if self.unit in DURATIONS else SIZES

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def align(self) -> int:
        return self.base.align

    def parse_one(self, text: str) -> bytes:
        match = _TEXT.fullmatch(text)
        if match is None or text.startswith(("0x", "0o", "0b")):
            return self.base.pack(self._bare(text), f"{text}{self.unit}")
        digits, unit = match.groups()
        factor = self._scale.get(unit)
        if factor is None:
            raise InvalidTextError(
                f"`{unit}` in {shown(text)} is not a unit of {self._kind}", self._meant(digits, unit)
            )
        if "." in digits:
            raise InvalidTextError(f"{shown(text)} is not a whole number", "write a whole number of a smaller unit")
        count, rest = divmod(parse_number(digits) * factor, self._scale[self.unit])
        if rest:
            what = f"{shown(text)} is not a whole number of {self.unit}, the unit of the type"
            raise InvalidTextError(what)
        return self.base.pack(count, text)

    def _bare(self, text: str) -> int:
        try:
            return parse_number(text)
        except InvalidTextError as error:
            hint = f"write a whole number with a unit, such as 10{self.unit}"
            raise InvalidTextError(error.what, hint, id=error.id) from None

    def _meant(self, digits: str, unit: str) -> str:
        """The hint for an unknown unit: an alias is replaced, as the nearest known word can have another meaning."""
        alias = _ALIASES.get(unit.lower() if len(unit) > 1 else unit, "")
        if alias in self._scale:
            return f"write {digits}{alias}"
        return "known: " + ", ".join(self._scale)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        return self.base.parse_all(texts)

    def parse_spans(self, spans: Spans) -> Bytes | None:
        return self.base.parse_spans(spans)

    @property
    def _kind(self) -> str:
        return "time" if self.unit in DURATIONS else "size"

    def decode(self, rows: Bytes) -> list[Value]:
        own = self._scale[self.unit]
        larger = sorted(((factor, unit) for unit, factor in self._scale.items() if factor >= own), reverse=True)
        # Powers of 1000 are not offered for sizes: 1000KiB would come back as 1024KB.
        usual = [(factor, unit) for factor, unit in larger if unit in DURATIONS or "i" in unit or unit == self.unit]
        return [self._written(number, own, usual) for number in self.base.numbers(rows)]

    def _written(self, number: int, own: int, usual: list[tuple[int, str]]) -> str:
        for factor, unit in usual:
            if number and number * own % factor == 0:
                return f"{number * own // factor}{unit}"
        return f"{number}{self.unit}"

    def describe(self) -> str:
        return f"{self.base.name} in {self.unit}"
