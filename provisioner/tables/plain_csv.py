"""Blocks of CSV without quotes: the begins and ends of all fields are found at once."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Final

import numpy as np

from provisioner.codec.spans import PAD, Spans
from provisioner.tables.blocks import Block, is_text

_LF: Final = 10
_CR: Final = 13


def split(block: Block, delimiter: str, width: int, numbers: Sequence[int]) -> list[Spans] | None:
    """The fields of the columns `numbers`, or None if the block is not plain, so that only `csv` can parse it.

    In a plain block only the delimiter and the line ends (LF, or CRLF in all lines) have a meaning, each row has
    `width` fields, and no line is empty.
    """
    data = block.ended()
    if b'"' in data or b"\0" in data or not is_text(data):
        return None
    data = PAD + data
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero((text == ord(delimiter)) | (text == _LF)).astype(np.int32)
    if len(ends) != width * block.lines:
        return None
    at = ends.reshape(-1, width)
    # There are as many rows as lines: if each row ends where a line does, no line ends within a row.
    if (text[at[:, -1]] != _LF).any():
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
