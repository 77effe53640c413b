"""Integers with a unit: durations (`10ms`) and sizes (`64KiB`), held as a count of the type's own unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from provisioner.codec.integer import Integer, parse_number
from provisioner.codec.scalar import ScalarType
from provisioner.codec.spans import Spans
from provisioner.model.errors import did_you_mean
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

_TEXT = re.compile(r"(-?[0-9][0-9.:_]*) ?([A-Za-z]+)", re.ASCII)


class Quantity(ScalarType, frozen=True):
    """A count of `unit` in `base`. Text is a number with any unit of the same kind, or a bare count of `unit`.

    What is no whole number of `unit` is refused. Decoded is the text in the largest unit that is exact.
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
            known = did_you_mean(unit, self._scale, "known: " + ", ".join(self._scale))
            raise InvalidTextError(f"`{unit}` in {shown(text)} is no unit of {self._kind}", known)
        if "." in digits:
            raise InvalidTextError(f"{shown(text)} is a fraction", "write a whole number of a smaller unit")
        count, rest = divmod(parse_number(digits) * factor, self._scale[self.unit])
        if rest:
            raise InvalidTextError(
                f"{shown(text)} is no whole number of {self.unit}", f"the type counts in {self.unit}"
            )
        return self.base.pack(count, text)

    def _bare(self, text: str) -> int:
        try:
            return parse_number(text)
        except InvalidTextError as refused:
            raise InvalidTextError(refused.what, f"write a whole number with a unit, as 10{self.unit}") from None

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
