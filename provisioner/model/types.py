"""What a codec is: a type that turns columns of text into bytes, and bytes back into what a user would write.

A value's scalars stand at paths: `()` for a scalar, `("port",)` for a struct's member, `("v", 3)` deeper. Entries that
are written alike have the same set of paths, so a group of them is one column of text per path. Encoding works on
whole columns; an error names the row, and the column by its path.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.host import ByteOrder as ByteOrder
from provisioner.model.special_fields import Special
from provisioner.model.words import HIDDEN as HIDDEN
from provisioner.model.words import Hidden as Hidden

Bytes = NDArray[np.uint8]
"""Rows of bytes: shape (n, size)."""

Path = tuple[str | int, ...]
Column = Sequence[str | None]
"""The text of one scalar in each row; None where nothing was written (a plain empty scalar)."""

Value = Any
"""A decoded value as JSON has it: int, str, bool, or a list or dict of them; None for what is the kernel's own."""


class Abridged(str):
    """What stands for a value that is too long to print, its length and digest; a string, so that JSON takes it."""

    __slots__ = ()


class Fault(msgspec.Struct, frozen=True):
    """An error in one scalar: `row` and `path` say which; row -1 stands for all rows. `id` is that of the `Problem`."""

    row: int
    path: Path
    what: str
    hint: str = ""
    id: str = "invalid-value"


class InvalidTextError(Exception):
    """One text that a scalar type can't hold; never leaves the codec, where it becomes a `Fault`."""

    def __init__(self, what: str, hint: str = "", *, id: str = "invalid-value") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.id = id


class _AbstractStruct(msgspec.StructMeta, ABCMeta):
    """The metaclass of structs that leave methods to their heirs."""


class Type(msgspec.Struct, frozen=True, metaclass=_AbstractStruct):
    """A type with a fixed layout in the kernel's bytes. Values of it are equal where their masked bytes are."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of one value."""

    @property
    @abstractmethod
    def align(self) -> int:
        """Bytes that a C compiler would align it to."""

    @property
    def sensitive(self) -> bool:
        """Whether any part of a value must stay out of output: `conceal` it first."""
        return False

    @property
    def number_order(self) -> ByteOrder | None:
        """The byte order of a type that is one unsigned integer, whose keys have ranges and the order of numbers."""
        return None

    @property
    def specials(self) -> tuple[Special, ...]:
        """The fields that belong to the kernel, by offset; their bytes are in no value, and written as zero."""
        return ()

    @abstractmethod
    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        """Write one value per row into `out`, shape (n, size), given zeroed; what can't be held exactly is a Fault.

        Rows with a fault are left in any state.
        """

    @abstractmethod
    def decode(self, rows: Bytes) -> list[Value]:
        """The values of `rows`, shape (n, size): `encode` of their text gives the same bytes, padding apart."""

    @abstractmethod
    def mask(self) -> Bytes:
        """Shape (size,): 0xff where a byte carries value, 0 where it is padding; bits for bit fields."""

    @abstractmethod
    def describe(self) -> str:
        """The type as a user would write it, in one line."""

    def conceal(self, value: Value) -> Value:
        """`value`, as `decode` gave it, with `HIDDEN` for every sensitive part."""
        return value

    def normalise(self, rows: Bytes) -> Bytes:
        """Live keys, shape (n, size), with the host bits of LPM keys made zero, in a copy; other types' as they are."""
        return rows

    def encode_raw(self, data: bytes) -> Bytes | Fault:
        """`data`, one value in the kernel's own bytes, as shape (size,) with its padding made zero."""
        if len(data) != self.size:
            return Fault(-1, (), f"{len(data)} bytes do not make a {self.describe()}, which takes {self.size}")
        return np.frombuffer(data, np.uint8) & self.mask()

    def example(self) -> Value:
        """The value whose bytes are all zero: what a hint can offer."""
        return self.decode(np.zeros((1, self.size), np.uint8))[0]


def shown(text: str) -> str:
    """A user's text inside a message: cut, with control characters escaped."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "`" + "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut) + "`"


def leaves(value: Value, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every scalar of a decoded value with its path, as text."""
    match value:
        case dict():
            for name, part in value.items():
                yield from leaves(part, (*path, name))
        case list():
            for number, part in enumerate(value):
                yield from leaves(part, (*path, number))
        case bool():
            yield path, str(value).lower()
        case _:
            yield path, str(value)
