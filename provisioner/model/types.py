"""The interface of a codec type: it encodes columns of text to bytes, and decodes bytes to what a user writes.

Each scalar of a value has a path: `()` for a scalar, `("port",)` for the member of a struct, `("v", 3)` deeper. Entries
of one form have the same paths, so a group of them is one column of text per path. Encoding works on whole columns; an
error has the row, and the path of the column.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.abstract import AbstractStruct
from provisioner.model.host import ByteOrder as ByteOrder
from provisioner.model.special_fields import Special
from provisioner.model.words import HIDDEN as HIDDEN
from provisioner.model.words import Hidden as Hidden

Bytes = NDArray[np.uint8]
"""Rows of bytes: shape (n, size)."""

Path = tuple[str | int, ...]
Column = Sequence[str | None]
"""The text of one scalar in each row; None where nothing is written (a plain empty scalar)."""

Value = Any
"""A decoded value as in JSON: int, str, bool, or a list or dict of them; None for a field of the kernel."""


class Abridged(str):
    """The length and digest of a value that is too long to print; a string, so that JSON takes it."""

    __slots__ = ()


class Fault(msgspec.Struct, frozen=True):
    """An error in the scalar at `row` and `path`; row -1 means all rows. `id` is that of the `Problem`."""

    row: int
    path: Path
    what: str
    hint: str = ""
    id: str = "invalid-value"


class InvalidTextError(Exception):
    """A text that a scalar type cannot hold. It does not leave the codec, where it becomes a `Fault`."""

    def __init__(self, what: str, hint: str = "", *, id: str = "invalid-value") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.id = id


class Type(msgspec.Struct, frozen=True, metaclass=AbstractStruct):
    """A type with a fixed layout in the kernel's bytes. Values of it are equal where their masked bytes are."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of one value."""

    @property
    @abstractmethod
    def align(self) -> int:
        """The alignment that a C compiler gives it, in bytes."""

    @property
    def sensitive(self) -> bool:
        """Whether any part of a value must not appear in output: `conceal` it first."""
        return False

    @property
    def number_order(self) -> ByteOrder | None:
        """The byte order of an unsigned integer, whose keys are sorted as numbers and can be ranges; else None."""
        return None

    @property
    def specials(self) -> tuple[Special, ...]:
        """The fields of the kernel, by offset. No value contains their bytes, which are written as zero."""
        return ()

    @abstractmethod
    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        """Write one value per row into `out`, shape (n, size), all zero. A text that does not fit exactly is a Fault.

        The content of a row with a fault is undefined.
        """

    @abstractmethod
    def decode(self, rows: Bytes) -> list[Value]:
        """The values of `rows`, shape (n, size). `encode` of their text gives the same bytes, except for padding."""

    @abstractmethod
    def mask(self) -> Bytes:
        """Shape (size,): 0xff where a byte is part of the value, 0 where it is padding; single bits for bit fields."""

    @property
    def owned(self) -> Type:
        """The type of what is ours of a value: a struct without the members that other writers own; else the type."""
        return self

    @property
    def owns_part(self) -> bool:
        """Whether other writers own some members of a value."""
        return False

    def as_new(self, rows: Bytes) -> Bytes:
        """`rows`, shape (n, size), as new entries have them: the members of other writers have what the spec sets."""
        return rows

    @abstractmethod
    def describe(self) -> str:
        """The type as a user writes it, in one line."""

    def conceal(self, value: Value) -> Value:
        """`value`, as `decode` returns it, with `HIDDEN` for every sensitive part."""
        return value

    def normalise(self, rows: Bytes) -> Bytes:
        """Live keys, shape (n, size). Of LPM keys, a copy in which all host bits are zero."""
        return rows

    def encode_raw(self, data: bytes) -> Bytes | Fault:
        """`data`, one value in the kernel's bytes, as shape (size,) with its padding set to zero."""
        if len(data) != self.size:
            what = f"the file has {len(data):,} bytes, and a {self.describe()} has {self.size:,}"
            return Fault(-1, (), what, id="wrong-length")
        return np.frombuffer(data, np.uint8) & self.mask()

    def example(self) -> Value:
        """The value whose bytes are all zero, for hints."""
        return self.decode(np.zeros((1, self.size), np.uint8))[0]


def shown(text: str) -> str:
    """A user's text in a message: shortened, with control characters escaped."""
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
