"""One value out of a file, in the kernel's own bytes: for what is one huge array."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from provisioner.files.reading import InputFile
from provisioner.model.spec import TableRef
from provisioner.model.tree import MARK_COLUMN_BITS, RAW, PackedColumn, RawChunk


def read(table: TableRef, file: InputFile) -> Iterator[RawChunk]:
    """The file's bytes as one value, whose place is that of the file's name in the spec. Raises OSError."""
    where = table.file.where
    mark = array("Q", [where.line << MARK_COLUMN_BITS | where.column])
    yield RawChunk(where.file, 1, {RAW: PackedColumn([file.read().decode("latin-1")])}, {RAW: mark})
