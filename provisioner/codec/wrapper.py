"""A type that is another one with something added: what a subclass does not say is that of `inner`."""

from __future__ import annotations

from provisioner.model.types import Bytes, Type, Value


class Wrapper(Type, frozen=True):
    """`inner`, in the same bytes."""

    inner: Type

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def align(self) -> int:
        return self.inner.align

    @property
    def sensitive(self) -> bool:
        return self.inner.sensitive

    def decode(self, rows: Bytes) -> list[Value]:
        return self.inner.decode(rows)

    def mask(self) -> Bytes:
        return self.inner.mask()

    def describe(self) -> str:
        return self.inner.describe()
