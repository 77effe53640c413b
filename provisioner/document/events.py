"""YAML parse events with look-ahead; the only place that uses PyYAML.

Only the parser of PyYAML runs. Its resolver and constructors, which guess types and build objects, are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, Final, Protocol, cast

import yaml

from provisioner.model.errors import Problem
from provisioner.model.location import Location
from provisioner.model.words import odd_characters

try:
    from yaml import cyaml
except ImportError:  # PyYAML built without libyaml
    _c_parser: Any = None
else:
    _c_parser = cyaml.CParser  # type: ignore[attr-defined]  # the stubs do not export it

Event = Any
"""A `yaml.events.Event`: PyYAML's stubs leave the attributes of most of them untyped."""

WINDOW: Final = 1024
"""Events that are read ahead: enough to compare runs of entries in C loops, few enough to stay in the cache."""


class ByteStream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Watched:
    """A stream that records whether its data can contain an anchor or a tag: `&` or `!` is in it."""

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
    """The parser of PyYAML in Python, for a PyYAML without libyaml: the same events, ten times slower."""

    def __init__(self, stream: ByteStream) -> None:
        yaml.reader.Reader.__init__(self, cast(Any, stream))
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


class Events:
    """The parse events of one file; `window[at:]` are those that are read ahead.

    `take` and `peek` raise yaml.YAMLError at the event that cannot be read, after all events before it.
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
        """Whether any event until now can have an anchor or a tag."""
        return self._stream.marked

    def fill(self) -> None:
        """Remove the events that were taken, and read ahead."""
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


_HINTS: Final = (
    ("mapping values are not allowed", "check the indentation, or quote text that contains `: `"),
    ("expected ',' or", "write the missing `,` or bracket; inside brackets, quote text that contains `[ ] { } ,`"),
    ("found unexpected end of stream", "close the quote that is opened here"),
    ("expected '-' indicator", "a list and a mapping are mixed at this indentation"),
    ("did not find expected key", "use the indentation of the lines above"),
    ("expected <block end>", "use the indentation of the lines above"),
    ("could not find expected ':'", "write `:` after the key, or quote text that spans several lines"),
    ("unknown escape", "a backslash in double quotes begins an escape: write `\\\\`, or use single quotes"),
    ("expected alphabetic or numeric character", "quote text that begins with `*` or `&`"),
    ("node content", "quote text that begins with `:`, `,`, `]` or `}`"),
    ("undefined tag", "remove the tag: the field's type decides what a value is"),
    ("expected <document start>", "a file must have a single document, which is a mapping"),
    ("found incompatible YAML", "remove the %YAML line, or write %YAML 1.1"),
    ("directive", "remove the line that begins with %"),
)
"""(a part of the message of libyaml or PyYAML, the next step)."""

_LONGEST_KEY: Final = 1024
"""Characters of a key before its `:` (a simple key of YAML 1.1)."""


def syntax_problem(error: yaml.YAMLError, file: str, stream: BinaryIO) -> Problem:
    """What the parser refuses, with its place in the file, which `stream` reads again."""
    stream.seek(0)
    if isinstance(error, yaml.reader.ReaderError):
        where = _place(file, stream.read(), error)
        if "special characters" in error.reason or "control characters" in error.reason:
            what = f"YAML does not allow the character U+{int(error.character):04X}"
            return Problem(what, where, "remove it, or escape it in double quotes", id="invalid-yaml")
        return Problem("the file is not UTF-8", where, "save it as UTF-8", id="invalid-encoding")
    mark = getattr(error, "problem_mark", None)
    message = str(getattr(error, "problem", None) or error)
    opened = getattr(error, "context_mark", None)
    if "end of stream" in message and opened is not None:
        mark = opened
    if mark is None:
        return Problem(f"invalid YAML: {message}", Location(file), id="invalid-yaml")
    lines = [line.decode("utf-8", "replace") for line in islice(stream, max(mark.line - 1, 0), mark.line + 1)]
    for number, line in enumerate(lines, start=max(mark.line, 1)):
        column = next((at for at, char in enumerate(line.rstrip("\r\n"), start=1) if _is_odd(char)), 0)
        if column:
            where, hint = Location(file, number, column), odd_characters(line[column - 1])
            return Problem(f"invalid YAML: {message}", where, hint, id="invalid-yaml")
    where = Location(file, mark.line + 1, mark.column + 1)
    return Problem(f"invalid YAML: {message}", where, _hint(message, lines), id="invalid-yaml")


def _is_odd(char: str) -> bool:
    return not char.isprintable() and char != "\t"


def _hint(message: str, lines: list[str]) -> str:
    if "cannot start any token" in message:
        return "indent with spaces, not tabs; quote text that begins with `@`, `%` or a backquote"
    if any(len(line) > _LONGEST_KEY for line in lines) and any(
        part in message for part in ("expected ',' or", "mapping values", "expected ':'", "expected key")
    ):
        return f"a key can have {_LONGEST_KEY:,} characters: use the list form `- {{key: ..., value: ...}}`"
    return next((hint for part, hint in _HINTS if part in message), "")


def _place(file: str, raw: bytes, error: yaml.reader.ReaderError) -> Location:
    """Libyaml counts bytes; the reader of PyYAML counts characters once it has decoded them."""
    position = error.position
    try:
        text = raw.decode("utf-8")
        before = text[:position] if error.encoding == "unicode" else raw[:position].decode("utf-8", "ignore")
    except UnicodeDecodeError as undecodable:
        before = raw[: undecodable.start].decode("utf-8")
    return Location(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
