"""Values as text, as a user writes them in a spec: one line, flow style."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from provisioner.codec.long_values import LONG, Digest, digest, readable
from provisioner.model.types import HIDDEN, Abridged, Bytes, Hidden, Type, Value

WIDTH: Final = 64
"""The most characters of a text of a long value that are printed. JSON has all of them."""

ARROW: Final = " -> "

_BEFORE: Final = 16
"""The characters before the first difference of two long texts that are printed."""

_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[A-Za-z0-9_./:@%+-]*[A-Za-z0-9_./@%+-])?", re.ASCII)
_OTHER_TYPE = re.compile(
    r"true|false|yes|no|on|off|y|n|null|[-+]?\.inf|\.nan"
    r"|[-+]?[0-9][0-9_]*|0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+"
    r"|[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:e[-+]?[0-9]+)?"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*",
    re.ASCII | re.IGNORECASE,
)
"""Texts that a YAML reader without types does not read as text."""

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def format_value(value: Value) -> str:
    """`{ip: 192.0.2.10, port: 443}`: a decoded value as YAML, quoted only where necessary."""
    match value:
        case Hidden() | Abridged():
            return str(value)
        case None:
            return "~"
        case bool():
            return str(value).lower()
        case str():
            return value if _PLAIN.fullmatch(value) and not _OTHER_TYPE.fullmatch(value) else _quoted(value)
        case dict():
            return "{" + ", ".join(f"{format_value(name)}: {format_value(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(format_value, value)) + "]"
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char) or _escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    """A character inside double quotes; a control character is written as its number."""
    if char.isprintable():
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def difference(before: Value, after: Value) -> str:
    """`{ip: 192.0.2.11 -> 192.0.2.12, port: 443}`: the changes between two values, member by member."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        parts = (f"{format_value(name)}: {difference(before[name], after[name])}" for name in before)
        return "{" + ", ".join(parts) + "}"
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return "[" + ", ".join(difference(*pair) for pair in zip(before, after, strict=True)) + "]"
    old, new = format_value(before), format_value(after)
    return old if old == new else old + ARROW + new


def brief(value: Value) -> str:
    """As `format_value`, with long texts cut: `/usr/lib/a... (312 characters)`."""
    match value:
        case str() if not isinstance(value, Abridged):
            return _from(value, 0)
        case dict():
            return "{" + ", ".join(f"{format_value(name)}: {brief(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(brief, value)) + "]"
        case _:
            return format_value(value)


def _from(text: str, start: int) -> str:
    """`WIDTH` characters of a text from `start` on; all of it if it is not longer."""
    if len(text) <= WIDTH:
        return format_value(text)
    part = text[start : start + WIDTH]
    before, after = "..." if start else "", "..." if start + WIDTH < len(text) else ""
    return f"{before}{format_value(part)}{after} ({len(text):,} characters)"


def brief_difference(before: Value, after: Value) -> str:
    """As `difference`, with changed members first, only changed elements of lists, and long texts cut."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        changed = [name for name in before if before[name] != after[name]]
        same = [name for name in before if before[name] == after[name]]
        parts = [f"{format_value(name)}: {brief_difference(before[name], after[name])}" for name in changed]
        return "{" + ", ".join(parts + [f"{format_value(name)}: {brief(before[name])}" for name in same]) + "}"
    if before == after:
        return brief(before)
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = list(enumerate(zip(before, after, strict=True)))
        parts = [f"[{at}]: {brief_difference(*pair)}" for at, pair in pairs if pair[0] != pair[1]]
        rest = f"; {len(pairs) - len(parts)} of {len(pairs)} elements unchanged" if len(parts) < len(pairs) else ""
        return "{" + ", ".join(parts) + rest + "}"
    if isinstance(before, str) and isinstance(after, str) and not isinstance(before, Abridged):
        start = _start(before, after)
        return _from(before, start) + ARROW + _from(after, start)
    return brief(before) + ARROW + brief(after)


def _start(before: str, after: str) -> int:
    """Where two texts are printed from, so that their first difference is in sight."""
    pairs = enumerate(zip(before, after, strict=False))
    first = next((at for at, (old, new) in pairs if old != new), min(len(before), len(after)))
    return first - _BEFORE if first > WIDTH - _BEFORE else 0


def display(type_: Type, row: Bytes) -> str:
    """One value, shape (size,), for people: sensitive parts hidden; of a long one, long texts are cut."""
    value = _hidden(type_)
    if value is not None:
        return format_value(value)
    shown = readable(type_)
    return text_of(type_, shown.conceal(shown.decode(row[None, :])[0]))


def text_of(type_: Type, value: Value) -> str:
    """A decoded value of a type for people."""
    return brief(value) if type_.size > LONG else format_value(value)


def display_change(type_: Type, before: Bytes, after: Bytes) -> str:
    """The change between two values of shape (size,); of one that is only a digest, the place of the difference."""
    if _hidden(type_) is not None:
        return f"{HIDDEN}, changed"
    shown = readable(type_)
    old, new = (shown.conceal(shown.decode(row[None, :])[0]) for row in (before, after))
    if not isinstance(shown, Digest):
        return brief_difference(old, new) if type_.size > LONG else difference(old, new)
    changed = np.flatnonzero((before ^ after) & type_.mask())
    place = f", first difference at byte {changed[0]:,}" if changed.size else ""
    return f"{old}{place}" if type_.sensitive else f"{old}{ARROW}{digest(type_, after)}{place}"


def _hidden(type_: Type) -> Hidden | None:
    """`HIDDEN` for a type of which nothing is shown, else None."""
    concealed = type_.conceal(type_.example()) if type_.sensitive else None
    return HIDDEN if concealed is HIDDEN else None
