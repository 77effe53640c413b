"""A type whose values appear in no output and no error message."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.codec.wrapper import Wrapper
from provisioner.model.special_fields import Special
from provisioner.model.types import HIDDEN, Bytes, Column, Fault, Path, Value


class Sensitive(Wrapper, frozen=True):
    """`inner`, whose values no message shows. A fault has the place and the type, never the text."""

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

    def conceal(self, value: Value) -> Value:  # noqa: ARG002 (all of it is hidden)
        return HIDDEN

    def normalise(self, rows: Bytes) -> Bytes:
        return self.inner.normalise(rows)

    def describe(self) -> str:
        return f"sensitive {self.inner.describe()}"
