"""Long lines on a narrow terminal: the rest of a line goes below the text that it continues. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from provisioner.report.style import is_mark

_COLUMN: Final = re.compile(r" *\S.*? {2,}(?=\S)")
"""The beginning of a line with columns: what is before its second one."""

_LEAST: Final = 24
"""Fewer columns than this are not worth a break."""


def wrapped(line: str, width: int) -> Iterator[str]:
    """A line in pieces of at most `width` columns, broken at spaces; a word that is longer stays whole.

    The pieces after the first are indented as the last column of the line, or as the line. Marks of a `Style` take no
    room.
    """
    if len(line) <= width:
        yield line
        return
    places = [at for at, char in enumerate(line) if not is_mark(char)]
    plain = "".join(line[at] for at in places)
    if len(plain) <= width:
        yield line
        return
    indent = _indent(plain, width)
    start, room, first = 0, width, True
    while len(plain) - start > room:
        least = indent if first else 0
        end = plain.rfind(" ", start + least + 1, start + room + 1)
        if end < 0:
            end = plain.find(" ", start + room)
        if end < 0:
            break
        yield ("" if first else " " * indent) + line[_from(places, start) : places[end]]
        start, room, first = end + 1, width - indent, False
    yield ("" if first else " " * indent) + line[_from(places, start) :]


def _indent(plain: str, width: int) -> int:
    """The column in which a continued line begins."""
    least = len(plain) - len(plain.lstrip())
    beginning = _COLUMN.match(plain)
    if beginning is not None and beginning.end() <= width - _LEAST:
        return beginning.end()
    return least if least <= width - _LEAST else 0


def _from(places: list[int], start: int) -> int:
    """Where a piece begins in the line, with the marks in front of it."""
    return places[start - 1] + 1 if start else 0
