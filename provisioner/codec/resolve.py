"""Numbers that have a name on the host: interfaces and cgroups. The caller passes the lookup of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from provisioner.codec.integer import Integer
from provisioner.codec.scalar import ScalarType
from provisioner.model.types import Abridged, Bytes, InvalidTextError, Value, shown

Lookup = Callable[[str], int | None]
"""The number of a name, or None if the host does not have it."""


class AtApply:
    """A lookup without a host: each name gets a placeholder, a number that no host uses, which is shown as the name.

    Interface numbers are positive 32-bit integers, and cgroup ids are far below 2^63: placeholders count down from
    `last`, the largest number of the type.
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
        """The name that a placeholder is for; other numbers as they are."""
        name = self._names.get(number) if isinstance(number, int) else None
        return number if name is None else Abridged(f"{name} (known at apply)")


def at_apply() -> dict[str, Lookup]:
    """Lookups for a spec that is read for any host."""
    return {"ifindex": AtApply(2**32 - 1), "cgroup_id": AtApply(2**64 - 1)}


MAX_INTERFACE_NAME: Final = 15
"""IFNAMSIZ less the NUL (include/uapi/linux/if.h; dev_valid_name in net/core/dev.c)."""

_NO_INTERFACE: Final = re.compile(r"[\s/:]|\A\.\.?\Z")

_NUMBER_LIKE = re.compile(r"[-+]?[0-9]+", re.ASCII)


class HostNumber(ScalarType, frozen=True):
    """`ifindex` or `cgroup_id`: a name that `lookup` knows, or the number itself. Decoded to the number.

    `noun` is the word for it in messages. A text of digits is always the number.
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
        is_name = len(text.encode(errors="replace")) <= MAX_INTERFACE_NAME and not _NO_INTERFACE.search(text)
        if self.name == "ifindex" and not is_name:
            what = f"{shown(text)} is not the name of an interface"
            raise InvalidTextError(what, f"a name has up to {MAX_INTERFACE_NAME} bytes without spaces, `/` or `:`")
        if self.lookup is None:
            hint = f"write the number of the {self.noun}"
            raise InvalidTextError(f"{shown(text)} can only be looked up on the host", hint, id="unknown-value")
        number = self.lookup(text)
        if number is None:
            what = f"{self.noun} {shown(text)} does not exist on this host"
            raise InvalidTextError(what, "create it first, or write its number", id="unknown-value")
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
