"""Values that entries take from files of raw bytes: `0: {from: svc7.bin, format: raw}`. Pure: others read the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from provisioner.model.errors import Problems
from provisioner.model.spec import TableRef
from provisioner.model.tree import RAW, PackedColumn, RawChunk, ScalarNode

_FROM: Final = ("value", "from")
_FORMAT: Final = ("value", "format")


def fill(
    chunk: RawChunk, read_table: Callable[[TableRef], Iterable[RawChunk]], problems: Problems
) -> tuple[RawChunk, ...]:
    """`chunk` with the bytes in the place of the references to them, as text of one character per byte at `RAW`.

    A chunk of anything else is given back as it is. Where a file can't be read, which is told, no chunk is left.
    """
    if [path for path in chunk.columns if path[0] == "value"] != [_FROM, _FORMAT]:
        return (chunk,)
    formats = chunk.columns[_FORMAT].texts()
    if "raw" not in formats:
        return (chunk,)
    texts: list[str | None] = []
    for row, (name, kind) in enumerate(zip(chunk.columns[_FROM].texts(), formats, strict=True)):
        if kind != "raw":
            problems.add("the format of a value must be `raw`", chunk.where(row, _FORMAT), "write `format: raw`")
            continue
        where = chunk.where(row, _FROM)
        for found in read_table(TableRef(ScalarNode(name, where), "raw", None, None, None, where)):
            texts.extend(found.columns[RAW].texts())
    if len(texts) != chunk.rows:
        return ()
    columns = {path: column for path, column in chunk.columns.items() if path[0] == "key"}
    marks = {path: mark for path, mark in chunk.marks.items() if path[0] == "key"}
    return (
        RawChunk(chunk.file, chunk.rows, {**columns, RAW: PackedColumn(texts)}, {**marks, RAW: chunk.marks[_FROM]}),
    )


def refuse_keyless(table: TableRef, chunks: Iterable[RawChunk], problems: Problems) -> Iterator[RawChunk]:
    """The chunks of a table; a raw file has no keys, so it can't be one."""
    for chunk in chunks:
        if RAW not in chunk.columns:
            yield chunk
            continue
        hint = f"name it under its key, as in `0: {{from: {table.file.text}, format: raw}}`"
        problems.add("a raw file holds one value and no key", table.file.where, hint)
