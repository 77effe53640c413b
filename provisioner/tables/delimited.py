"""CSV and TSV with a header row, optional double quotes, UTF-8, LF or CRLF.

The delimiter is that of `delimiter:`, else that of a first line `sep=;`, as spreadsheets write it, else a comma; a tab
in a `.tsv` file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.spec import TableRef
from provisioner.model.tree import RawChunk
from provisioner.model.words import plural
from provisioner.tables import plain_csv
from provisioner.tables.blocks import FEW_BYTES, MAX_LINE_BYTES, Block, block_chunk, blocks, line_too_long
from provisioner.tables.chunks import CHUNK_ROWS, MAX_PROBLEMS, Lines, make_chunk
from provisioner.tables.table_format import TableFormat
from provisioner.tables.wanted import WantedColumn, add_missing, origin

if TYPE_CHECKING:
    from _csv import Reader as Rows

    from provisioner.codec.spans import Spans
    from provisioner.model.types import Path


_BOM: Final = b"\xef\xbb\xbf"
_SEPARATOR: Final = re.compile(rb"sep=([ -!#-~\t])\r?\n?", re.IGNORECASE)
"""The first line of a file that names its delimiter: any ASCII character but a quote."""

_USUAL: Final = ",;\t|"


def read(file: InputFile, table: TableRef, wanted: tuple[WantedColumn, ...], problems: Problems) -> Iterator[RawChunk]:
    """The wanted columns of all rows. Raises OSError."""
    if table.delimiter == "":  # it is invalid, an error of the spec: with another one, columns would be missing
        return
    reader = _CsvReader(file, table.delimiter, wanted, problems)
    try:
        with file.open() as stream:
            yield from reader.chunks(stream)
    except UnicodeDecodeError:
        where = _first_undecodable(file)
        problems.add("the file is not UTF-8", where, "save the table as UTF-8", id="invalid-encoding")


def _first_undecodable(file: InputFile) -> Location:
    with file.open() as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                before = line[: error.start].decode("utf-8-sig" if number == 1 else "utf-8")
                return Location(str(file), number, len(before) + 1)
    return Location(str(file))


def _limited(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a file. Raises OSError for one that is too long."""
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE_BYTES + 1), ""), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise line_too_long(number)
        yield line


