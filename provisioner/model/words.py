"""Counts, sizes and text of unknown origin, for messages. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final


class Hidden(str):
    """The text that takes the place of a sensitive value in all output; a string, so that JSON takes it."""

    __slots__ = ()


HIDDEN: Final = Hidden("(sensitive)")


def plural(count: int, singular: str, many: str = "") -> str:
    """`1 entry`, `12,000 entries`."""
    return f"{count:,} {singular if count == 1 else many or singular + 's'}"


def with_article(noun: str) -> str:
    """A map type with its article, as it is spoken: `an array`, `an lru_hash`, `a hash`."""
    return f"{'an' if noun[:1] in 'aeiolx' else 'a'} {noun}"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one: `12.0 MiB`."""
    amount, unit = float(count), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def visible(text: str) -> str:
    """Text on one line without control characters, which a terminal would act on: they are written as in Python."""
    return text if text.isprintable() else "".join(map(visible_char, text))


def visible_char(char: str) -> str:
    """A character, or its escape in Python if it cannot be printed."""
    return char if char.isprintable() else ascii(char)[1:-1]


def odd_characters(text: str) -> str:
    """A hint that names what a reader cannot see in `text`: control characters, spaces at the ends; else empty."""
    for char in text:
        if char == "\n":
            return "remove the line break"
        if char == "\t":
            return "remove the tab"
        if not char.isprintable():
            return f"remove the invisible character {_code_point(char)}"
    if text != text.strip():
        sides = ("leading" if text != text.lstrip() else "", "trailing" if text != text.rstrip() else "")
        return f"remove the {' and the '.join(filter(None, sides))} space"
    return ""


def foreign_letter(text: str) -> str:
    """The first letter outside ASCII and its name, as it can look like an ASCII letter; empty if there is none."""
    foreign = next((char for char in text if char.isalpha() and not char.isascii()), "")
    return f"`{foreign}` is {_code_point(foreign)}" if foreign else ""


def _code_point(char: str) -> str:
    name = unicodedata.name(char, "").lower()
    return f"U+{ord(char):04X} ({name})" if name else f"U+{ord(char):04X}"
