"""A type whose values stay out of all output, error messages included."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.model.special_fields import Special
from provisioner.model.types import HIDDEN, Bytes, Column, Fault, Path, Type, Value


class Sensitive(Type, frozen=True):
    """`inner`, told in no message. Faults name the place and the type, never the text."""

    inner: Type

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def align(self) -> int:
        return self.inner.align

    @property
    def sensitive(self) -> bool:
        return True

    @property
    def specials(self) -> tuple[Special, ...]:
        return self.inner.specials

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        # Faults of the shape (row -1) name members, not values.
        return [
            fault if fault.row < 0 else Fault(fault.row, fault.path, f"the value is no valid {self.describe()}")
            for fault in self.inner.encode(columns, out)
        ]

    def decode(self, rows: Bytes) -> list[Value]:
        return self.inner.decode(rows)

    def mask(self) -> Bytes:
        return self.inner.mask()

    def conceal(self, value: Value) -> Value:  # noqa: ARG002 (all of it is hidden)
        return HIDDEN

    def normalise(self, rows: Bytes) -> Bytes:
        return self.inner.normalise(rows)

    def describe(self) -> str:
        return f"sensitive {self.inner.describe()}"
