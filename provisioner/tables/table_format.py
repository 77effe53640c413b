"""The interface of a table format."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems
from provisioner.model.spec import TableRef
from provisioner.model.tree import RawChunk
from provisioner.tables.wanted import WantedColumn

ReadTable = Callable[[InputFile, TableRef, tuple[WantedColumn, ...], Problems], Iterable[RawChunk]]


class TableFormat(msgspec.Struct, frozen=True):
    """A format: `name` is that of the field `format`, `suffixes` are those of files without the field.

    `is_text` says that a file has lines; `has_columns` that it is a table, not a single value; `has_delimiter` that the
    spec can name the character between the fields.
    """

    name: str
    suffixes: tuple[str, ...]
    read: ReadTable
    is_text: bool
    has_columns: bool = True
    has_delimiter: bool = False
