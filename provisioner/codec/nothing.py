"""The type of a key or value that a map type does not have: the key of a queue, the value of a ring buffer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from provisioner.model.types import Bytes, Column, Fault, Path, Type, Value


class Nothing(Type, frozen=True):
    """No bytes and no values: only the shape of such a map is managed."""

    @property
    def size(self) -> int:
        return 0

    @property
    def align(self) -> int:
        return 1

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        if not columns or not len(out):
            return []
        return [Fault(-1, (), "maps of this type have no entries", "remove the entries", "unsupported-by-map-type")]

    def decode(self, rows: Bytes) -> list[Value]:
        return [None] * len(rows)

    def mask(self) -> Bytes:
        return np.zeros(0, np.uint8)

    def describe(self) -> str:
        return "nothing"
