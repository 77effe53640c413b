"""NDJSON: a JSON object in each line. Numbers are kept as text, so that they are not rounded."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Final, NoReturn

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import TableRef
from provisioner.model.tree import RawChunk
from provisioner.model.types import shown
from provisioner.tables import plain_ndjson
from provisioner.tables.blocks import FEW_BYTES, Block, block_chunk, blocks
from provisioner.tables.chunks import MAX_PROBLEMS, ChunkBuilder, Lines, UnreadableError, flatten, steps
from provisioner.tables.table_format import TableFormat
from provisioner.tables.wanted import WantedColumn, add_missing, origin

if TYPE_CHECKING:
    from provisioner.codec.spans import Spans
    from provisioner.model.types import Path

    _Row = tuple[tuple[Path, ...], tuple[str | None, ...]]

_BLANK: Final = " \t\r\n"
_ABSENT: Final = object()
_TEXT_ONLY: Final = {str}
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""For text that is known to be valid."""


def read(file: InputFile, _: TableRef, wanted: tuple[WantedColumn, ...], problems: Problems) -> Iterator[RawChunk]:
    """The wanted members of the object in each line. Raises OSError."""
    return _NdjsonReader(file, wanted, problems).chunks()


class _NdjsonReader:
    def __init__(self, file: InputFile, wanted: tuple[WantedColumn, ...], problems: Problems) -> None:
        self._input = file
        self._file = str(file)
        self._lines = Lines(file)
        self._wanted = wanted
        self._problems = problems
        self._decode = json.JSONDecoder(
            object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=_refuse_constant
        ).decode
        self._shape = tuple(column.path for column in wanted)
        self._names = [column.name for column in wanted]
        self._has_rows = False
        self._is_over = False

    def chunks(self) -> Iterator[RawChunk]:
        builder = ChunkBuilder(self._file, self._find)
        with self._input.open() as stream:
            for block in blocks(stream, 1):
                if (columns := self._split(block)) is not None:
                    self._has_rows = True
                    yield block_chunk(self._file, dict(zip(self._shape, columns, strict=True)), block, self._find)
                    continue
                yield from self._by_lines(block, builder)
                if self._is_over or len(self._problems) >= MAX_PROBLEMS:
                    return
        yield from builder.finish()

    def _split(self, block: Block) -> list[Spans] | None:
        return plain_ndjson.split(block, self._names) if len(block.data) >= FEW_BYTES else None

    def _by_lines(self, block: Block, builder: ChunkBuilder) -> Iterator[RawChunk]:
        """The chunks that the lines of the block fill. Invalid lines are problems, up to a limit."""
        for number, line in enumerate(io.BytesIO(block.data), start=block.line):
            row = self._row(number, line)
            if row is not None:
                if chunk := builder.add(number, *row):
                    yield chunk
            elif self._is_over or len(self._problems) >= MAX_PROBLEMS:
                return

    def _row(self, number: int, line: bytes) -> _Row | None:
        """The shape and texts of the object in a line; None if the line is blank or invalid."""
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.strip(_BLANK):
                return None
            members = self._decode(text)
            if "\\u" in text:
                json.dumps(members, ensure_ascii=False).encode()  # fails for an unpaired surrogate
        except (UnicodeError, JSONDecodeError, UnreadableError, RecursionError) as error:
            self._add_error(number, line, error)
            return None
        if type(members) is not dict:
            where, hint = Location(self._file, number, 1), 'write an object such as {"key": 1, "value": 2}'
            self._problems.add("the line is not a JSON object", where, hint, id="invalid-row")
            return None
        try:
            values = [members[name] for name in self._names]
        except KeyError:
            if not self._has_all(number, members):
                return None
            values = [_member(members, name) for name in self._names]
        self._has_rows = True
        if set(map(type, values)) == _TEXT_ONLY:
            return self._shape, tuple(values)
        return self._careful(number, values)

    def _careful(self, number: int, values: list[Any]) -> _Row | None:
        """The same for rows with lists, objects, true, false or null."""
        row: list[tuple[Path, str | None]] = []
        for column, value in zip(self._wanted, values, strict=True):
            try:
                row += flatten(value, column.path, _text)
            except UnreadableError as error:
                self._problems.add(error.what, self._find(number, column.path), error.hint, id=error.id)
                return None
        return tuple(path for path, _ in row), tuple(text for _, text in row)

    def _add_error(self, number: int, line: bytes, error: Exception) -> None:
        column, hint, id_ = 1, "", "invalid-row"
        match error:
            case UnicodeDecodeError():
                before = line[: error.start].decode("utf-8-sig" if number == 1 else "utf-8")
                column, what, hint = len(before) + 1, "the line is not UTF-8", "save the table as UTF-8"
                id_ = "invalid-encoding"
            case JSONDecodeError():
                column, what, hint = (
                    error.pos + 1,
                    f"the line is not valid JSON: {error.msg}",
                    "write one object per line",
                )
            case UnicodeEncodeError():
                column = 1 + line.decode(errors="replace").find("\\u")
                what = "the text has an unpaired surrogate"
                hint = "write both surrogates, or the character itself"
            case RecursionError():
                what, id_ = "the line is nested too deeply", "limit-exceeded"
            case UnreadableError():
                what, hint, id_ = error.what, error.hint, error.id
            case _:
                raise error
        self._problems.add(what, Location(self._file, number, column), hint, id=id_)

    def _has_all(self, number: int, members: dict[str, Any]) -> bool:
        """Whether the row has every column. In the first row, a missing column is an error of the spec."""
        absent = [column for column in self._wanted if _member(members, column.name) is _ABSENT]
        for column in absent:
            if self._has_rows:
                what = f"the row has no member `{column.name}`"
                hint = did_you_mean(column.name, members, "write null for an empty value")
                self._problems.add(what, Location(self._file, number, 1), hint, id="invalid-row")
            else:
                add_missing(column, self._file, members, self._problems)
        self._is_over = bool(absent) and not self._has_rows
        return not absent

    def _find(self, line: int, path: Path) -> Location:
        number, inside = origin(path, self._wanted)
        text = next(self._lines.after(line), "")
        try:
            names = steps(self._wanted[number].name, _DECODER.decode(text))
            return Location(self._file, line, 1 + place(text, (*names, *inside)))
        except ValueError:  # the file has changed since
            return Location(self._file, line, 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableError(f"duplicate member {shown(twice)}", "remove one of the two", "duplicate-key")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableError(f"{name} is not JSON", "write it in quotes if it is text", "invalid-row")


def _member(members: dict[str, Any], name: str) -> Any:
    """The value at `name`, or _ABSENT."""
    value: Any = members
    for step in steps(name, members):
        value = value.get(step, _ABSENT) if type(value) is dict else _ABSENT
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    assert value is None or isinstance(value, str)
    return value


def place(text: str, path: Path, at: int = 0) -> int:
    """The offset of the value at `path` in the value at or after `at`, as far as the path exists.

    `text` is valid JSON.
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


FORMAT: Final = TableFormat("ndjson", (".ndjson", ".jsonl"), read, is_text=True)
