"""Rows of a table as chunks, whose places are worked out only when a message needs them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from provisioner.files.reading import InputFile
from provisioner.model.tree import MARK_COLUMN_BITS, Find, PackedColumn, RawChunk

if TYPE_CHECKING:
    from provisioner.model.types import Column, Path

CHUNK_ROWS: Final = 512
"""Rows of a chunk: its text stays in the cache while it is split, packed, and later typed."""

MAX_PROBLEMS: Final = 50
"""Problems told of one file: readers end when there are as many."""

MAX_DEPTH: Final = 64
"""Lists and objects inside each other."""

_LINE: Final = 1 << MARK_COLUMN_BITS
_INDEX_EVERY: Final = 512


def make_chunk(file: str, columns: dict[Path, Column], lines: Sequence[int], find: Find) -> RawChunk:
    """`columns` of text, one row for each of `lines`."""
    if isinstance(lines, range):
        marks = array("Q", range(lines.start * _LINE, lines.stop * _LINE, _LINE))
    else:
        marks = array("Q", [line * _LINE for line in lines])
    packed = {path: PackedColumn(texts) for path, texts in columns.items()}
    return RawChunk(file, len(lines), packed, dict.fromkeys(columns, marks), find)


class ChunkBuilder:
    """Gathers rows of one file that may differ in shape, one by one, into chunks of one shape each."""

    __slots__ = ("_file", "_find", "_open")

    def __init__(self, file: str, find: Find) -> None:
        self._file = file
        self._find = find
        self._open: dict[tuple[Path, ...], tuple[list[int], list[tuple[str | None, ...]]]] = {}

    def add(self, line: int, shape: tuple[Path, ...], texts: tuple[str | None, ...]) -> RawChunk | None:
        """Take a row; the chunk that it fills, if it does."""
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
    """A value that no text stands for; never leaves the tables."""


def steps(name: str, names: Collection[str]) -> tuple[str, ...]:
    """The members that `name` leads through: that one if there is it, else one for each part between dots."""
    return (name,) if name in names else tuple(name.split("."))


def flatten(value: Any, path: Path, as_text: Callable[[Any], str | None]) -> Iterator[tuple[Path, str | None]]:
    """Every scalar in `value`, as JSON has it, with its path.

    Raises UnreadableError for an empty list or object, and for nesting deeper than MAX_DEPTH.
    """
    if len(path) > MAX_DEPTH:
        raise UnreadableError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict | list) and not value:
        raise UnreadableError("an entry has an empty list or mapping in it")
    if isinstance(value, dict):
        for name, part in value.items():
            yield from flatten(part, (*path, name), as_text)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from flatten(part, (*path, index), as_text)
    else:
        yield path, as_text(value)


class Lines:
    """A text file whose lines are fetched again for messages; the first fetch notes where every 512th line begins."""

    __slots__ = ("_file", "_starts")

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._starts: array[int] | None = None

    def after(self, number: int) -> Iterator[str]:
        """Line `number`, counted from 1, and those that follow; none where the file is gone or shorter."""
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
