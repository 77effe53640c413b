"""A spec file as a stream: its data is digested, searched for marks, and refused if it is not a spec."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Final

from provisioner.document.variables import OPENING
from provisioner.files.content import foreign, other_encoding
from provisioner.model.tree import MARK_COLUMN_BITS

MAX_LINE: Final = 1 << (MARK_COLUMN_BITS - 1)
"""The most bytes of a line: its columns fit into a packed mark."""

_SENSITIVE: Final = b"sensitive"
_VARIABLE: Final = OPENING.encode()
_LONGEST: Final = max(len(_SENSITIVE), len(_VARIABLE))


class NotSpecError(Exception):
    def __init__(self, what: str, hint: str, id: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.id = id


class SpecStream:
    """A stream that digests its data, and refuses data that is not a spec."""

    def __init__(self, stream: BinaryIO, digest: hashlib._Hash) -> None:
        self._stream = stream
        self._digest = digest
        self._line = 0
        self.begin = b""
        self.is_sensitive = False
        self.has_variables = False
        self._end = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if not self.begin:
            self.begin = data[:2]
            if name := other_encoding(data):
                raise NotSpecError(f"the file is {name}, not UTF-8", "save it as UTF-8", "invalid-encoding")
            if other := foreign(data):
                raise NotSpecError(other.what, other.hint, "wrong-file-content")
        self._digest.update(data)
        both = self._end + data
        self.is_sensitive |= _SENSITIVE in both
        self.has_variables |= _VARIABLE in both
        self._end = data[-_LONGEST:]
        newline = data.rfind(b"\n")
        self._line = self._line + len(data) if newline < 0 else len(data) - newline - 1
        if self._line > MAX_LINE:
            raise NotSpecError(
                f"a line is longer than {MAX_LINE:,} bytes", "write one entry per line", "limit-exceeded"
            )
        return data
