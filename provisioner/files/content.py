"""Recognises files that have replaced the file that was meant: merge conflicts, Git LFS pointers, HTML pages. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_MARKERS: Final = (b"<<<<<<< ", b">>>>>>> ", b"||||||| ")


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


def conflict_marker(lines: Iterable[bytes]) -> int:
    """The number of the first line, from 1, that is a conflict marker of Git; 0 if there is none."""
    return next((number for number, line in enumerate(lines, start=1) if line.startswith(_MARKERS)), 0)
