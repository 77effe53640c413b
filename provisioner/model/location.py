"""Places in the user's files."""

from __future__ import annotations

import msgspec


class Location(msgspec.Struct, frozen=True, order=True):
    """A place in a file; `line` and `column` count from 1, as editors do.

    Line 0 means the whole file, such as a missing or binary file.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.line == 0:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"

    def short(self) -> str:
        """File and line, for a second place in a message."""
        return f"{self.file}:{self.line}"
