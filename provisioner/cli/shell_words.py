"""Completed words as a shell reads them. The names of files and the keys of a spec can come from others. Pure.

bash inserts a word into the command line as it is, and zsh evaluates all of them: `$(...)` in a name would run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:,@%+=^-[]")
_NEVER_RUN: Final = _PLAIN | frozenset(" {}")
"""Characters that cannot run anything, with or without quotes."""


def for_bash(words: Iterable[str], line: str) -> list[str]:
    """The words that can be inserted at the end of a line: quoted, unless a quote of the line is open.

    Within a quote, words with special characters are left out: for names of files, bash then completes by itself.
    """
    printable = [word for word in words if word.isprintable()]
    if _is_quoted(line):
        return [word for word in printable if all(char in _NEVER_RUN or ord(char) > 127 for char in word)]
    return [_escaped(word) for word in printable]


def _escaped(word: str) -> str:
    """A word with a backslash before each special character; this runs nothing within an open quote either."""
    if all(char in _PLAIN or ord(char) > 127 for char in word):
        return word
    plain = _PLAIN - frozenset("[]")  # in typer's script of earlier releases, bash would look for such a file
    return "".join(char if char in plain or ord(char) > 127 else f"\\{char}" for char in word)


def _is_quoted(line: str) -> bool:
    """Whether a line ends within quotes."""
    opened = ""
    characters = iter(line)
    for char in characters:
        if char == "\\" and opened != "'":
            next(characters, "")
        elif opened:
            opened = "" if char == opened else opened
        elif char in "'\"":
            opened = char
    return bool(opened)


def for_zsh(words: Iterable[tuple[str, str]]) -> str:
    """A call of `_arguments` that offers words with their descriptions. The script passes it to `eval`."""
    items = " ".join(_item(word, help) for word, help in words if word.isprintable())
    return "_arguments " + _single_quoted("*: :((" + items.replace(":", "\\:") + "))")


def _item(word: str, help: str) -> str:
    """`WORD:DESCRIPTION`, in which a backslash quotes, as one word."""
    literal = word.replace("\\", "\\\\").replace(":", "\\:")
    return _single_quoted(f"{literal}:{' '.join(help.split())}" if help else literal)


def for_powershell(word: str) -> str:
    """A word, in quotes if PowerShell reads something else in it."""
    if all(char in _PLAIN and char not in "@," for char in word):
        return word
    return "'" + word.replace("'", "''") + "'"


def _single_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
