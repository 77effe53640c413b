"""The tree of all spec files, with the files that it was read from."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from provisioner.document.substitute import NO_USES
from provisioner.files.reading import InputFile
from provisioner.model.given import Uses
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode


class SourceFile(msgspec.Struct, frozen=True):
    """A file that was read. Its lines are read again when a message shows one."""

    file: InputFile | None
    content: bytes | None = None

    def lines(self, numbers: Sequence[int]) -> dict[int, str]:
        """Lines by number, from 1, without their ends, in one pass; lines that do not exist are left out."""
        wanted = set(numbers)
        lines: dict[int, str] = {}
        try:
            raw = io.BytesIO(self.content or b"") if self.file is None else self.file.open()
            with io.TextIOWrapper(raw, "utf-8", "replace") as stream:
                for at, line in enumerate(stream, start=1):
                    if at in wanted:
                        lines[at] = line.rstrip("\n")
                        if len(lines) == len(wanted):
                            break
        except OSError:  # the file does not exist any more: the message has no line
            pass
        return lines


class Document(msgspec.Struct, frozen=True):
    """All files as one tree. `digest` is the SHA-256, in hex, of all files in the order of reading.

    `files` are the files that were read, `unread` those in the same directories that look like specs and were not
    read. `roots` are the directories of the given files, which contain all files that they name. `overlays` are the
    overlay files.
    `is_sensitive` says that a spec file mentions `sensitive`: then no message shows a line of any file, because the
    value of another field can be in the same line. `uses` has the places of variables, `values`
    the values of all that are used.
    """

    tree: MappingNode
    files: Mapping[str, SourceFile]
    digest: str
    roots: tuple[Path, ...]
    overlays: frozenset[str] = frozenset()
    is_sensitive: bool = False
    unread: tuple[Path, ...] = ()
    uses: Uses = NO_USES
    values: Mapping[str, str] = {}

    def line(self, where: Location) -> str | None:
        """The text of the line at `where`."""
        return self.lines([where]).get(where)

    def lines(self, places: Sequence[Location]) -> dict[Location, str]:
        """The text of the line at each place, each file read once; nothing if a type is sensitive."""
        if self.is_sensitive:
            return {}
        lines: dict[Location, str] = {}
        for name in {place.file for place in places} & self.files.keys():
            here = [place for place in places if place.file == name]
            texts = self.files[name].lines([place.line for place in here])
            lines |= {place: texts[place.line] for place in here if place.line in texts}
        return lines
