"""The columns that a table reference uses, and the path of the text of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import TableRef

if TYPE_CHECKING:
    from provisioner.model.types import Path


class WantedColumn(msgspec.Struct, frozen=True):
    """The column `name` of a table has the text at `path`; `where` is the place in the spec that names it."""

    path: Path
    name: str
    where: Location


def wanted_columns(table: TableRef) -> tuple[WantedColumn, ...]:
    """The columns that `table` names; the default of a key is the column `key`, of a value `value`."""
    wanted: list[WantedColumn] = []
    for prefix, column in (("outer", table.outer_key), ("key", table.key), ("value", table.value)):
        if column is not None:
            wanted += [WantedColumn((prefix, *path), name, column.where) for path, name in column.columns]
        elif prefix != "outer":
            wanted.append(WantedColumn((prefix,), prefix, table.file.where))
    return tuple(wanted)


def add_missing(column: WantedColumn, file: str, names: Iterable[str], problems: Problems, hint: str = "") -> None:
    """Add, at the line of the spec, that the table does not have the column."""
    what = f"{file} has no column `{column.name}`"
    problems.add(what, column.where, hint or did_you_mean(column.name, set(names)), id="missing-column")


def origin(path: Path, wanted: Sequence[WantedColumn]) -> tuple[int, Path]:
    """The index of the wanted column of the text at `path`, and the rest of the path inside of it.

    A path above several columns, such as that of a whole struct, belongs to the first of them.
    """
    for number, column in enumerate(wanted):
        if path[: len(column.path)] == column.path:
            return number, path[len(column.path) :]
    return next((number for number, column in enumerate(wanted) if column.path[: len(path)] == path), 0), ()
