"""Values as text, as a user writes them in a spec: one line, flow style."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np

from provisioner.model.types import HIDDEN, Abridged, Bytes, Hidden, Type, Value

LONG: Final = 256
"""The most bytes of a value that are printed; longer values are shown as length and digest."""

ARROW: Final = " -> "

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


def display(type_: Type, row: Bytes) -> str:
    """One value, shape (size,), for people: sensitive parts hidden, over `LONG` bytes only length and digest."""
    value = _hidden(type_)
    if value is not None:
        return format_value(value)
    if type_.size > LONG:
        if type_.sensitive:
            return f"{type_.size:,} bytes, partly {HIDDEN}"
        return f"{type_.size:,} bytes, sha256 {digest(type_, row)}"
    return format_value(type_.conceal(type_.decode(row[None, :])[0]))


def display_change(type_: Type, before: Bytes, after: Bytes) -> str:
    """The change between two values of shape (size,); over `LONG` bytes, the place of the first difference."""
    if _hidden(type_) is not None:
        return f"{HIDDEN}, changed"
    if type_.size > LONG:
        changed = np.flatnonzero((before ^ after) & type_.mask())
        place = f", first difference at byte {changed[0]:,}" if changed.size else ""
        if type_.sensitive:
            return f"{type_.size:,} bytes, partly {HIDDEN}{place}"
        return f"{type_.size:,} bytes, sha256 {digest(type_, before)}{ARROW}{digest(type_, after)}{place}"
    old, new = (type_.conceal(type_.decode(row[None, :])[0]) for row in (before, after))
    return difference(old, new)


def digest(type_: Type, row: Bytes) -> str:
    """The first 12 hex digits of the SHA-256 of a value with padding set to zero."""
    return hashlib.sha256((row & type_.mask()).tobytes()).hexdigest()[:12]


def _hidden(type_: Type) -> Hidden | None:
    """`HIDDEN` for a type of which nothing is shown, else None."""
    concealed = type_.conceal(type_.example()) if type_.sensitive else None
    return HIDDEN if concealed is HIDDEN else None
