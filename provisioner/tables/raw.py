"""A file as a single value in the kernel's bytes, for values that are one large array."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems
from provisioner.model.spec import TableRef
from provisioner.model.tree import MARK_COLUMN_BITS, RAW, PackedColumn, RawChunk
from provisioner.tables.table_format import TableFormat
from provisioner.tables.wanted import WantedColumn


def read(file: InputFile, table: TableRef, _: tuple[WantedColumn, ...], __: Problems) -> Iterator[RawChunk]:
    """The bytes of the file as one value, at the place of the file's name in the spec. Raises OSError."""
    where = table.file.where
    mark = array("Q", [where.line << MARK_COLUMN_BITS | where.column])
    yield RawChunk(where.file, 1, {RAW: PackedColumn([file.read().decode("latin-1")])}, {RAW: mark})


FORMAT: Final = TableFormat("raw", (".bin",), read, is_text=False, has_columns=False)
