"""Types that only members of C structs have: bit fields, and fields of the kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

import numpy as np

from provisioner.codec.scalar import ScalarType
from provisioner.model.special_fields import STRUCTS, Special
from provisioner.model.types import ByteOrder, Bytes, Column, Fault, Path, Type, Value

_NULLS: Final = (None, "0", "null", "NULL", "~", "")
"""What a spec can write for a pointer."""


class Bits(Type, frozen=True):
    """A bit field: the low `width` bits of `base`, from bit `shift` of its first byte on.

    Bits count from the lowest on little-endian machines and from the highest on big-endian machines, as in BTF.
    `base` refuses numbers that need more than `width` bits.
    """

    base: ScalarType
    width: int
    shift: int
    signed: bool
    byteorder: ByteOrder

    @property
    def size(self) -> int:
        return (self.shift + self.width + 7) // 8

    @property
    def align(self) -> int:
        return 1

    @property
    def _place(self) -> slice:
        return slice(self.shift, self.shift + self.width)

    @property
    def _low(self) -> slice:
        """The low bits of `base` among all of its bits."""
        return slice(0, self.width) if self.byteorder == "little" else slice(-self.width, None)

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        whole = np.zeros((len(out), self.base.size), np.uint8)
        faults = self.base.encode(columns, whole)
        bits = np.zeros((len(out), 8 * self.size), np.uint8)
        bits[:, self._place] = np.unpackbits(whole, axis=1, bitorder=self.byteorder)[:, self._low]
        # Other bit fields in the same byte are written before or after, so the bits are merged with `|`.
        out |= np.packbits(bits, axis=1, bitorder=self.byteorder)
        return faults

    def decode(self, rows: Bytes) -> list[Value]:
        bits = np.unpackbits(rows, axis=1, bitorder=self.byteorder)[:, self._place]
        whole = np.zeros((len(rows), 8 * self.base.size), np.uint8)
        if self.signed:
            highest = self.width - 1 if self.byteorder == "little" else 0
            whole[:] = bits[:, highest : highest + 1]
        whole[:, self._low] = bits
        return self.base.decode(np.packbits(whole, axis=1, bitorder=self.byteorder))

    def mask(self) -> Bytes:
        bits = np.zeros(8 * self.size, np.uint8)
        bits[self._place] = 1
        return np.packbits(bits, bitorder=self.byteorder)

    def describe(self) -> str:
        return self.base.describe()


class Absent(Type, frozen=True):
    """Bytes of a struct that are always zero, and part of no value. `kind` is their type in C."""

    kind: str
    length: int
    alignment: int

    @property
    def size(self) -> int:
        return self.length

    @property
    def align(self) -> int:
        return self.alignment

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        out[:] = 0
        return [self.refused("")] if columns else []

    def decode(self, rows: Bytes) -> list[Value]:
        return [None] * len(rows)

    def mask(self) -> Bytes:
        return np.zeros(self.size, np.uint8)

    @abstractmethod
    def refused(self, name: str) -> Fault:
        """The fault of a value that has the member `name` of this type, or is of this type if that is empty."""

    def accepts(self, texts: Column) -> bool:  # noqa: ARG002 (only some members can be written at all)
        """Whether a value can have the member with these texts, which say that its bytes are zero."""
        return False


class Opaque(Absent, frozen=True):
    """Bytes of the kernel. `kind` is that of `Special`."""

    @property
    def specials(self) -> tuple[Special, ...]:
        return (Special(0, self.kind),)

    def refused(self, name: str) -> Fault:
        what = f"member `{name}` is" if name else f"a {self.kind} is"
        return Fault(-1, (name,) if name else (), f"{what} managed by the kernel", "remove it", "kernel-field")

    def describe(self) -> str:
        return f"struct {self.kind}" if self.kind in STRUCTS else self.kind


class Pointer(Absent, frozen=True):
    """A pointer, or an array of them: only the program that reads it can set it to anything but null."""

    def refused(self, name: str) -> Fault:
        what = f"member `{name}` is" if name else "it is"
        hint = "remove it, or write null" if name else "programs set it"
        return Fault(-1, (name,) if name else (), f"{what} a pointer, which is always null", hint, "wrong-type")

    def accepts(self, texts: Column) -> bool:
        return all(text in _NULLS for text in texts)

    def describe(self) -> str:
        return self.kind


class NotOurs(Absent, frozen=True):
    """A member that is not in `owned_members`: other writers write it."""

    def refused(self, name: str) -> Fault:
        what = f"member `{name}` is" if name else "it is"
        hint = "remove it; `set` has its value in new entries"
        return Fault(-1, (name,) if name else (), f"{what} not in `owned_members`", hint, "member-not-owned")

    def describe(self) -> str:
        return self.kind
