"""Recognises files that have replaced the file that was meant: merge conflicts, pointers, pages, archives. Pure."""

from __future__ import annotations

from typing import BinaryIO, Final

import msgspec

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_BEGINS: Final = (
    (b"\x1f\x8b", "compressed (gzip)", "decompress it: `gunzip`"),
    (b"BZh91AY&SY", "compressed (bzip2)", "decompress it: `bunzip2`"),
    (b"\xfd7zXZ\0", "compressed (xz)", "decompress it: `unxz`"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "decompress it: `unzstd`"),
    (b"PK\x03\x04", "a zip archive", "extract it: `unzip`"),
    (b"\x7fELF", "a compiled object", "`provisioner init` drafts a spec for it"),
    (b"%PDF-", "a PDF document", "check the path"),
    (b"$ANSIBLE_VAULT;", "encrypted by Ansible Vault", "decrypt it: `ansible-vault decrypt`"),
    (b"-----BEGIN ", "a PEM or PGP block", "check the path, or decrypt it"),
    (b"/annex/objects/", "a git-annex pointer, not its content", "run `git annex get`"),
)
_TAR: Final = 257, b"ustar"
_MARKERS: Final = (b"\n<<<<<<< ", b"\n||||||| ", b"\n>>>>>>> ")
_BASE: Final = _MARKERS[1]
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
    if begin.startswith(_TAR[1], _TAR[0]):
        return ForeignContent("the file is a tar archive", "extract it: `tar -xf`")
    return next(
        (ForeignContent(f"the file is {what}", hint) for magic, what, hint in _BEGINS if begin.startswith(magic)), None
    )


def other_encoding(begin: bytes) -> str:
    """The encoding other than UTF-8 that the first bytes of a text show; empty where there is none.

    Without a byte order mark, UTF-16 shows by the zero byte of each ASCII character.
    """
    if begin.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    zeros = [not byte for byte in begin[:4]]
    is_utf16 = begin.startswith((b"\xff\xfe", b"\xfe\xff")) or zeros in ([False, True] * 2, [True, False] * 2)
    return "UTF-16" if is_utf16 else ""


def conflict_line(stream: BinaryIO, *, has_bars: bool = False) -> int:
    """The number of the first line, from 1, that is a conflict marker of Git; 0 if the first 64 MiB have none.

    The stream can seek, and is at its begin. `has_bars` says that a row of bars can be data.
    """
    markers = [marker for marker in _MARKERS if marker != _BASE or not has_bars]
    passed, rest = 0, b"\n"
    for _ in range(_MAX_CHUNKS):
        data = stream.read(_CHUNK)
        if not data:
            break
        whole = rest + data
        # Most tables have neither character, and one byte is found ten times as fast as nine.
        places = [at for marker in markers if marker[1] in whole and (at := whole.find(marker)) >= 0]
        if places:
            stream.seek(0)
            return 1 + stream.read(passed + min(places)).count(b"\n")
        rest = whole[-_OVERLAP:]
        passed += len(whole) - len(rest)
    return 0
