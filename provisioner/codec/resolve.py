"""Numbers that have a name on the host: interfaces and cgroups. The caller hands in how names are looked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from provisioner.codec.integer import Integer
from provisioner.codec.scalar import ScalarType
from provisioner.model.types import Abridged, Bytes, InvalidTextError, Value, shown

Lookup = Callable[[str], int | None]
"""The number of a name, or None if this host has no such thing."""


class AtApply:
    """A lookup where no host can be asked: each name stands for a number that no host gives, and is shown as a name.

    Numbers of interfaces are positive in 32 bits, and those of cgroups far below 2^63: stand-ins count down from
    `last`, the largest that the type holds.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def __call__(self, name: str) -> int:
        number = self._numbers.setdefault(name, self._last - len(self._numbers))
        self._names[number] = name
        return number

    def show(self, number: Value) -> Value:
        """What is shown for a number: the name that it stands for, if it does."""
        name = self._names.get(number) if isinstance(number, int) else None
        return number if name is None else Abridged(f"{name} (known at apply)")


def at_apply() -> dict[str, Lookup]:
    """Lookups for a spec that is read for no host in particular."""
    return {"ifindex": AtApply(2**32 - 1), "cgroup_id": AtApply(2**64 - 1)}


_NUMBER_LIKE = re.compile(r"[-+]?[0-9]+", re.ASCII)


class HostNumber(ScalarType, frozen=True):
    """`ifindex` or `cgroup_id`: a name that `lookup` knows, or the number itself; decoded is the number.

    `noun` is what a name stands for, in messages. Digits alone are always the number.
    """

    name: str
    noun: str
    base: Integer
    lookup: Lookup | None

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def align(self) -> int:
        return self.base.align

    def parse_one(self, text: str) -> bytes:
        if not text or text.startswith("0x") or _NUMBER_LIKE.fullmatch(text):
            return self.base.parse_one(text)
        if self.lookup is None:
            raise InvalidTextError(f"{shown(text)} can only be resolved on the host", f"write the {self.noun}'s number")
        number = self.lookup(text)
        if number is None:
            raise InvalidTextError(
                f"this host has no {self.noun} {shown(text)}", "create it first, or write its number"
            )
        return self.base.pack(number, text)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        numbers = self.base.parse_all(texts)
        if numbers is not None or self.lookup is None:
            return numbers
        try:
            known = {text: self.parse_one(text) for text in dict.fromkeys(texts)}
        except InvalidTextError:
            return None
        data = b"".join(map(known.__getitem__, texts))
        return np.frombuffer(data, np.uint8).reshape(len(texts), self.size)

    def decode(self, rows: Bytes) -> list[Value]:
        numbers = self.base.decode(rows)
        return list(map(self.lookup.show, numbers)) if isinstance(self.lookup, AtApply) else numbers

    def describe(self) -> str:
        return self.name
