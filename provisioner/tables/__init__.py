"""Entries from files: CSV, NDJSON, Parquet, and a single value as raw bytes, as the same columns of text as from YAML.

A file is read in chunks as they are needed, and nothing of it is kept. The contents of a file raise no exception: they
become Problems, at most MAX_PROBLEMS for each file.

A format is a module with a `FORMAT`. `FORMATS` is the list of them; `make schemas` writes their names into the schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from provisioner.files.content import conflict_line, foreign, other_encoding
from provisioner.files.reading import TABLE, VALUE, InputFile, hint_of
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import TableRef
from provisioner.model.tree import RawChunk
from provisioner.tables import delimited, ndjson, parquet, raw
from provisioner.tables.chunks import MAX_PROBLEMS
from provisioner.tables.table_format import TableFormat
from provisioner.tables.wanted import wanted_columns

FORMATS: Final = (delimited.FORMAT, ndjson.FORMAT, parquet.FORMAT, raw.FORMAT)
_BY_NAME: Final = {format_.name: format_ for format_ in FORMATS}
_BY_SUFFIX: Final = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}


def has_lines(table: TableRef) -> bool:
    """Whether the file of a table is text, of which a message can show a line."""
    format_ = _format_of(table)
    return format_ is not None and format_.is_text


def read_table(
    table: TableRef, path: Path, problems: Problems, roots: tuple[Path, ...] | None = None
) -> Iterator[RawChunk]:
    """The rows of the file at `path`, which `table` names; with problems, a part of the rows.

    The file must be below one of `roots`, unless that is None. Paths begin with "key" and "value", and with "outer" if
    the table has an outer key. A raw file is a value at `RAW` without a key. Problems are added after the last row.
    """
    faults = Problems()
    format_ = _known_format(table, faults)
    if format_ is not None:
        file = InputFile(path, TABLE if format_.has_columns else VALUE, roots)
        if _is_readable(table, format_, file, faults):
            try:
                yield from format_.read(file, table, wanted_columns(table), faults)
            except OSError as error:
                what = f"cannot read {path}: {error.strerror or error}"
                faults.add(what, table.file.where, hint_of(error, path), id="unreadable-file")
    problems.extend(list(faults)[:MAX_PROBLEMS])


def _format_of(table: TableRef) -> TableFormat | None:
    if table.format is not None:
        return _BY_NAME.get(table.format)
    return _BY_SUFFIX.get(Path(table.file.text or "").suffix.lower())


def _known_format(table: TableRef, problems: Problems) -> TableFormat | None:
    format_ = _format_of(table)
    if format_ is None:
        hint = f"write `format:` with one of {', '.join(_BY_NAME)}; known suffixes are {', '.join(_BY_SUFFIX)}"
        if table.format is not None:
            what, where = f"`{table.format}` is not a known table format", table.where
        else:
            what, where = f"the suffix of `{table.file.text}` is not that of a table format", table.file.where
        problems.add(what, where, hint, id="unknown-table-format")
    elif table.delimiter and not format_.has_delimiter:
        what = f"a table of the format {format_.name} has no delimiter"
        problems.add(what, table.where, "remove `delimiter`, or write `format: csv`", id="delimiter-without-use")
    return format_


def _is_readable(table: TableRef, format_: TableFormat, file: InputFile, problems: Problems) -> bool:
    """Whether the file can be opened, and is a table: not a page, a pointer or an unresolved merge."""
    try:
        with file.open() as stream:
            begin = stream.read(512)
            other = foreign(begin) if format_.has_columns else None
            encoding = other_encoding(begin) if format_.is_text else ""
            stream.seek(0)
            conflict = conflict_line(stream, has_bars=table.delimiter == "|") if format_.is_text else 0
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        hint = hint_of(error, file.path) if isinstance(error, OSError) else ""
        if isinstance(error, FileNotFoundError) and not hint:
            otherwise = f"the path is relative to {table.file.where.file}"
            hint = did_you_mean(file.path.name, _names_beside(file.path), otherwise)
        problems.add(f"cannot read {file}: {reason}", table.file.where, hint, id="unreadable-file")
        return False
    if encoding:
        what = f"the file is {encoding}, not UTF-8"
        problems.add(what, Location(str(file), 1, 1), "save the table as UTF-8", id="invalid-encoding")
    if other is not None:
        problems.add(other.what, Location(str(file), 1, 1), other.hint, id="wrong-file-content")
    if conflict:
        what, hint = "the file has an unresolved merge conflict", "resolve the conflict"
        problems.add(what, Location(str(file), conflict, 1), hint, id="wrong-file-content")
    return other is None and not conflict and not encoding


def _names_beside(path: Path) -> list[str]:
    try:
        return [child.name for child in path.parent.iterdir()]
    except (OSError, ValueError):
        return []
