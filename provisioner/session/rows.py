"""Python values, NumPy arrays and Arrow tables as rows in the kernel's bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.scalar import ScalarType
from provisioner.model.errors import InputError, Problem
from provisioner.model.types import Bytes, Column, Fault, InvalidTextError, Path, Type

KEY: Final = "key"
VALUE: Final = "value"
OUTER: Final = "outer"


@runtime_checkable
class ArrowTable(Protocol):
    """A `pyarrow.Table` or `RecordBatch`, as far as it is used."""

    @property
    def num_rows(self) -> int: ...

    @property
    def column_names(self) -> list[str]: ...

    def column(self, name: str) -> Any: ...


Table = NDArray[Any] | ArrowTable
"""Columns in the kernel's layout, by the names `key`, `value` and `outer`: a structured array, or an Arrow table."""


class EntryRows(msgspec.Struct, frozen=True):
    """Entries in the kernel's bytes: `keys` (n, key size), `values` (n, value size)."""

    keys: Bytes
    values: Bytes


def encode(kind: Type, values: Sequence[object], address: str) -> Bytes:
    """Python values as rows of a type: numbers, text as in a spec, mappings, lists; `bytes` are the kernel's own.

    Raises InputError with all values that do not fit.
    """
    if len(values) == 1 and isinstance(kind, ScalarType) and type(values[0]) in _SCALARS:
        with suppress(InvalidTextError):  # what is wrong with it is said below
            return np.frombuffer(kind.parse_one(str(values[0])), np.uint8)[np.newaxis]
    if len(values) == 1 and type(values[0]) is bytes:
        raw = kind.encode_raw(values[0])
        if not isinstance(raw, Fault):
            return raw[np.newaxis]
    out = np.zeros((len(values), kind.size), np.uint8)
    alike: dict[tuple[Path, ...], tuple[list[int], list[list[str | None]]]] = {}
    faults: list[Fault] = []
    for row, value in enumerate(values):
        if isinstance(value, bytes | bytearray | memoryview):
            raw = kind.encode_raw(bytes(value))
            if isinstance(raw, Fault):
                faults.append(raw)
            else:
                out[row] = raw
            continue
        parts: list[tuple[Path, str | None]] = (
            [((), str(value))] if type(value) in _SCALARS else list(_leaves(value, ()))
        )
        rows, texts = alike.setdefault(tuple(path for path, _ in parts), ([], []))
        rows.append(row)
        texts.append([text for _, text in parts])
    for paths, (rows, texts) in alike.items():
        columns: dict[Path, Column] = dict(zip(paths, map(list, zip(*texts, strict=True)), strict=True))
        part = out if len(rows) == len(values) else np.zeros((len(rows), kind.size), np.uint8)
        faults += kind.encode(columns, part)
        if part is not out:
            out[rows] = part
    if faults:
        raise InputError(*(Problem(each.what, hint=each.hint, address=address, id=each.id) for each in faults[:_MOST]))
    return out


_MOST: Final = 50
_SCALARS: Final = frozenset({int, str})


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, str | None]]:
    """Every scalar of a value with its path, as text."""
    match value:
        case Mapping():
            for name, part in value.items():
                yield from _leaves(part, (*path, str(name)))
        case list() | tuple():
            for number, part in enumerate(value):
                yield from _leaves(part, (*path, number))
        case bool():
            yield path, str(value).lower()
        case None:
            yield path, None
        case _:
            yield path, str(value)


def of_mapping(key: Type, value: Type, entries: Mapping[Any, object], address: str) -> EntryRows:
    """Entries of a mapping. Keys that cannot be those of a mapping are tuples or lists of pairs, or `bytes`."""
    return EntryRows(encode(key, list(entries), address), encode(value, list(entries.values()), address))


def of_table(key: Type, value: Type, table: Table, address: str) -> EntryRows:
    """Entries of a table: host bits of keys and padding of values are made zero, as they are compared."""
    keys = key.normalise(column(table, KEY, key, address))
    return EntryRows(np.ascontiguousarray(keys), value.as_new(column(table, VALUE, value, address) & value.mask()))


def column(table: Table, name: str, kind: Type, address: str) -> Bytes:
    """One column in the kernel's layout, shape (n, size). Raises InputError where it is missing or of another size."""
    names = (table.dtype.names or ()) if isinstance(table, np.ndarray) else tuple(table.column_names)
    if name not in names:
        what = f"the table has no column `{name}`"
        raise InputError(Problem(what, hint=f"its columns: {', '.join(names)}", address=address, id="missing-column"))
    rows = _bytes(table[name]) if isinstance(table, np.ndarray) else _arrow_bytes(table.column(name), name, address)
    if rows.shape[1] != kind.size:
        what = f"column `{name}` has {rows.shape[1]} bytes in each row, and a {kind.describe()} has {kind.size}"
        hint = "a table of a session has the kernel's layout: an integer of that size, or a fixed number of bytes"
        raise InputError(Problem(what, hint=hint, address=address, id="wrong-length"))
    return rows


def _bytes(values: NDArray[Any]) -> Bytes:
    whole = np.ascontiguousarray(values)
    count = len(whole)
    return whole.view(np.uint8).reshape(count, -1) if count else np.zeros((0, whole.dtype.itemsize), np.uint8)


def _arrow_bytes(values: Any, name: str, address: str) -> Bytes:
    """A column of integers or of fixed-size binary."""
    kind = values.type
    try:
        width, rest = divmod(int(kind.bit_width), 8)
    except ValueError:
        width, rest = 0, 1
    if rest or values.null_count:
        why = "has nulls" if values.null_count else f"is {kind}"
        hint = "use integers or fixed-size binary, without nulls"
        raise InputError(Problem(f"column `{name}` {why}", hint=hint, address=address, id="wrong-type"))
    parts = [np.zeros((0, width), np.uint8)]
    for chunk in getattr(values, "chunks", [values]):
        if len(chunk):
            data = np.frombuffer(chunk.buffers()[-1], np.uint8)
            parts.append(data[chunk.offset * width : (chunk.offset + len(chunk)) * width].reshape(-1, width))
    return np.concatenate(parts)
