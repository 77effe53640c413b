"""Recognises files that have replaced the file that was meant: merge conflicts, Git LFS pointers, HTML pages. Pure."""

from __future__ import annotations

from typing import BinaryIO, Final

import msgspec

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_MARKERS: Final = (b"\n<<<<<<< ", b"\n>>>>>>> ")
_OVERLAP: Final = len(_MARKERS[0]) - 1
_CHUNK: Final = 1 << 20
_MAX_CHUNKS: Final = 64


class ForeignContent(msgspec.Struct, frozen=True):
    """What a file has in place of its content, and the next step."""

    what: str
    hint: str


def foreign(begin: bytes) -> ForeignContent | None:
    """The content that the first bytes of a file show; None for an ordinary file."""
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_LFS):
        return ForeignContent("the file is a Git LFS pointer, not its content", "run `git lfs pull`")
    if text.startswith(_HTML):
        return ForeignContent("the file is an HTML or XML page", "check the address that it was downloaded from")
    return None


def conflict_line(stream: BinaryIO) -> int:
    """The number of the first line, from 1, that is a conflict marker of Git; 0 if the first 64 MiB have none."""
    line, rest = 1, b"\n"
    for _ in range(_MAX_CHUNKS):
        data = stream.read(_CHUNK)
        if not data:
            break
        whole = rest + data
        places = [at for marker in _MARKERS if (at := whole.find(marker)) >= 0]
        if places:
            return line + whole.count(b"\n", 0, min(places))
        rest = whole[-_OVERLAP:]
        line += whole.count(b"\n", 0, len(whole) - len(rest))
    return 0
