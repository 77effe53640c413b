"""Parquet, with pyarrow from the extra `tables`: integers, text, bytes, booleans, and lists of them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from provisioner.files.reading import InputFile
from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.spec import TableRef
from provisioner.model.tree import RawChunk
from provisioner.tables.chunks import (
    CHUNK_ROWS,
    MAX_PROBLEMS,
    ChunkBuilder,
    UnreadableError,
    flatten,
    make_chunk,
    steps,
)
from provisioner.tables.table_format import TableFormat
from provisioner.tables.wanted import WantedColumn, add_missing, origin

if TYPE_CHECKING:
    from provisioner.model.types import Column, Path

_BATCH_ROWS: Final = 16 * CHUNK_ROWS


def read(file: InputFile, _: TableRef, wanted: tuple[WantedColumn, ...], problems: Problems) -> Iterator[RawChunk]:
    """The wanted columns of all rows. A place is the number of a row, from 1, and of a column. Raises OSError."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        hint = "pip install pyarrow"
        what = f"reading {file} needs pyarrow, which is not installed"
        problems.add(what, wanted[0].where, hint, id="pyarrow-missing")
        return
    try:
        with file.open() as stream, pyarrow.parquet.ParquetFile(stream) as table:
            yield from _ParquetReader(pyarrow, str(file), wanted, problems).chunks(table)
    except (pyarrow.ArrowException, ValueError) as error:  # ValueError for text that is not UTF-8
        reason = str(error).splitlines()[0]
        what = f"{file} is not a valid Parquet file: {reason}"
        problems.add(what, wanted[0].where, id="unreadable-file")


class _ParquetReader:
    def __init__(self, pyarrow: Any, file: str, wanted: tuple[WantedColumn, ...], problems: Problems) -> None:
        self._types = pyarrow.types
        self._member = pyarrow.compute.struct_field
        self._string = pyarrow.string()
        self._file = file
        self._wanted = wanted
        self._problems = problems
        self._numbers: list[int] = []
        self._steps: list[tuple[str, ...]] = []

    def chunks(self, file: Any) -> Iterator[RawChunk]:
        """`file` is a pyarrow.parquet.ParquetFile."""
        kinds = [self._choose(column, file.schema_arrow) for column in self._wanted]
        if len(self._problems):
            return
        names = list(dict.fromkeys(steps[0] for steps in self._steps))
        nested = any(self._types.is_nested(kind) for kind in kinds)
        builder = ChunkBuilder(self._file, self._find)
        first = 1
        for batch in file.iter_batches(_BATCH_ROWS, columns=names):
            columns = [reduce(self._member, rest, batch.column(name)) for name, *rest in self._steps]
            yield from self._by_row(columns, first, builder) if nested else self._by_column(columns, first)
            first += batch.num_rows
            if len(self._problems) >= MAX_PROBLEMS:
                return
        yield from builder.finish()

    def _choose(self, column: WantedColumn, schema: Any) -> Any:
        """The type of a wanted column or of a member of it; None with a Problem if it does not exist."""
        names = steps(column.name, schema.names)
        kind: Any = schema.field(names[0]).type if schema.names.count(names[0]) == 1 else None
        for name in names[1:]:
            is_there = kind is not None and self._types.is_struct(kind) and kind.get_field_index(name) >= 0
            kind = kind.field(name).type if is_there else None
        if schema.names.count(names[0]) > 1:
            what = f"{self._file} has a duplicate column `{names[0]}`"
            self._problems.add(what, column.where, "rename one of the two", id="duplicate-key")
        elif kind is None:
            add_missing(column, self._file, schema.names, self._problems)
        elif reason := self._refused(kind):
            what = f"column `{column.name}` of {self._file} has the type {reason}"
            self._problems.add(what, column.where, "use integers or text", id="unsupported-column-type")
        else:
            self._steps.append(names)
            self._numbers.append(schema.names.index(names[0]))
        return kind

    def _refused(self, kind: Any) -> str:
        """The type and why it is not supported; empty for supported types."""
        types = self._types
        if types.is_floating(kind):
            return f"{kind}, which does not store all numbers exactly"
        if types.is_dictionary(kind):
            return self._refused(kind.value_type)
        if types.is_struct(kind):
            return next((reason for part in kind if (reason := self._refused(part.type))), "")
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            return self._refused(kind.value_type)
        simple = (
            types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind),
            types.is_string(kind) or types.is_large_string(kind),
            types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind),
        )
        return "" if any(simple) else f"{kind}, which is not supported"

    def _by_column(self, columns: list[Any], first: int) -> Iterator[RawChunk]:
        texts = [self._texts(column) for column in columns]
        for start in range(0, len(texts[0]), CHUNK_ROWS):
            part: dict[Path, Column] = {
                column.path: text[start : start + CHUNK_ROWS] for column, text in zip(self._wanted, texts, strict=True)
            }
            rows = min(CHUNK_ROWS, len(texts[0]) - start)
            yield make_chunk(self._file, part, range(first + start, first + start + rows), self._find)

    def _texts(self, column: Any) -> list[str | None]:
        kind = column.type
        if self._types.is_integer(kind) or self._types.is_boolean(kind):
            column = column.cast(self._string)
        values: list[Any] = column.to_pylist()
        return values if self._types.is_string(column.type) else [_text(value) for value in values]

    def _by_row(self, columns: list[Any], first: int, builder: ChunkBuilder) -> Iterator[RawChunk]:
        """The slow way, for lists and structs, whose lengths can differ between rows."""
        values = zip(*(column.to_pylist() for column in columns), strict=True)
        for number, row in enumerate(values, start=first):
            scalars: list[tuple[Path, str | None]] = []
            try:
                for column, value in zip(self._wanted, row, strict=True):
                    scalars += flatten(value, column.path, _text)
            except UnreadableError as error:
                self._problems.add(error.what, self._find(number, column.path), error.hint, id=error.id)
                continue
            chunk = builder.add(number, tuple(path for path, _ in scalars), tuple(text for _, text in scalars))
            if chunk:
                yield chunk

    def _find(self, row: int, path: Path) -> Location:
        return Location(self._file, row, 1 + self._numbers[origin(path, self._wanted)[0]])


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return "0x" + value.hex()
        case Decimal():
            return str(int(value)) if value == value.to_integral_value() else f"{value:f}"
        case _:
            return str(value)


FORMAT: Final = TableFormat("parquet", (".parquet",), read, is_text=False)
