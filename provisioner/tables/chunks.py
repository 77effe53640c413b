"""Rows of a table as chunks. Places are computed only for messages."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from provisioner.files.reading import InputFile
from provisioner.model.tree import MARK_COLUMN_BITS, Find, PackedColumn, RawChunk

if TYPE_CHECKING:
    from provisioner.model.types import Column, Path

CHUNK_ROWS: Final = 512
"""Rows of a chunk: its text stays in the cache while it is split, packed and encoded."""

MAX_PROBLEMS: Final = 50
"""The most problems of one file, after which it is not read further."""

MAX_DEPTH: Final = 64
"""The limit on nested lists and objects."""

_LINE: Final = 1 << MARK_COLUMN_BITS
_INDEX_EVERY: Final = 512


def make_chunk(file: str, columns: dict[Path, Column], lines: Sequence[int], find: Find) -> RawChunk:
    """A chunk of `columns` of text with one row for each of `lines`."""
    if isinstance(lines, range):
        marks = array("Q", range(lines.start * _LINE, lines.stop * _LINE, _LINE))
    else:
        marks = array("Q", [line * _LINE for line in lines])
    packed = {path: PackedColumn(texts) for path, texts in columns.items()}
    return RawChunk(file, len(lines), packed, dict.fromkeys(columns, marks), find)


class ChunkBuilder:
    """Collects rows of one file, which can differ in shape, in chunks of one shape each."""

    __slots__ = ("_file", "_find", "_open")

    def __init__(self, file: str, find: Find) -> None:
        self._file = file
        self._find = find
        self._open: dict[tuple[Path, ...], tuple[list[int], list[tuple[str | None, ...]]]] = {}

    def add(self, line: int, shape: tuple[Path, ...], texts: tuple[str | None, ...]) -> RawChunk | None:
        """Add a row; returns the chunk that it completes, or None."""
        lines, rows = self._open.setdefault(shape, ([], []))
        lines.append(line)
        rows.append(texts)
        return self._pack(shape) if len(rows) >= CHUNK_ROWS else None

    def finish(self) -> Iterator[RawChunk]:
        while self._open:
            yield self._pack(next(iter(self._open)))

    def _pack(self, shape: tuple[Path, ...]) -> RawChunk:
        lines, rows = self._open.pop(shape)
        return make_chunk(self._file, dict(zip(shape, zip(*rows, strict=True), strict=True)), lines, self._find)


class UnreadableError(Exception):
    """A value that has no text. It does not leave the tables, where it becomes a Problem."""

    def __init__(self, what: str, hint: str, id: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.id = id


def steps(name: str, names: Collection[str]) -> tuple[str, ...]:
    """The path of a column: `name` itself if it exists, otherwise the parts between its dots."""
    return (name,) if name in names else tuple(name.split("."))


def flatten(value: Any, path: Path, as_text: Callable[[Any], str | None]) -> Iterator[tuple[Path, str | None]]:
    """Every scalar of `value`, a JSON value, with its path.

    Raises UnreadableError for an empty list or object, and for nesting deeper than MAX_DEPTH.
    """
    if len(path) > MAX_DEPTH:
        raise UnreadableError(f"the value is nested deeper than {MAX_DEPTH} levels", "", "limit-exceeded")
    if isinstance(value, dict | list) and not value:
        raise UnreadableError("the entry contains an empty list or mapping", "write its values", "empty-value")
    if isinstance(value, dict):
        for name, part in value.items():
            yield from flatten(part, (*path, name), as_text)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from flatten(part, (*path, index), as_text)
    else:
        yield path, as_text(value)


class Lines:
    """Reads lines of a text file again for messages. The first call records the offset of every 512th line."""

    __slots__ = ("_file", "_starts")

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._starts: array[int] | None = None

    def after(self, number: int) -> Iterator[str]:
        """Line `number`, from 1, and the lines after it; none if the file does not exist any more or is shorter."""
        try:
            with self._file.open() as stream:
                if self._starts is None:
                    self._starts = array("Q", _starts(stream))
                at, skip = divmod(number - 1, _INDEX_EVERY)
                if at >= len(self._starts):
                    return
                stream.seek(self._starts[at])
                for count, line in enumerate(stream):
                    if count >= skip:
                        yield line.decode("utf-8-sig" if number == 1 and count == 0 else "utf-8", "replace")
        except OSError:
            return


def _starts(stream: Iterator[bytes]) -> Iterator[int]:
    yield 0
    at = 0
    for number, line in enumerate(stream, start=1):
        at += len(line)
        if number % _INDEX_EVERY == 0:
            yield at
