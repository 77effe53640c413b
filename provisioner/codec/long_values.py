"""Types whose values over `LONG` bytes people can read: raw bytes and large arrays are decoded to digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from provisioner.codec.array import Array
from provisioner.codec.layout import Struct, Union
from provisioner.codec.lpm import LpmStruct
from provisioner.codec.members import Absent
from provisioner.codec.owned import Owned
from provisioner.codec.percpu import PerCpu
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.text import Char
from provisioner.codec.wrapper import Wrapper
from provisioner.model.types import HIDDEN, Abridged, Bytes, Column, Fault, Path, Type, Value

LONG: Final = 256
"""The most bytes of a value that are printed as they are."""

MANY: Final = 64
"""The most elements of an array of a long value that are printed."""


class Digest(Wrapper, frozen=True):
    """`inner`, of which only length and digest are printed."""

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        return self.inner.encode(columns, out)

    def decode(self, rows: Bytes) -> list[Value]:
        # A digest would confirm a guess of what is sensitive.
        if self.sensitive:
            return [Abridged(f"{self.size:,} bytes, partly {HIDDEN}")] * len(rows)
        return [Abridged(f"{self.size:,} bytes, sha256 {digest(self.inner, row)}") for row in rows]


def digest(type_: Type, row: Bytes) -> str:
    """The first 12 hex digits of the SHA-256 of a value with padding set to zero."""
    return hashlib.sha256((row & type_.mask()).tobytes()).hexdigest()[:12]


def readable(type_: Type) -> Type:
    """`type_` itself, or for more than `LONG` bytes one that decodes raw bytes and large arrays to their digests."""
    if type_.size <= LONG:
        return type_
    match type_:
        case Struct() | Union():
            return replace(type_, fields=tuple(replace(field, type=readable(field.type)) for field in type_.fields))
        case Array() if type_.count <= MANY:
            return replace(type_, element=readable(type_.element))
        case PerCpu():
            return replace(type_, element=readable(type_.element))
        case Owned():
            return replace(type_, inner=readable(type_.inner), ours=readable(type_.ours))
        case Absent():
            return type_
        case LpmStruct():
            return replace(type_, data=readable(type_.data))
        case Char() | Sensitive():
            return type_
        case _:
            return Digest(type_)
