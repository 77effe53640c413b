"""A document as a tree of located nodes, without types.

A scalar keeps its text; the field decides its meaning. Long lists of entries are not
trees of nodes but columns of text (`RawEntries`), the same that tables give.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from provisioner.model.location import Location

if TYPE_CHECKING:  # at run time this would load NumPy and all codecs
    from provisioner.model.types import Path


class ScalarNode(msgspec.Struct, frozen=True):
    """`text` with quotes and escapes resolved; None for an empty plain scalar.

    `has_variable` says that a variable gave a part of the text. Then the field alone decides its type, because YAML
    requires quotes around `${...}` in many places.
    """

    text: str | None
    where: Location
    quoted: bool = False
    has_variable: bool = False


class SequenceNode(msgspec.Struct, frozen=True):
    """Items in the order of the input."""

    items: tuple[SpecNode, ...]
    where: Location


class MappingNode(msgspec.Struct, frozen=True):
    """Pairs in the order of the input, without duplicate keys."""

    pairs: tuple[tuple[SpecNode, SpecNode], ...]
    where: Location

    def get(self, name: str) -> SpecNode | None:
        """The value under the scalar key `name`."""
        for key, value in self.pairs:
            if isinstance(key, ScalarNode) and key.text == name:
                return value
        return None

    @property
    def is_table(self) -> bool:
        """Whether this is a table reference: its first key is `from` without quotes."""
        if not self.pairs:
            return False
        first = self.pairs[0][0]
        return isinstance(first, ScalarNode) and first.text == "from" and not first.quoted

    def without(self, name: str) -> MappingNode:
        """This mapping without the pair under `name`."""
        pairs = tuple(pair for pair in self.pairs if not (isinstance(pair[0], ScalarNode) and pair[0].text == name))
        return MappingNode(pairs, self.where)

    def named(self) -> Iterator[tuple[str, ScalarNode, SpecNode]]:
        """(name, key, value) of each pair whose key is a scalar."""
        for key, value in self.pairs:
            if isinstance(key, ScalarNode):
                yield key.text or "", key, value


class TextColumn(Protocol):
    """The text of one scalar in many rows."""

    def texts(self) -> Sequence[str | None]: ...


class PackedColumn:
    """The text of one scalar in many rows, in a single string, which takes a tenth of the memory of a list."""

    __slots__ = ("_plain", "_texts")

    def __init__(self, texts: Sequence[str | None]) -> None:
        self._texts: str | None = None
        self._plain: tuple[str | None, ...] | None = None
        if None not in texts:
            joined = "\0".join(texts)  # type: ignore[arg-type]  # None was ruled out
            if joined.count("\0") == len(texts) - 1:
                self._texts = joined
                return
        self._plain = tuple(texts)

    def texts(self) -> Sequence[str | None]:
        if self._texts is not None:
            return self._texts.split("\0")
        assert self._plain is not None
        return self._plain

    def holds(self, part: str) -> bool:
        """Whether `part` is in any text."""
        if self._texts is not None:
            return part in self._texts
        return any(part in text for text in self.texts() if text)


MARK_COLUMN_BITS = 32

RAW: Final = ("value", -1)
"""The path of a value in the kernel's bytes, one character per byte; a spec cannot contain it."""


Find = Callable[[int, "Path"], Location]
"""(line, path) -> the place of the scalar at the path in the row that begins in this line."""


class RawChunk(msgspec.Struct, frozen=True):
    """Entries of one form: a column of text per scalar path, each with `rows` rows.

    Paths begin with "key" or "value", or "outer" in a table that fills many inner maps.
    `marks` packs the place of each scalar as line << 32 | column. In a table it holds the line alone, and `find` looks
    for the column in the file, which is slow. `variables` has those of rows that have any, with sources.
    """

    file: str
    rows: int
    columns: Mapping[Path, TextColumn]
    marks: Mapping[Path, array[int]]
    find: Find | None = None
    variables: Mapping[int, str] = {}

    def where(self, row: int, path: Path) -> Location:
        """The place of the scalar at `path` in `row`, or of the first scalar of the row if it does not exist."""
        if self.find is not None:
            return self.find(self.lines()[row], path)
        marks = self.marks.get(path)
        if marks is None:
            marks = next(iter(self.marks.values()))
        mark = marks[row]
        return Location(self.file, mark >> MARK_COLUMN_BITS, mark & ((1 << MARK_COLUMN_BITS) - 1))

    def lines(self) -> array[int]:
        """The line of each row."""
        marks = next(iter(self.marks.values()))
        return array("I", [mark >> MARK_COLUMN_BITS for mark in marks])


class RawEntries(msgspec.Struct, frozen=True):
    """A list or mapping of entries as text. Each chunk has one shape; the order of chunks has no meaning."""

    chunks: tuple[RawChunk, ...]
    where: Location

    def __len__(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)


SpecNode = ScalarNode | SequenceNode | MappingNode | RawEntries


def flatten(node: SpecNode, path: Path = ()) -> Iterator[tuple[Path, ScalarNode]]:
    """Every scalar below `node` with its path, in the order of the input."""
    match node:
        case ScalarNode():
            yield path, node
        case SequenceNode(items):
            for index, item in enumerate(items):
                yield from flatten(item, (*path, index))
        case MappingNode():
            for name, _, value in node.named():
                yield from flatten(value, (*path, name))
        case RawEntries():
            raise TypeError("entries are columns already")
