"""A type whose values appear in no output and no error message."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.model.special_fields import Special
from provisioner.model.types import HIDDEN, Bytes, Column, Fault, Path, Type, Value


class Sensitive(Type, frozen=True):
    """`inner`, whose values no message shows. A fault has the place and the type, never the text."""

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
        # What is written in the place of a member's name may be a secret too, so no part of the text is repeated.
        what = f"the value is not a valid {self.describe()}"
        return [Fault(fault.row, fault.path, what, id=fault.id) for fault in self.inner.encode(columns, out)]

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
