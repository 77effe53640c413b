"""Blocks of whole lines: a table is parsed several thousand rows at a time, not row by row."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
import numpy as np

from provisioner.model.tree import MARK_COLUMN_BITS, Find, RawChunk

if TYPE_CHECKING:
    from provisioner.codec.spans import Spans
    from provisioner.model.types import Path

BLOCK_BYTES: Final = 1 << 18
"""Bytes of a block: the block and its results stay in the cache."""

FEW_BYTES: Final = 1 << 12
"""Below this size, parsing row by row is faster than with NumPy."""

MAX_LINE_BYTES: Final = 1 << 24
"""Bytes of a line: one that is longer is not an entry."""

_LF: Final = 10


class Block(msgspec.Struct, frozen=True):
    """Whole lines of a file: their bytes and offset, the number of the first line, from 1, and of lines."""

    data: bytes
    offset: int
    line: int
    lines: int

    def ended(self) -> bytes:
        """The lines, each with a LF, which the last line of the file can lack."""
        return self.data if self.data.endswith(b"\n") else self.data + b"\n"


def blocks(stream: BinaryIO, line: int) -> Iterator[Block]:
    """The rest of a file, which begins with line number `line`. A very long line is a separate block.

    Raises OSError for one that is too long.
    """
    rest = b""
    offset = stream.tell()
    while True:
        data = stream.read(BLOCK_BYTES)
        whole = rest + data
        end = whole.rfind(b"\n") + 1 if data else len(whole)
        if end:
            lines = whole.count(b"\n", 0, end) + (whole[end - 1] != _LF)
            yield Block(whole[:end], offset, line, lines)
            offset, line = offset + end, line + lines
        rest = whole[end:]
        if len(rest) > MAX_LINE_BYTES:
            raise line_too_long(line)
        if not data:
            return


def line_too_long(number: int) -> OSError:
    return OSError(errno.EFBIG, f"line {number} is longer than {MAX_LINE_BYTES:,} bytes")


def is_text(data: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def block_chunk(file: str, columns: Mapping[Path, Spans], block: Block, find: Find) -> RawChunk:
    """The chunk of a block in which each line is a row."""
    lines = np.arange(block.line, block.line + block.lines, dtype=np.uint64)
    marks = array("Q", (lines << np.uint64(MARK_COLUMN_BITS)).tobytes())
    return RawChunk(file, block.lines, columns, dict.fromkeys(columns, marks), find)
