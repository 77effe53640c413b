"""The type of what is not there: the key of a queue, the value of a ring buffer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from provisioner.model.types import Bytes, Column, Fault, Path, Type, Value


class Nothing(Type, frozen=True):
    """No bytes, and so no values: maps with it are managed by their shape alone."""

    @property
    def size(self) -> int:
        return 0

    @property
    def align(self) -> int:
        return 1

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        return (
            [Fault(-1, (), "maps of this type have no such thing", "leave the entries out")]
            if columns and len(out)
            else []
        )

    def decode(self, rows: Bytes) -> list[Value]:
        return [None] * len(rows)

    def mask(self) -> Bytes:
        return np.zeros(0, np.uint8)

    def describe(self) -> str:
        return "nothing"
