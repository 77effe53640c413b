"""Entries from files: CSV, NDJSON, Parquet, and one value as raw bytes. Each gives the columns of text that YAML gives.

A file is read in chunks, each when it is asked for, and nothing is kept of it. Nothing here raises on what a file
holds: it becomes Problems, of which each file has at most MAX_PROBLEMS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from provisioner.files.reading import TABLE, VALUE, InputFile
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.spec import TableRef
from provisioner.model.tree import RawChunk
from provisioner.tables import delimited, ndjson, parquet, raw
from provisioner.tables.chunks import MAX_PROBLEMS
from provisioner.tables.wanted import Wanted, wanted_columns

_Reader = Callable[[InputFile, tuple[Wanted, ...], Problems], Iterable[RawChunk]]

_READERS: Final[dict[str, _Reader]] = {"csv": delimited.read, "ndjson": ndjson.read, "parquet": parquet.read}

_SUFFIXES: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".bin": "raw",
}


def read_table(
    table: TableRef, path: Path, problems: Problems, roots: tuple[Path, ...] | None = None
) -> Iterator[RawChunk]:
    """The rows of the file at `path`, which `table` refers to; where problems were found, some of them.

    The file is below one of `roots`, unless that is None.
    Paths begin with "key" and "value", and with "outer" where the table has an outer key. A raw file is one value at
    `RAW`, and no key. Problems are told when all rows were given.
    """
    told = Problems()
    kind = _format(table, told)
    file = InputFile(path, VALUE if kind == "raw" else TABLE, roots)
    if kind is not None and _is_readable(table, file, told):
        try:
            yield from raw.read(table, file) if kind == "raw" else _READERS[kind](file, wanted_columns(table), told)
        except OSError as error:
            told.add(f"can't read {path}: {error.strerror or error}", table.file.where)
    problems.extend(list(told)[:MAX_PROBLEMS])


def _format(table: TableRef, problems: Problems) -> str | None:
    name = table.file.text or ""
    suffix = Path(name).suffix.lower()
    kind = table.format or _SUFFIXES.get(suffix)
    if kind == "raw" or kind in _READERS:
        return kind
    hint = f"write `format:`, one of {', '.join((*_READERS, 'raw'))}; known suffixes are {', '.join(_SUFFIXES)}"
    if table.format is not None:
        problems.add(f"`{table.format}` is no format of tables", table.where, hint)
    else:
        problems.add(f"`{name}` does not tell its format", table.file.where, hint)
    return None


def _is_readable(table: TableRef, file: InputFile, problems: Problems) -> bool:
    """Whether there is a file to read."""
    try:
        file.open().close()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        near = did_you_mean(
            file.path.name, _names_beside(file.path), f"the path is relative to {table.file.where.file}"
        )
        problems.add(f"can't read {file}: {reason}", table.file.where, near)
        return False
    return True


def _names_beside(path: Path) -> list[str]:
    try:
        return [child.name for child in path.parent.iterdir()]
    except (OSError, ValueError):
        return []
