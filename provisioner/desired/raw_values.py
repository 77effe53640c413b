"""Values of entries from files of raw bytes: `0: {from: svc7.bin, format: raw}`. Pure: the caller reads the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from provisioner.model.errors import Problems
from provisioner.model.spec import TableRef
from provisioner.model.tree import RAW, PackedColumn, RawChunk, ScalarNode

_FROM: Final = ("value", "from")
_FORMAT: Final = ("value", "format")


def fill(
    chunk: RawChunk, read_table: Callable[[TableRef], Iterable[RawChunk]], problems: Problems
) -> tuple[RawChunk, ...]:
    """`chunk` with the bytes of the files it names, as text with one character per byte at `RAW`.

    A chunk without such references is returned as it is. The result is empty if a file cannot be read, which is a
    problem.
    """
    if [path for path in chunk.columns if path[0] == "value"] != [_FROM, _FORMAT]:
        return (chunk,)
    formats = chunk.columns[_FORMAT].texts()
    if "raw" not in formats:
        return (chunk,)
    texts: list[str | None] = []
    for row, (name, kind) in enumerate(zip(chunk.columns[_FROM].texts(), formats, strict=True)):
        if kind != "raw":
            what, where = "the format of a value must be `raw`", chunk.where(row, _FORMAT)
            problems.add(what, where, "write `format: raw`", id="unknown-value")
            continue
        where = chunk.where(row, _FROM)
        for block in read_table(TableRef(ScalarNode(name, where), "raw", None, None, None, where)):
            texts.extend(block.columns[RAW].texts())
    if len(texts) != chunk.rows:
        return ()
    columns = {path: column for path, column in chunk.columns.items() if path[0] == "key"}
    marks = {path: mark for path, mark in chunk.marks.items() if path[0] == "key"}
    marks = {**marks, RAW: chunk.marks[_FROM]}
    return (replace(chunk, columns={**columns, RAW: PackedColumn(texts)}, marks=marks),)


def refuse_keyless(table: TableRef, chunks: Iterable[RawChunk], problems: Problems) -> Iterator[RawChunk]:
    """The chunks of a table. A raw file has no keys, so it is a problem here."""
    for chunk in chunks:
        if RAW not in chunk.columns:
            yield chunk
            continue
        hint = f"write it as the value of a key: `0: {{from: {table.file.text}, format: raw}}`"
        problems.add("a raw file has one value and no key", table.file.where, hint, id="raw-without-key")
