"""Entries from parse events: columns of text with their places, without a node per entry.

Entries of one form have the same sequence of event classes. The sequence of one entry becomes a `Pattern`. The next
events are compared with the repeated pattern, and split into columns by strides, in C loops. Entries that do not match
(aliases, anchors, tags, other members) are left to the composer, one at a time.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Final

from yaml.events import MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from provisioner.document.events import WINDOW, Event, Events
from provisioner.model.tree import MARK_COLUMN_BITS, PackedColumn, RawChunk, ScalarNode

if TYPE_CHECKING:
    from provisioner.model.types import Path

    Shape = tuple[Path, ...]

CHUNK_ROWS: Final = 512
_MAX_WIDTH: Final = 256
"""The most events of an entry for a pattern."""


class OpenChunk:
    """Growing columns of one shape; lines and columns count from 1."""

    __slots__ = ("columns", "lines", "rows", "texts")

    def __init__(self, shape: Shape) -> None:
        self.rows = 0
        self.texts: tuple[list[str | None], ...] = tuple([] for _ in shape)
        self.lines: tuple[list[int], ...] = tuple([] for _ in shape)
        self.columns: tuple[list[int], ...] = tuple([] for _ in shape)


class Collector:
    """Collects rows in one open chunk per shape, which is packed when it is full."""

    __slots__ = ("_done", "_file", "_open")

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: dict[Shape, OpenChunk] = {}
        self._done: list[RawChunk] = []

    def add(self, row: Sequence[tuple[Path, ScalarNode]]) -> None:
        """One entry, scalar by scalar."""
        chunk = self.room(tuple(path for path, _ in row), 1)
        for (_, scalar), texts, lines, columns in zip(row, chunk.texts, chunk.lines, chunk.columns, strict=True):
            texts.append(scalar.text)
            lines.append(scalar.where.line)
            columns.append(scalar.where.column)

    def room(self, shape: Shape, rows: int) -> OpenChunk:
        """The open chunk of `shape`. Its count includes the `rows` that the caller appends."""
        chunk = self._open.get(shape)
        if chunk is None or chunk.rows + rows > CHUNK_ROWS:
            if chunk is not None:
                self._pack(shape, chunk)
            chunk = self._open[shape] = OpenChunk(shape)
        chunk.rows += rows
        return chunk

    def finish(self) -> tuple[RawChunk, ...]:
        for shape, chunk in self._open.items():
            self._pack(shape, chunk)
        self._open.clear()
        return tuple(self._done)

    def _pack(self, shape: Shape, chunk: OpenChunk) -> None:
        columns = {path: PackedColumn(texts) for path, texts in zip(shape, chunk.texts, strict=True)}
        marks = {path: _packed(*place) for path, *place in zip(shape, chunk.lines, chunk.columns, strict=True)}
        self._done.append(RawChunk(self._file, chunk.rows, columns, marks))


def _packed(lines: list[int], columns: list[int]) -> array[int]:
    """`line << 32 | column` of each place, from two interleaved halves, which is faster than arithmetic."""
    halves = array("I", bytes(8 * len(lines)))
    assert MARK_COLUMN_BITS == 32
    assert halves.itemsize == 4
    high = 1 if sys.byteorder == "little" else 0
    halves[high::2] = array("I", lines)
    halves[1 - high :: 2] = array("I", columns)
    return array("Q", halves.tobytes())


class Pattern:
    """The sequence of events of one entry. `learn` reads it from the next events; `run` takes matching entries."""

    __slots__ = ("_at_once", "_classes", "_names", "_opens", "_scalars", "_shape", "_width")

    def __init__(self, classes: list[type], names: list[tuple[int, str]], scalars: list[tuple[int, Path]]) -> None:
        self._width = len(classes)
        self._classes = classes * max(WINDOW // self._width, 1)
        self._names = names
        self._scalars = [offset for offset, _ in scalars]
        self._shape = tuple(path for _, path in scalars)
        self._opens = [at for at, kind in enumerate(classes) if kind in (MappingStartEvent, SequenceStartEvent)]
        self._at_once = 2

    @classmethod
    def learn(cls, events: Events, listed: bool) -> Pattern | None:
        """The pattern of the next entry; None if it is too long, or has an anchor, an alias, a tag or an error."""
        if len(events.window) - events.at < _MAX_WIDTH:
            events.fill()
        reader = _PatternReader(events.window[events.at : events.at + _MAX_WIDTH])
        fits = reader.node((), 0) if listed else reader.node(("key",), 0) and reader.node(("value",), 0)
        if not fits or (listed and {path[0] for _, path in reader.scalars if path} != {"key", "value"}):
            return None
        return cls(reader.classes, reader.names, reader.scalars)

    def run(self, events: Events, into: Collector) -> int:
        """Take the next entries that match, up to a number that follows from earlier runs; returns the number."""
        width = self._width
        wanted = self._at_once * width
        if len(events.window) - events.at < wanted:
            events.fill()
        part = events.window[events.at : events.at + wanted]
        rows = self._fitting(part, events.marked)
        self._expect(rows)
        if rows == 0:
            return 0
        del part[rows * width :]
        chunk = into.room(self._shape, rows)
        for offset, texts, lines, columns in zip(self._scalars, chunk.texts, chunk.lines, chunk.columns, strict=True):
            column = part[offset::width]
            values: list[str | None] = [event.value for event in column]
            if "" in values:
                values = [event.value or ("" if event.style else None) for event in column]
            texts.extend(values)
            places = [event.start_mark for event in column]
            lines.extend([mark.line + 1 for mark in places])
            columns.extend([mark.column + 1 for mark in places])
        events.at += rows * width
        return rows

    def _expect(self, rows: int) -> None:
        """Look further ahead after a full run, and less far after a short one, for entries of varying form."""
        if rows == self._at_once:
            self._at_once = min(2 * rows, max(WINDOW // self._width, 1))
        elif 4 * rows < self._at_once:
            self._at_once //= 2

    def _fitting(self, part: list[Event], marked: bool) -> int:
        """The number of entries at the begin of `part` that match the pattern."""
        width = self._width
        end = len(part) // width * width
        kinds = list(map(type, part))
        if kinds[:end] != self._classes[:end]:
            end = list(map(is_, kinds, self._classes)).index(False) // width * width
        for offset, name in self._names:
            names = [event.value for event in part[offset:end:width]]
            if names.count(name) != len(names):
                end = width * next(row for row, text in enumerate(names) if text != name)
        if marked:
            for offset in (*self._scalars, *self._opens, *(offset for offset, _ in self._names)):
                marks = [event.anchor or event.tag for event in part[offset:end:width]]
                if any(marks):
                    end = width * next(row for row, mark in enumerate(marks) if mark)
        if self._shape[0] == ("key",):
            keys = [event.value for event in part[self._scalars[0] : end : width]]
            if "<<" in keys:
                end = width * keys.index("<<")
        return end // width


class _PatternReader:
    """Reads the events of one entry: their classes, the names of members, and the positions of scalars."""

    def __init__(self, ahead: list[Event]) -> None:
        self._ahead = iter(ahead)
        self.classes: list[type] = []
        self.names: list[tuple[int, str]] = []
        self.scalars: list[tuple[int, Path]] = []

    def _next(self) -> Event | None:
        event = next(self._ahead, None)
        self.classes.append(type(event))
        return event

    def node(self, path: Path, depth: int) -> bool:
        """Whether the next node can be part of a pattern."""
        return self._rest(self._next(), path, depth)

    def _rest(self, event: Event | None, path: Path, depth: int) -> bool:
        kind = type(event)
        if kind not in (ScalarEvent, MappingStartEvent, SequenceStartEvent) or depth > 8:
            return False
        assert event is not None
        if event.anchor is not None or event.tag is not None:
            return False
        if kind is ScalarEvent:
            self.scalars.append((len(self.classes) - 1, path))
            return True
        return self._members(path, depth) if kind is MappingStartEvent else self._items(path, depth)

    def _members(self, path: Path, depth: int) -> bool:
        seen: set[str] = set()
        while type(key := self._next()) is ScalarEvent:
            assert key is not None
            name = key.value
            if key.anchor is not None or key.tag is not None or name in ("", "<<") or name in seen:
                return False
            seen.add(name)
            self.names.append((len(self.classes) - 1, name))
            if not self.node((*path, name), depth + 1):
                return False
        return type(key) is MappingEndEvent and bool(seen)

    def _items(self, path: Path, depth: int) -> bool:
        index = 0
        while type(item := self._next()) is not SequenceEndEvent:
            if not self._rest(item, (*path, index), depth + 1):
                return False
            index += 1
        return index > 0
