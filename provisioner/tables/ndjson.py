"""NDJSON: a JSON object in each line. A number is taken by its text, so that none is rounded on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Final

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.tree import RawChunk
from provisioner.model.types import shown
from provisioner.tables import plain_ndjson
from provisioner.tables.blocks import FEW_BYTES, Block, block_chunk, blocks
from provisioner.tables.chunks import MAX_PROBLEMS, ChunkBuilder, Lines, UnreadableError, flatten, steps
from provisioner.tables.wanted import Wanted, missing, origin

if TYPE_CHECKING:
    from provisioner.codec.spans import Spans
    from provisioner.model.types import Path

    _Row = tuple[tuple[Path, ...], tuple[str | None, ...]]

_BLANK: Final = " \t\r\n"
_ABSENT: Final = object()
_TEXT_ONLY: Final = {str}
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""For text that was read before."""


def read(file: InputFile, wanted: tuple[Wanted, ...], problems: Problems) -> Iterator[RawChunk]:
    """The wanted members of each line's object. Raises OSError."""
    return _NdjsonReader(file, wanted, problems).chunks()


class _NdjsonReader:
    def __init__(self, file: InputFile, wanted: tuple[Wanted, ...], problems: Problems) -> None:
        self._input = file
        self._file = str(file)
        self._lines = Lines(file)
        self._wanted = wanted
        self._problems = problems
        self._decode = json.JSONDecoder(
            object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=str
        ).decode
        self._shape = tuple(one.path for one in wanted)
        self._names = [one.name for one in wanted]
        self._begun = False
        self._hopeless = False

    def chunks(self) -> Iterator[RawChunk]:
        gatherer = ChunkBuilder(self._file, self._find)
        with self._input.open() as stream:
            for block in blocks(stream, 1):
                if (columns := self._split(block)) is not None:
                    self._begun = True
                    yield block_chunk(self._file, dict(zip(self._shape, columns, strict=True)), block, self._find)
                    continue
                yield from self._by_lines(block, gatherer)
                if self._hopeless or len(self._problems) >= MAX_PROBLEMS:
                    return
        yield from gatherer.finish()

    def _split(self, block: Block) -> list[Spans] | None:
        return plain_ndjson.split(block, self._names) if len(block.data) >= FEW_BYTES else None

    def _by_lines(self, block: Block, gatherer: ChunkBuilder) -> Iterator[RawChunk]:
        """The chunks that the block's lines fill; what is wrong with a line is told, up to a limit."""
        for number, line in enumerate(io.BytesIO(block.data), start=block.line):
            row = self._row(number, line)
            if row is not None:
                if chunk := gatherer.add(number, *row):
                    yield chunk
            elif self._hopeless or len(self._problems) >= MAX_PROBLEMS:
                return

    def _row(self, number: int, line: bytes) -> _Row | None:
        """The shape and texts of the line's object; None where it is blank or wrong."""
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.strip(_BLANK):
                return None
            found = self._decode(text)
            if "\\u" in text:
                json.dumps(found, ensure_ascii=False).encode()  # fails where half of a surrogate pair stands alone
        except (UnicodeError, JSONDecodeError, UnreadableError, RecursionError) as error:
            self._tell(number, line, error)
            return None
        if type(found) is not dict:
            self._problems.add("a line is one JSON object", Location(self._file, number, 1), 'as in {"key": 1, ...}')
            return None
        try:
            values = [found[name] for name in self._names]
        except KeyError:
            if not self._has_all(number, found):
                return None
            values = [_member(found, name) for name in self._names]
        self._begun = True
        if set(map(type, values)) == _TEXT_ONLY:
            return self._shape, tuple(values)
        return self._careful(number, values)

    def _careful(self, number: int, values: list[Any]) -> _Row | None:
        """The same for rows with lists, objects, true, false or null in them."""
        row: list[tuple[Path, str | None]] = []
        for one, value in zip(self._wanted, values, strict=True):
            try:
                row += flatten(value, one.path, _text)
            except UnreadableError as error:
                self._problems.add(str(error), self._find(number, one.path), "write its values")
                return None
        return tuple(path for path, _ in row), tuple(text for _, text in row)

    def _tell(self, number: int, line: bytes, error: Exception) -> None:
        column, hint = 1, ""
        match error:
            case UnicodeDecodeError():
                before = line[: error.start].decode("utf-8-sig" if number == 1 else "utf-8")
                column, what, hint = len(before) + 1, "this is not UTF-8", "save the table as UTF-8"
            case JSONDecodeError():
                column, what, hint = error.pos + 1, f"this is no JSON: {error.msg}", "write one object to a line"
            case UnicodeEncodeError():
                column = 1 + line.decode(errors="replace").find("\\u")
                what = "half of a surrogate pair is no character"
                hint = "write both halves, or the character itself"
            case RecursionError():
                what = "this is nested too deeply"
            case _:
                what, hint = str(error), "keep one of the two"
        self._problems.add(what, Location(self._file, number, column), hint)

    def _has_all(self, number: int, found: dict[str, Any]) -> bool:
        """Whether every column is there. If not, that is the spec's mistake in the first row, else the row's."""
        absent = [one for one in self._wanted if _member(found, one.name) is _ABSENT]
        for one in absent:
            if self._begun:
                what = f"this row has no member `{one.name}`"
                near = did_you_mean(one.name, found, "write null for what has no value")
                self._problems.add(what, Location(self._file, number, 1), near)
            else:
                missing(one, self._file, found, self._problems)
        self._hopeless = bool(absent) and not self._begun
        return not absent

    def _find(self, line: int, path: Path) -> Location:
        number, inside = origin(path, self._wanted)
        text = next(self._lines.after(line), "")
        try:
            names = steps(self._wanted[number].name, _DECODER.decode(text))
            return Location(self._file, line, 1 + place(text, (*names, *inside)))
        except ValueError:  # the file is not what it was
            return Location(self._file, line, 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableError(f"the member {shown(twice)} stands here twice")
    return found


def _member(found: dict[str, Any], name: str) -> Any:
    """What `name` leads to, or _ABSENT."""
    value: Any = found
    for step in steps(name, found):
        value = value.get(step, _ABSENT) if type(value) is dict else _ABSENT
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    assert value is None or isinstance(value, str)
    return value


def place(text: str, path: Path, at: int = 0) -> int:
    """The offset of the value at `path` below the one that begins at or after `at`, as far as the path leads.

    `text` is JSON that was read before.
    """
    at = _skip(text, at)
    if not path or text[at : at + 1] not in ("{", "["):
        return at
    is_object = text[at] == "{"
    inner, index = _skip(text, at + 1), 0
    while text[inner : inner + 1] not in ("}", "]", ""):
        name: object = index
        if is_object:
            name, inner = _DECODER.raw_decode(text, inner)
            inner = _skip(text, _skip(text, inner) + 1)
        if name == path[0]:
            return place(text, path[1:], inner)
        _, inner = _DECODER.raw_decode(text, inner)
        inner = _skip(text, inner)
        if text[inner : inner + 1] == ",":
            inner = _skip(text, inner + 1)
        index += 1
    return at


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in tuple(_BLANK):
        at += 1
    return at
