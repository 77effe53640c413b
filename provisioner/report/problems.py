"""Errors as text, as JSON, and as annotations of GitHub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from unicodedata import east_asian_width

from provisioner.model.errors import Problem
from provisioner.model.location import Location
from provisioner.model.words import visible
from provisioner.report.jsontext import dumps
from provisioner.report.style import PLAIN, Style
from provisioner.report.workflow_commands import harmless

_WINDOW: Final = 100
"""The longest excerpt of a line, in characters."""

_TAB: Final = 4


def text(
    problems: Sequence[Problem], lines: Mapping[Location, str] | None = None, style: Style = PLAIN
) -> Iterator[str]:
    """Lines without their ends: each problem with its line of the file, if `lines` has it, and a caret below.

    A message of several lines, such as a log of the verifier, is indented after its first line: text of others cannot
    look like another error, nor be a workflow command of GitHub.
    """
    yield from map(harmless, _lines(problems, lines, style))


def _lines(problems: Sequence[Problem], lines: Mapping[Location, str] | None, style: Style) -> Iterator[str]:
    for problem in problems:
        place = str(problem.where) if problem.where else problem.address
        label = style(f"error[{problem.id}]:" if problem.id else "error:", "red")
        what, *more = map(visible, problem.what.split("\n") if problem.where is None else [problem.what])
        yield f"{style(visible(place), 'bold')}: {label} {what}" if place else f"{label} {what}"
        yield from (f"    {each}" for each in more)
        line = (lines or {}).get(problem.where) if problem.where else None
        if line is not None and problem.where is not None:
            yield from _excerpt(line, problem.where.column, style)
        if problem.hint:
            yield f"  {style('hint:', 'cyan')} {visible(problem.hint)}"
    if len(problems) > 1:
        yield f"{len(problems):,} errors"


def as_json(problems: Iterable[Problem]) -> str:
    """One document: `{"errors": [...]}`. A problem without a place in a file has null for it."""
    return dumps({"errors": list(map(as_value, problems))}, indent=2)


def as_value(problem: Problem) -> dict[str, str | int | None]:
    """One problem as an object of JSON."""
    where = problem.where
    return {
        "id": problem.id,
        "file": where.file if where else None,
        "line": (where.line or None) if where else None,
        "column": (where.column or None) if where else None,
        "address": problem.address,
        "message": problem.what,
        "hint": problem.hint,
    }


def github(problems: Iterable[Problem]) -> Iterator[str]:
    """Workflow commands, which GitHub shows at their lines."""
    for problem in problems:
        where = problem.where
        place = [f"title={_property(problem.id)}"] if problem.id else []
        if where is not None:
            place += [f"file={_property(where.file)}"]
            place += [f"line={where.line}", f"col={where.column}"] if where.line else []
        message = f"{problem.what}\n{problem.hint}" if problem.hint else problem.what
        if where is None and problem.address:
            message = f"{problem.address}: {message}"
        yield f"::error {','.join(place)}::{_data(message)}" if place else f"::error::{_data(message)}"


def _data(text: str) -> str:
    """Text of a workflow command. The log shows it too, and acts on control characters as a terminal does."""
    return "%0A".join(visible(line).replace("%", "%25") for line in text.split("\n"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _excerpt(line: str, column: int, style: Style) -> Iterator[str]:
    """The line and a caret below its `column`, counted from 1; a long line is cut around it."""
    at = max(column - 1, 0)
    first = max(0, at - _WINDOW // 2) if len(line) > _WINDOW else 0
    part = line[first : first + _WINDOW]
    before, after = ("... " if first else ""), (" ..." if first + _WINDOW < len(line) else "")
    drawn = "".join(_drawn(char) for char in part)
    yield f"    {before}{drawn}{after}"
    if column:
        blank = len(before) + sum(_cells(char) for char in part[: at - first])
        yield " " * (4 + blank) + style("^", "red")


def _drawn(char: str) -> str:
    if char == "\t":
        return " " * _TAB
    return char if char.isprintable() else "?"


def _cells(char: str) -> int:
    """Cells of a terminal that a character takes."""
    if char == "\t":
        return _TAB
    return 2 if east_asian_width(char) in "WF" else 1
