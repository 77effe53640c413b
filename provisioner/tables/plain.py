"""Blocks of CSV in which no field is quoted: where the fields begin and end is found for all of them at once."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
import numpy as np

from provisioner.codec.spans import PAD, Spans
from provisioner.tables.chunks import Find, TableChunk
from provisioner.tree import MARK_COLUMN_BITS

if TYPE_CHECKING:
    from provisioner.codec.base import Path

BLOCK_BYTES: Final = 1 << 18
"""Text that is looked at at once: it, and what is made of it, stays in the cache."""

_LF, _CR = 10, 13


class Block(msgspec.Struct, frozen=True):
    """Whole lines of a file, as they stand there: where they begin, and the number of the first, from 1."""

    data: bytes
    offset: int
    line: int

    @property
    def lines(self) -> int:
        return self.data.count(b"\n") + (not self.data.endswith(b"\n"))


def blocks(stream: BinaryIO, line: int) -> Iterator[Block]:
    """The rest of a file, which begins with line number `line`. A line that is very long is a block of its own."""
    rest = b""
    offset = stream.tell()
    while True:
        data = stream.read(BLOCK_BYTES)
        whole = rest + data
        end = whole.rfind(b"\n") + 1 if data else len(whole)
        if end:
            block = Block(whole[:end], offset, line)
            yield block
            offset, line = offset + end, line + block.lines
        rest = whole[end:]
        if not data:
            return


def split(block: Block, delimiter: str, width: int, numbers: Sequence[int]) -> list[Spans] | None:
    """The fields in the columns `numbers`, or None where the block is not plain: some row may be told by `csv` alone.

    In a plain one no byte means anything but the delimiter and the ends of lines (LF, or CRLF throughout), each row has
    `width` fields, and no line is empty.
    """
    data = block.data if block.data.endswith(b"\n") else block.data + b"\n"
    if b'"' in data or b"\0" in data or not _is_text(data):
        return None
    data = PAD + data
    text = np.frombuffer(data, np.uint8)
    found = np.flatnonzero((text == ord(delimiter)) | (text == _LF)).astype(np.int32)
    if len(found) % width:
        return None
    at = found.reshape(-1, width)
    ends_line = text[at] == _LF
    if not ends_line[:, -1].all() or ends_line[:, :-1].any():
        return None
    starts = np.empty_like(at)
    starts[:, 1:] = at[:, :-1] + 1
    starts[0, 0], starts[1:, 0] = len(PAD), at[:-1, -1] + 1
    if b"\r" in data:
        at = at.copy()
        at[:, -1] -= 1
        if data.count(b"\r") != len(at) or (text[at[:, -1]] != _CR).any():
            return None
    lengths = at - starts
    if int(lengths.max()) > csv.field_size_limit() or (width == 1 and not lengths.all()):
        return None
    return [Spans(data, starts[:, number].copy(), at[:, number].copy()) for number in numbers]


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def make_plain_chunk(file: str, columns: Mapping[Path, Spans], block: Block, find: Find) -> TableChunk:
    """The wanted columns of a plain block."""
    first = block.line
    rows = block.lines
    marks = array("Q", (np.arange(first, first + rows, dtype=np.uint64) << np.uint64(MARK_COLUMN_BITS)).tobytes())
    return TableChunk(file, rows, columns, dict.fromkeys(columns, marks), find)
