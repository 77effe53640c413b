"""YAML parse events with look-ahead; the only place that touches PyYAML.

Only PyYAML's parser runs: its resolver and constructors, which guess types and build objects, are never reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Protocol, cast

import yaml

from provisioner.model.errors import Problem
from provisioner.model.location import Location

try:
    from yaml import cyaml
except ImportError:  # PyYAML built without libyaml
    _c_parser: Any = None
else:
    _c_parser = cyaml.CParser  # type: ignore[attr-defined]  # the stubs do not export it

Event = Any
"""A `yaml.events.Event`: PyYAML's stubs leave the attributes of most of them untyped."""

WINDOW: Final = 1024
"""Events read ahead: enough that whole runs of entries are compared by C loops, few enough to stay in cache."""


class ByteStream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Watched:
    """A stream that notes whether an anchor or a tag may be in what was read: without `&` and `!` there is none."""

    __slots__ = ("_stream", "marked")

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.marked = False

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if b"&" in data or b"!" in data:
            self.marked = True
        return data


class _PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's parser in Python, for a PyYAML without libyaml: the same events, some ten times slower."""

    def __init__(self, stream: ByteStream) -> None:
        yaml.reader.Reader.__init__(self, cast(Any, stream))
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


class Events:
    """The parse events of one file; `window[at:]` are those read ahead.

    `take` and `peek` raise yaml.YAMLError at the event that could not be read, after all those before it.
    """

    __slots__ = ("_failure", "_source", "_stream", "at", "window")

    def __init__(self, stream: ByteStream, *, in_python: bool = False) -> None:
        self.window: list[Event] = []
        self.at = 0
        self._failure: yaml.YAMLError | None = None
        self._source: Iterator[Event] = iter(())
        self._stream = _Watched(stream)
        try:
            python = in_python or _c_parser is None
            parser: Any = _PythonParser(self._stream) if python else _c_parser(cast(Any, self._stream))
            self._source = iter(parser.get_event, None)
        except yaml.YAMLError as error:
            self._failure = error

    @property
    def marked(self) -> bool:
        """Whether any event so far may have an anchor or a tag."""
        return self._stream.marked

    def fill(self) -> None:
        """Drop the events taken, and read ahead as far as there is anything."""
        del self.window[: self.at]
        self.at = 0
        if self._failure is None:
            try:
                self.window.extend(islice(self._source, WINDOW - len(self.window)))
            except yaml.YAMLError as error:
                self._failure = error

    def peek(self) -> Event:
        if self.at >= len(self.window):
            self.fill()
            if not self.window:
                raise self._failure or EOFError
        return self.window[self.at]

    def take(self) -> Event:
        event = self.peek()
        self.at += 1
        return event


_IN_WORDS: Final = (
    ("mapping values are not allowed", "a `:` is out of place: check the indentation, or quote a text that holds `: `"),
    ("expected ',' or", "a `,` or the closing bracket is missing"),
    ("found unexpected end of stream", "a quote is opened here and never closed"),
    ("expected '-' indicator", "a list and a mapping are mixed at this indentation"),
    ("did not find expected key", "the indentation does not fit the lines above"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("could not find expected ':'", "a key without its `:`, or a text that runs over several lines and needs quotes"),
    ("unknown escape", "inside double quotes a backslash starts an escape: write `\\\\`, or use single quotes"),
    ("undefined tag", "remove the tag: the type of the field decides what a value is"),
    ("expected <document start>", "only one document fits in a file, and it must be a mapping"),
    ("found incompatible YAML", "remove the %YAML line, or write %YAML 1.1"),
    ("directive", "remove the line that begins with %"),
)
"""(what libyaml or PyYAML says, the next step in plain words)."""


def syntax_problem(error: yaml.YAMLError, file: str, raw: bytes) -> Problem:
    """What the parser refused, at its place; `raw` is the file, as its readers tell of bytes and not of lines."""
    if isinstance(error, yaml.reader.ReaderError):
        if "special characters" in error.reason or "control characters" in error.reason:
            what = f"the character U+{int(error.character):04X} can't stand in YAML"
            return Problem(what, _place(file, raw, error), "remove it, or escape it in double quotes")
        return Problem("the file is not UTF-8 text", _place(file, raw, error), "save it as UTF-8")
    mark = getattr(error, "problem_mark", None)
    said = str(getattr(error, "problem", None) or error)
    hint = next((hint for words, hint in _IN_WORDS if words in said), "")
    if "cannot start any token" in said:
        hint = "a tab can't indent, and a text that begins with `@`, `%` or a backquote needs quotes"
    opened = getattr(error, "context_mark", None)
    if "end of stream" in said and opened is not None:
        mark = opened
    where = Location(file, mark.line + 1, mark.column + 1) if mark is not None else Location(file)
    return Problem(f"this is not YAML: {said}", where, hint)


def _place(file: str, raw: bytes, error: yaml.reader.ReaderError) -> Location:
    """Libyaml counts bytes, PyYAML's own reader characters once it has decoded them."""
    position = error.position
    try:
        text = raw.decode("utf-8")
        before = text[:position] if error.encoding == "unicode" else raw[:position].decode("utf-8", "ignore")
    except UnicodeDecodeError as found:
        before = raw[: found.start].decode("utf-8")
    return Location(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
