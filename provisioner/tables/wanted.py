"""Which columns of a table are wanted, and where each one's text goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import TableRef

if TYPE_CHECKING:
    from provisioner.model.types import Path


class Wanted(msgspec.Struct, frozen=True):
    """A table's column `name` gives the text at `path`; `where` is the place in the spec that says so."""

    path: Path
    name: str
    where: Location


def wanted_columns(table: TableRef) -> tuple[Wanted, ...]:
    """The columns that `table` names; unnamed, a key is in the column `key` and a value in `value`."""
    found: list[Wanted] = []
    for prefix, column in (("outer", table.outer_key), ("key", table.key), ("value", table.value)):
        if column is not None:
            found += [Wanted((prefix, *path), name, column.where) for path, name in column.columns]
        elif prefix != "outer":
            found.append(Wanted((prefix,), prefix, table.file.where))
    return tuple(found)


def missing(one: Wanted, file: str, names: Iterable[str], problems: Problems, hint: str = "") -> None:
    """Add, at the spec's line, that the table has no such column."""
    problems.add(f"{file} has no column `{one.name}`", one.where, hint or did_you_mean(one.name, set(names)))


def origin(path: Path, wanted: Sequence[Wanted]) -> tuple[int, Path]:
    """The number of the wanted column that the text at `path` comes from, and the path that is left inside of it.

    A path that is above several columns, as that of a whole struct, is taken for the first of them.
    """
    for number, one in enumerate(wanted):
        if path[: len(one.path)] == one.path:
            return number, path[len(one.path) :]
    return next((number for number, one in enumerate(wanted) if one.path[: len(path)] == path), 0), ()