class _CsvReader:
    def __init__(
        self, file: InputFile, delimiter: str | None, wanted: tuple[WantedColumn, ...], problems: Problems
    ) -> None:
        self._file = str(file)
        self._lines = Lines(file)
        self._wanted = wanted
        self._problems = problems
        self._given = delimiter
        self._delimiter = delimiter or ("\t" if file.path.suffix.lower() == ".tsv" else ",")
        self._header_line = 1
        self._width = 0
        self._numbers: list[int] = []

    def chunks(self, stream: BinaryIO) -> Iterator[RawChunk]:
        header = self._first_line(stream)
        if separator := _SEPARATOR.fullmatch(header.removeprefix(_BOM)):
            self._delimiter = self._given or separator[1].decode()
            self._header_line = 2
            header = self._first_line(stream)
        if b'"' in header or not header.isascii():
            stream.seek(stream.tell() - len(header))
            yield from self._by_rows(stream, self._header_line - 1, has_header=True)
            return
        if not self._read_header(self._csv([header.decode()])):
            return
        for block in blocks(stream, self._header_line + 1):
            columns = self._split(block)
            chunks = self._alone(block) if columns is None else [self._plain_chunk(columns, block)]
            if chunks is None:  # a quote is opened here, and closed in a later block or not at all
                stream.seek(block.offset)
                yield from self._by_rows(stream, block.line - 1)
                return
            for chunk in chunks:
                yield chunk
                if len(self._problems) >= MAX_PROBLEMS:
                    return

    def _first_line(self, stream: BinaryIO) -> bytes:
        line = stream.readline(MAX_LINE_BYTES + 1)
        if len(line) > MAX_LINE_BYTES:
            raise line_too_long(self._header_line)
        return line

    def _csv(self, lines: Iterable[str]) -> Rows:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _split(self, block: Block) -> list[Spans] | None:
        if len(block.data) < FEW_BYTES:
            return None
        return plain_csv.split(block, self._delimiter, self._width, self._numbers)

    def _plain_chunk(self, columns: Sequence[Spans], block: Block) -> RawChunk:
        texts = {column.path: spans for column, spans in zip(self._wanted, columns, strict=True)}
        return block_chunk(self._file, texts, block, self._find)

    def _alone(self, block: Block) -> Iterator[RawChunk] | None:
        """The rows of a block, parsed by `csv`, or None if the last row does not end here, or a row is invalid."""
        try:
            rows = self._csv(io.StringIO(block.data.decode(), newline="\n"))
            batch = list(rows)
        except (csv.Error, UnicodeDecodeError):
            return None
        lines: Sequence[int] = range(block.line, block.line + rows.line_num)
        if rows.line_num != len(batch):
            lines = _row_lines(batch, block.line)
        return self._cut(batch, lines)

    def _cut(self, batch: list[list[str]], lines: Sequence[int]) -> Iterator[RawChunk]:
        for start in range(0, len(batch), CHUNK_ROWS):
            yield from self._chunk(batch[start : start + CHUNK_ROWS], lines[start : start + CHUNK_ROWS])

    def _by_rows(self, stream: BinaryIO, above: int, *, has_header: bool = False) -> Iterator[RawChunk]:
        """The rest of the file, parsed by `csv`; so many lines are `above`, and the first can be the header."""
        text = io.TextIOWrapper(stream, "utf-8" if above else "utf-8-sig", newline="\n")
        try:
            rows = self._csv(_limited(text))
            if not has_header or self._read_header(rows):
                yield from self._rows(rows, above)
        finally:
            text.detach()

    def _rows(self, rows: Rows, above: int) -> Iterator[RawChunk]:
        while len(self._problems) < MAX_PROBLEMS:
            before = above + rows.line_num
            batch: list[list[str]] = []
            failed = None
            try:
                batch.extend(islice(rows, CHUNK_ROWS))
            except csv.Error as error:
                failed = error
            if not batch and failed is None:
                return
            end = above + rows.line_num
            lines = range(before + 1, end + 1) if end - before == len(batch) else _row_lines(batch, before + 1)
            yield from self._chunk(batch, lines)
            if failed is not None:
                start = _next_line(batch, lines, before + 1)
                self._add_error(failed, start)
                if end > start:  # what a quote opened goes on: nothing that follows can be trusted
                    return

    def _read_header(self, rows: Iterator[list[str]]) -> bool:
        try:
            header = next(rows, [])
        except csv.Error as error:
            self._add_error(error, self._header_line)
            return False
        line = self._header_line
        if not header:
            where, hint = Location(self._file, line, 1), f"write the names of the columns in line {line}"
            self._problems.add("the table has no header row", where, hint, id="missing-column")
            return False
        self._width = len(header)
        # Without any of the columns, line 1 can be data, which can be sensitive.
        is_data = not any(column.name in header for column in self._wanted)
        for column in self._wanted:
            if column.name not in header:
                hint = self._header_hint(header) if is_data else ""
                add_missing(column, self._file, header, self._problems, hint)
                continue
            number = header.index(column.name)
            self._numbers.append(number)
            if column.name in header[number + 1 :]:
                second = header.index(column.name, number + 1)
                what = f"duplicate column `{column.name}`"
                self._problems.add(what, self._place(line, second), "rename one of the two", id="duplicate-key")
        return not len(self._problems)

    def _header_hint(self, header: list[str]) -> str:
        """What to do where the header has none of the columns: name the delimiter with which it has one."""
        text = self._delimiter.join(header)
        for other in _USUAL:
            if any(column.name in text.split(other) for column in self._wanted):
                written = "tab" if other == "\t" else other
                return f"the fields are separated by `{written}`: write `delimiter: {json.dumps(other)}` in the spec"
        return f"line {self._header_line} must have the names of the columns"

    def _chunk(self, batch: list[list[str]], lines: Sequence[int]) -> Iterator[RawChunk]:
        try:
            columns = list(zip(*batch, strict=True))
        except ValueError:
            columns = []
        if len(columns) != self._width:
            batch, lines = self._valid(batch, lines)
            columns = list(zip(*batch, strict=True))
        if batch:
            texts = {column.path: columns[number] for column, number in zip(self._wanted, self._numbers, strict=True)}
            yield make_chunk(self._file, {**texts}, lines, self._find)

    def _valid(self, batch: list[list[str]], lines: Sequence[int]) -> tuple[list[list[str]], array[int]]:
        """The rows with the right number of fields, and their lines. Empty lines are skipped, others are problems."""
        kept: list[list[str]] = []
        kept_lines = array("Q")
        for row, line in zip(batch, lines, strict=True):
            if len(row) == self._width:
                kept.append(row)
                kept_lines.append(line)
            elif row:
                what = f"the row has {plural(len(row), 'field')}, and the header has {self._width}"
                hint = "put fields that contain the delimiter in double quotes" if len(row) > self._width else ""
                where = self._place(line, min(len(row), self._width))
                self._problems.add(what, where, hint, id="invalid-row")
        return kept, kept_lines

    def _find(self, line: int, path: Path) -> Location:
        return self._place(line, self._numbers[origin(path, self._wanted)[0]])

    def _place(self, line: int, number: int) -> Location:
        """The begin of field `number` in the row that begins in `line`, or the end of that row."""
        record = scan(self._lines.after(line), self._delimiter)
        down, column = (*record.starts, record.end)[min(number, len(record.starts))]
        return Location(self._file, line + down, column)

    def _add_error(self, error: csv.Error, line: int) -> None:
        record = scan(self._lines.after(line), self._delimiter)
        down, column = record.end
        what, hint = record.fault or (f"the row is not valid CSV: {error}", "use a raw file for long values")
        self._problems.add(what, Location(self._file, line + down, column), hint, id="invalid-row")


