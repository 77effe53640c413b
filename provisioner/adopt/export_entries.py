"""Entries as lines of a spec, or as tables. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from provisioner.adopt.found import FoundMap
from provisioner.codec.display import format_value
from provisioner.model.types import Bytes, Path, Type, Value, leaves

LONG: Final = 64
"""Maps with at least so many entries go to a table."""

LONG_VALUE: Final = 4096
"""Values of at least so many bytes go to a raw file."""

_LONGEST_KEY: Final = 1000
"""Characters: YAML limits a key without `?` to 1024, with its quotes and what escapes it (YAML 1.1, section 7.4.2)."""

_RESERVED: Final = frozenset({"from", "possible_cpus"})
"""Keys with a special meaning in the spec language."""


class EntryWriter:
    """Writes entries; with `tables`, many entries and long values go to `files`."""

    def __init__(self, tables: bool) -> None:
        self._tables = tables
        self.files: dict[str, bytes] = {}

    @staticmethod
    def joined(parts: Sequence[Bytes], size: int) -> Bytes:
        """All rows in one array."""
        return np.concatenate([np.zeros((0, size), np.uint8), *parts])

    def entries(self, label: str, keys: Bytes, values: Bytes, key: Type, value: Type, indent: str) -> Iterator[str]:
        """The `entries` of one map, indented, with owned members only. `label` is the name of its table."""
        keys, value = key.normalise(keys), value.owned
        if not len(keys):
            yield f"{indent}entries: {{}}"
            return
        if self._tables and len(keys) >= LONG:
            table = self._table(label, {"key": key.decode(keys), "value": value.decode(values)})
            yield f"{indent}entries: {table}"
            return
        yield f"{indent}entries:"
        for decoded, text in zip(key.decode(keys), self._values(label, values, value), strict=True):
            bare = key_text(decoded)
            if bare is None:
                yield f"{indent}  - {{key: {format_value(decoded)}, value: {text}}}"
            else:
                yield f"{indent}  {bare}: {text}"

    def _values(self, label: str, values: Bytes, value: Type) -> Iterator[str]:
        if not (self._tables and value.size >= LONG_VALUE):
            yield from map(format_value, value.decode(values))
            return
        for number, row in enumerate(values):
            name = f"{label}-{number}.bin"
            self.files[name] = (row & value.mask()).tobytes()
            yield f"{{from: {format_value(name)}, format: raw}}"

    def long_table(self, live: FoundMap, name: str, outer: Type, key: Type, value: Type) -> str | None:
        """One table for all inner maps, and the line that refers to it; None for few entries.

        All inner maps have entries and the template's capacity, and none is shared.
        """
        total = sum(len(inner.keys) for inner in live.inners)
        if not self._tables or total < LONG or value.size >= LONG_VALUE:
            return None
        inners = [live.inners[number] for number in live.slot_inner]
        slots = np.repeat(np.arange(len(inners)), [len(inner.keys) for inner in inners])
        outer_values = outer.decode(live.slots)
        parts = {
            "outer_key": [outer_values[slot] for slot in slots.tolist()],
            "key": key.decode(key.normalise(self.joined([inner.keys for inner in inners], key.size))),
            "value": value.owned.decode(self.joined([inner.values for inner in inners], value.size)),
        }
        return f"    inner_maps: {self._table(name, parts)}"

    def _table(self, name: str, parts: dict[str, list[Value]]) -> str:
        """Write a table with a row per entry; gives the fields of the spec that refer to it.

        CSV with a column per scalar; NDJSON if rows have different members, or lists.
        """
        split = {part: [tuple(leaves(value)) for value in values] for part, values in parts.items()}
        paths = {part: tuple(path for path, _ in rows[0]) for part, rows in split.items()}
        steps = (step for known in paths.values() for path in known for step in path)
        if any(isinstance(step, int) for step in steps) or any(
            tuple(path for path, _ in row) != paths[part] for part, rows in split.items() for row in rows
        ):
            rows = (dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True))
            self.files[f"{name}.ndjson"] = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
            same = ", ".join(f"{part}: {part}" for part in parts)
            return f"{{from: {format_value(f'{name}.ndjson')}, {same}}}"
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_column(part, path) for part, known in paths.items() for path in known)
        columns = (column for rows in split.values() for column in zip(*map(_texts, rows), strict=True))
        writer.writerows(zip(*columns, strict=True))
        self.files[f"{name}.csv"] = stream.getvalue().encode()
        fields = ", ".join(f"{part}: {_form(values[0], part, ())}" for part, values in parts.items())
        return f"{{from: {format_value(f'{name}.csv')}, {fields}}}"


def _texts(row: Sequence[tuple[Path, str]]) -> tuple[str, ...]:
    return tuple(text for _, text in row)


def _column(part: str, path: Path) -> str:
    return ".".join([part, *map(str, path)])


def _form(value: Value, part: str, path: Path) -> str:
    """A value with the names of columns instead of scalars."""
    if not isinstance(value, dict):
        return format_value(_column(part, path))
    inside = (f"{format_value(name)}: {_form(member, part, (*path, name))}" for name, member in value.items())
    return f"{{{', '.join(inside)}}}"


def key_text(value: Value) -> str | None:
    """A key of a YAML mapping; None if it is not a scalar, or a longer one than YAML takes."""
    if isinstance(value, dict | list):
        return None
    text = format_value(value)
    if len(text) > _LONGEST_KEY:
        return None
    if isinstance(value, str) and text == value and (value in _RESERVED or ".." in value):
        return f'"{value}"'
    return text
