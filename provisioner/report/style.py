"""Colour on a terminal: a few escape sequences, which cost nothing when they are off."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Colour = Literal["red", "green", "yellow", "magenta", "cyan", "bold", "dim"]

_CODES: Final[dict[Colour, str]] = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}


class Style(msgspec.Struct, frozen=True):
    """Paints text, if it is on."""

    on: bool = False

    def __call__(self, text: str, colour: Colour) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.on and text else text


PLAIN: Final = Style()
