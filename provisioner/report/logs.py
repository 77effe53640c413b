"""Log lines, for people or as JSON with one object per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from provisioner.model.errors import Problem
from provisioner.report.jsontext import dumps
from provisioner.report.style import PLAIN, Colour, Style


class LogLevel(IntEnum):
    """The numbers of syslog, which a service manager reads as `<4>` at the start of a line."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class LogLine(msgspec.Struct, frozen=True):
    """One event: `event` is a stable word for machines, `message` is for people."""

    level: LogLevel
    event: str
    message: str
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)


_COLOURS: dict[LogLevel, Colour] = {LogLevel.ERROR: "red", LogLevel.WARNING: "yellow"}


def as_json(line: LogLine, time: str) -> str:
    """One object; each has `time`, `level`, `event` and `message`."""
    head = {"time": time, "level": line.level.name.lower(), "event": line.event, "message": line.message}
    return dumps({**head, **line.fields})


def as_text(line: LogLine, time: str, style: Style = PLAIN) -> str:
    """A line without its end. `time` is empty if the reader adds its own."""
    word = line.level.name.lower()
    colour = _COLOURS.get(line.level)
    label = f"{style(word, colour) if colour else word}: " if line.level <= LogLevel.WARNING else ""
    place = ":".join(str(part) for name in ("file", "line", "column") if (part := line.fields.get(name)))
    place = place or line.fields.get("address") or ""
    hint = line.fields.get("hint")
    text = f"{place}: {line.message}" if place else line.message
    message = (f"{text} ({hint})" if hint else text).replace("\n", " ")
    return f"{time} {label}{message}" if time else f"{label}{message}"


def of_problems(problems: Sequence[Problem]) -> Iterator[LogLine]:
    """A line for each problem, with its place in separate fields."""
    for problem in problems:
        where = problem.where
        fields = {
            "id": problem.id,
            "file": where.file if where else None,
            "line": (where.line or None) if where else None,
            "column": (where.column or None) if where else None,
            "address": problem.address,
            "hint": problem.hint,
        }
        yield LogLine(LogLevel.ERROR, "error", problem.what, fields)
