"""Python values, NumPy arrays and Arrow tables as rows in the kernel's bytes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.integer import Integer
from provisioner.codec.network import Ipv4
from provisioner.codec.scalar import ScalarType
from provisioner.codec.wrapper import Wrapper
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
            return np.frombuffer(kind.parse_one(as_text(values[0])), np.uint8)[np.newaxis]
    if len(values) == 1 and type(values[0]) is bytes:
        raw = kind.encode_raw(values[0])
        if not isinstance(raw, Fault):
            return raw[np.newaxis]
    out = np.zeros((len(values), kind.size), np.uint8)
    alike: dict[tuple[Path, ...], tuple[list[int], list[list[str | None]]]] = {}
    faults: list[Fault] = []
    for row, value in enumerate(values):
        if isinstance(value, bytes | bytearray | memoryview | np.void):
            raw = kind.encode_raw(value.tobytes() if isinstance(value, np.void) else bytes(value))
            if isinstance(raw, Fault):
                faults.append(raw)
            else:
                out[row] = raw
            continue
        try:
            parts = [((), as_text(value))] if type(value) in _SCALARS else list(_leaves(value, ()))
        except RecursionError:
            what = "the value is nested too deeply"
            raise InputError(Problem(what, address=address, id="limit-exceeded")) from None
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
_LONGEST: Final = 1024
"""Bits of an integer that is written in decimal: no type has more."""

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
            yield path, as_text(value)


def as_text(value: object) -> str:
    """A scalar as text. Python writes no integers of thousands of digits in decimal."""
    return hex(value) if isinstance(value, int) and value.bit_length() > _LONGEST else str(value)


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
    if names.count(name) != 1:
        what = f"the table has {'several columns' if name in names else 'no column'} `{name}`"
        raise InputError(Problem(what, hint=f"its columns: {', '.join(names)}", address=address, id="missing-column"))
    try:
        rows = _bytes(table, name, kind) if isinstance(table, np.ndarray) else _arrow_bytes(table.column(name), kind)
    except _UnsuitableError as error:
        what, hint = f"column `{name}` {error}", error.hint
        raise InputError(Problem(what, hint=hint, address=address, id="wrong-type")) from None
    if rows.shape[1] != kind.size:
        what = f"column `{name}` has {rows.shape[1]} bytes in each row, and a {kind.describe()} has {kind.size}"
        hint = "a table of a session has the kernel's layout: an integer of that size, or a fixed number of bytes"
        raise InputError(Problem(what, hint=hint, address=address, id="wrong-length"))
    return rows


class _UnsuitableError(Exception):
    """A column that does not have the kernel's layout."""

    def __init__(self, why: str, hint: str = "use integers or fixed-size binary, without nulls") -> None:
        super().__init__(why)
        self.hint = hint


def _bytes(table: NDArray[Any], name: str, kind: Type) -> Bytes:
    if table.ndim != 1:
        raise _UnsuitableError(f"is of an array with {table.ndim} dimensions", "use an array with one dimension")
    if isinstance(table, np.ma.MaskedArray):
        if _is_any(np.ma.getmaskarray(table[name])):
            raise _UnsuitableError("has masked values", "fill them, or leave the rows out")
        table = np.asarray(table.data)
    values = table[name]
    if values.dtype.kind not in "iubSV":
        raise _UnsuitableError(f"is {values.dtype}", "use integers, or a fixed number of bytes")
    if values.dtype.kind in "iu" and values.ndim == 1:
        _require_numbers(kind, values)
    whole = np.ascontiguousarray(values)
    count = len(whole)
    return whole.view(np.uint8).reshape(count, -1) if count else np.zeros((0, table.dtype[name].itemsize), np.uint8)


def _is_any(mask: Any) -> bool:
    """Whether anything is masked; of a column that is a struct, any member."""
    return bool(np.frombuffer(np.ascontiguousarray(mask).tobytes(), np.bool_).any())


def _require_numbers(kind: Type, values: NDArray[np.integer[Any]]) -> None:
    """Raise where integers are other numbers in the bytes of a type: of the other byte order, or out of its range.

    An integer of an address is one in network byte order, as in most libraries.
    """
    is_secret, said = kind.sensitive, kind.describe()
    while isinstance(kind, Wrapper):
        kind = kind.inner
    order = kind.byteorder if isinstance(kind, Integer) else "big" if isinstance(kind, Ipv4) else None
    if order is None or values.dtype.itemsize != kind.size:
        return
    if values.dtype.itemsize > 1 and (values.dtype.newbyteorder(order) != values.dtype):
        hint = f"convert it: `.astype('{values.dtype.newbyteorder(order).str}')`, or use bytes: `.view('V{kind.size}')`"
        raise _UnsuitableError(f"is {_ORDERS[order == 'little']}, and {said} is {_ORDERS[order == 'big']}", hint)
    if isinstance(kind, Integer) and kind.signed is not (values.dtype.kind == "i") and len(values):
        least, most = int(values.min()), int(values.max())
        if least < kind.low or most > kind.high:
            number = "a number" if is_secret else least if least < kind.low else most
            raise _UnsuitableError(f"has {number} which does not fit {said}", "use a column of that type")


_ORDERS: Final = ("little-endian", "big-endian")
_ARROW: Final = re.compile(r"(u?)int(8|16|32|64)|fixed_size_binary\[[0-9]+\]")


def _arrow_bytes(values: Any, kind: Type) -> Bytes:
    """A column of integers or of fixed-size binary."""
    made = _ARROW.fullmatch(str(values.type))
    if made is None or values.null_count:
        raise _UnsuitableError("has nulls" if values.null_count else f"is {values.type}")
    width = int(values.type.bit_width) // 8
    parts = [np.zeros((0, width), np.uint8)]
    for chunk in getattr(values, "chunks", [values]):
        if len(chunk):
            data = np.frombuffer(chunk.buffers()[-1], np.uint8)
            parts.append(data[chunk.offset * width : (chunk.offset + len(chunk)) * width].reshape(-1, width))
    rows = np.concatenate(parts)
    if made[2] is not None:
        _require_numbers(kind, rows.view(f"{'u' if made[1] else 'i'}{width}").reshape(-1))
    return rows
