"""Numbers that have a name on the host: interfaces and cgroups. The caller hands in how names are looked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from provisioner.codec.base import Bytes, RefusedError, Scalar, Value, shown
from provisioner.codec.integer import Integer

Lookup = Callable[[str], int | None]
"""The number of a name, or None if this host has no such thing."""

_NUMBER_LIKE = re.compile(r"[-+]?[0-9]+", re.ASCII)


class Resolved(Scalar, frozen=True):
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
            raise RefusedError(f"{shown(text)} can only be resolved on the host", f"write the {self.noun}'s number")
        number = self.lookup(text)
        if number is None:
            raise RefusedError(f"this host has no {self.noun} {shown(text)}", "create it first, or write its number")
        return self.base.pack(number, text)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        numbers = self.base.parse_all(texts)
        if numbers is not None or self.lookup is None:
            return numbers
        try:
            known = {text: self.parse_one(text) for text in set(texts)}
        except RefusedError:
            return None
        data = b"".join(map(known.__getitem__, texts))
        return np.frombuffer(data, np.uint8).reshape(len(texts), self.size)

    def decode(self, rows: Bytes) -> list[Value]:
        return self.base.decode(rows)

    def describe(self) -> str:
        return self.name
