"""Counts, sizes and foreign text in words. Pure."""

from __future__ import annotations

from typing import Final


class Hidden(str):
    """The text that takes the place of a sensitive value in all output; a string, so that JSON takes it."""

    __slots__ = ()


HIDDEN: Final = Hidden("(sensitive)")


def plural(count: int, one: str, many: str = "") -> str:
    """`1 entry`, `12,000 entries`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one: `12.0 MiB`."""
    amount, unit = float(count), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def visible(text: str) -> str:
    """Text on one line, with nothing in it that a terminal would act on: a newline is written as in Python."""
    return text if text.isprintable() else "".join(map(visible_char, text))


def visible_char(char: str) -> str:
    """A character as it is, or as Python writes it where it cannot be printed."""
    return char if char.isprintable() else ascii(char)[1:-1]
