"""Colors of a terminal, and the one place where text of others becomes safe for it.

A style marks text with noncharacters of Unicode, which are for internal use. `on_terminal` turns these into escape
sequences and makes everything else visible that a terminal would act on, from any source: names of pins, values,
arguments of other processes. So no renderer has to know which text is whose.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from provisioner.model.words import visible_char

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
_FIRST_MARK: Final = 0xFDD0
_END: Final = chr(_FIRST_MARK + len(_CODES))
_MARKS: Final = {colour: chr(_FIRST_MARK + number) for number, colour in enumerate(_CODES)}
_SEQUENCES: Final = {_MARKS[colour]: f"\x1b[{code}m" for colour, code in _CODES.items()} | {_END: "\x1b[0m"}


def is_mark(char: str) -> bool:
    """Whether a character marks the beginning or the end of a color, and is not shown."""
    return _FIRST_MARK <= ord(char) <= _FIRST_MARK + len(_CODES)


class Style(msgspec.Struct, frozen=True):
    """Marks text with a color, if it is on."""

    on: bool = False

    def __call__(self, text: str, colour: Colour) -> str:
        return f"{_MARKS[colour]}{text}{_END}" if self.on and text else text


PLAIN: Final = Style()


def on_terminal(line: str, style: Style = PLAIN) -> str:
    """A line for a terminal: colors as escape sequences if `style` is on, control characters as in Python."""
    if line.isprintable():
        return line
    sequences = _SEQUENCES if style.on else {}
    return "".join(char if char.isprintable() else sequences.get(char) or visible_char(char) for char in line)
