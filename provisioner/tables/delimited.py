"""CSV and TSV: a header row, fields in double quotes where they need them, UTF-8, LF or CRLF."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.tree import RawChunk
from provisioner.tables import plain_csv
from provisioner.tables.blocks import FEW_BYTES, MAX_LINE_BYTES, Block, block_chunk, blocks, line_too_long
from provisioner.tables.chunks import CHUNK_ROWS, MAX_PROBLEMS, Lines, make_chunk
from provisioner.tables.wanted import Wanted, missing, origin

if TYPE_CHECKING:
    from _csv import Reader as Rows

    from provisioner.codec.spans import Spans
    from provisioner.model.types import Path


def read(file: InputFile, wanted: tuple[Wanted, ...], problems: Problems) -> Iterator[RawChunk]:
    """The wanted columns of the file's rows. Raises OSError."""
    reader = _CsvReader(file, wanted, problems)
    try:
        with file.open() as stream:
            yield from reader.chunks(stream)
    except UnicodeDecodeError:
        where = _first_undecodable(file)
        problems.add("this is not UTF-8", where, "save the table as UTF-8")


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
    def __init__(self, file: InputFile, wanted: tuple[Wanted, ...], problems: Problems) -> None:
        self._file = str(file)
        self._lines = Lines(file)
        self._wanted = wanted
        self._problems = problems
        self._delimiter = "\t" if file.path.suffix.lower() == ".tsv" else ","
        self._width = 0
        self._numbers: list[int] = []

    def chunks(self, stream: BinaryIO) -> Iterator[RawChunk]:
        header = stream.readline(MAX_LINE_BYTES + 1)
        if len(header) > MAX_LINE_BYTES:
            raise line_too_long(1)
        if b'"' in header or not header.isascii():
            stream.seek(0)
            yield from self._by_rows(stream, 0)
            return
        if not self._read_header(self._csv([header.decode()])):
            return
        for block in blocks(stream, 2):
            columns = self._split(block)
            found = self._alone(block) if columns is None else [self._plain_chunk(columns, block)]
            if found is None:  # a quote opens here that a later block closes, or none
                stream.seek(block.offset)
                yield from self._by_rows(stream, block.line - 1)
                return
            for chunk in found:
                yield chunk
                if len(self._problems) >= MAX_PROBLEMS:
                    return

    def _csv(self, lines: Iterable[str]) -> Rows:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _split(self, block: Block) -> list[Spans] | None:
        if len(block.data) < FEW_BYTES:
            return None
        return plain_csv.split(block, self._delimiter, self._width, self._numbers)

    def _plain_chunk(self, columns: Sequence[Spans], block: Block) -> RawChunk:
        texts = {one.path: column for one, column in zip(self._wanted, columns, strict=True)}
        return block_chunk(self._file, texts, block, self._find)

    def _alone(self, block: Block) -> Iterator[RawChunk] | None:
        """The rows of a block as `csv` reads them, or None where they do not end with it, or something is wrong."""
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

    def _by_rows(self, stream: BinaryIO, above: int) -> Iterator[RawChunk]:
        """The rest of the file as `csv` reads it, with the header where no lines are `above`."""
        text = io.TextIOWrapper(stream, "utf-8" if above else "utf-8-sig", newline="\n")
        try:
            rows = self._csv(_limited(text))
            if above or self._read_header(rows):
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
                self._tell(failed, start)
                if end > start:  # what a quote opened goes on: nothing that follows can be trusted
                    return

    def _read_header(self, rows: Iterator[list[str]]) -> bool:
        try:
            header = next(rows, [])
        except csv.Error as error:
            self._tell(error, 1)
            return False
        if not header:
            self._problems.add("the table has no header row", Location(self._file, 1, 1), "name the columns in line 1")
            return False
        self._width = len(header)
        # Without any of the columns, line 1 can be data, and data can be sensitive.
        is_data = not any(column.name in header for column in self._wanted)
        for one in self._wanted:
            if one.name not in header:
                hint = "line 1 must have the names of the columns" if is_data else ""
                missing(one, self._file, header, self._problems, hint)
                continue
            number = header.index(one.name)
            self._numbers.append(number)
            if one.name in header[number + 1 :]:
                second = header.index(one.name, number + 1)
                what = f"two columns are named `{one.name}`"
                self._problems.add(what, self._place(1, second), "rename one of the two")
        return not len(self._problems)

    def _chunk(self, batch: list[list[str]], lines: Sequence[int]) -> Iterator[RawChunk]:
        try:
            columns = list(zip(*batch, strict=True))
        except ValueError:
            columns = []
        if len(columns) != self._width:
            batch, lines = self._sound(batch, lines)
            columns = list(zip(*batch, strict=True))
        if batch:
            texts = {one.path: columns[number] for one, number in zip(self._wanted, self._numbers, strict=True)}
            yield make_chunk(self._file, {**texts}, lines, self._find)

    def _sound(self, batch: list[list[str]], lines: Sequence[int]) -> tuple[list[list[str]], array[int]]:
        """The rows that have all their fields, and their lines; empty lines are passed over, others told."""
        kept: list[list[str]] = []
        kept_lines = array("Q")
        for row, line in zip(batch, lines, strict=True):
            if len(row) == self._width:
                kept.append(row)
                kept_lines.append(line)
            elif row:
                what = f"this row has {_fields(len(row))}, the header {self._width}"
                hint = "put fields that hold the delimiter into double quotes" if len(row) > self._width else ""
                self._problems.add(what, self._place(line, min(len(row), self._width)), hint)
        return kept, kept_lines

    def _find(self, line: int, path: Path) -> Location:
        return self._place(line, self._numbers[origin(path, self._wanted)[0]])

    def _place(self, line: int, number: int) -> Location:
        """Where field `number` begins in the row that begins in `line`, or where that row ends."""
        record = scan(self._lines.after(line), self._delimiter)
        down, column = (*record.starts, record.end)[min(number, len(record.starts))]
        return Location(self._file, line + down, column)

    def _tell(self, error: csv.Error, line: int) -> None:
        record = scan(self._lines.after(line), self._delimiter)
        down, column = record.end
        what, hint = record.fault or (f"the row can't be read: {error}", "write what is so long to a raw file")
        self._problems.add(what, Location(self._file, line + down, column), hint)


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _row_lines(batch: Iterable[list[str]], first: int) -> array[int]:
    """The line in which each row begins, where quoted fields go over several."""
    lines = array("Q")
    for row in batch:
        lines.append(first)
        first += 1 + "".join(row).count("\n")
    return lines


def _next_line(batch: list[list[str]], lines: Sequence[int], first: int) -> int:
    return lines[-1] + 1 + "".join(batch[-1]).count("\n") if batch else first


class Record(msgspec.Struct, frozen=True):
    """Where a row's fields begin and where it ends, or stops being CSV, as (lines below its first, column from 1).

    `fault` says why it is none, and what to do.
    """

    starts: tuple[tuple[int, int], ...]
    end: tuple[int, int]
    fault: tuple[str, str] | None = None


class _At(Enum):
    START = auto()
    PLAIN = auto()
    QUOTED = auto()
    CLOSED = auto()


_UNCLOSED = ("this quote is never closed", "a quote inside of a field is written twice")
_AFTER_QUOTE = ("text follows the closing quote of a field", "a quote inside of a field is written twice")
_LONE_CR = ("a carriage return stands in a field without quotes", "end lines with LF or CRLF")


def scan(lines: Iterable[str], delimiter: str) -> Record:
    """Walk over the row that begins `lines`, as `csv` reads it: slow, and only for messages."""
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