def _row_lines(batch: Iterable[list[str]], first: int) -> array[int]:
    """The first line of each row, where quoted fields can span several lines."""
    lines = array("Q")
    for row in batch:
        lines.append(first)
        first += 1 + "".join(row).count("\n")
    return lines


def _next_line(batch: list[list[str]], lines: Sequence[int], first: int) -> int:
    return lines[-1] + 1 + "".join(batch[-1]).count("\n") if batch else first


class Record(msgspec.Struct, frozen=True):
    """The begins of the fields of a row, and the end of its valid part, as (lines below its first, column from 1).

    `fault` is the reason why the row is not valid CSV, and the hint.
    """

    starts: tuple[tuple[int, int], ...]
    end: tuple[int, int]
    fault: tuple[str, str] | None = None


class _At(Enum):
    START = auto()
    PLAIN = auto()
    QUOTED = auto()
    CLOSED = auto()


_UNCLOSED = ("the quote is not closed", "write a quote inside of a field twice")
_AFTER_QUOTE = ("the field has text after its closing quote", "write a quote inside of a field twice")
_LONE_CR = ("a field without quotes contains a carriage return", "end lines with LF or CRLF")


def scan(lines: Iterable[str], delimiter: str) -> Record:
    """Find the fields of the first row of `lines` as `csv` does: slow, for messages only."""
    starts = [(0, 1)]
    opened = end = (0, 1)
    at = _At.START
    for down, line in enumerate(lines):
        body = line.removesuffix("\n")
        for column, char in enumerate(body, start=1):
            place = (down, column)
            if at is _At.QUOTED:
                at = _At.CLOSED if char == '"' else at
            elif char == '"' and at is not _At.PLAIN:
                opened = place if at is _At.START else opened
                at = _At.QUOTED
            elif char == delimiter:
                starts.append((down, column + 1))
                at = _At.START
            elif char == "\r":
                return Record(tuple(starts), place, None if column == len(body) else _LONE_CR)
            elif at is _At.CLOSED:
                return Record(tuple(starts), place, _AFTER_QUOTE)
            else:
                at = _At.PLAIN
        end = (down, len(body) + 1)
        if at is not _At.QUOTED:
            return Record(tuple(starts), end)
    return Record(tuple(starts), opened, _UNCLOSED) if at is _At.QUOTED else Record(tuple(starts), end)


FORMAT: Final = TableFormat("csv", (".csv", ".tsv"), read, is_text=True, has_delimiter=True)
