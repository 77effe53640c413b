"""Blocks of NDJSON whose lines differ only in their values, as programs write them: parsed without `json`.

Such a line is a flat object of integers and of strings without escapes. The form of the first line (names, spaces and
punctuation) is compared with all other lines at once, byte by byte. Other blocks are left to `json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from provisioner.codec.spans import PAD, Spans, parse_decimal
from provisioner.tables.blocks import Block, is_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from provisioner.codec.spans import Positions

    Bytes = NDArray[np.uint8]

_LF: Final = 10
_QUOTE: Final = 34
_SPACE: Final = 32
"""Bytes below are control characters, which a JSON string cannot contain."""

_COLON: Final = re.compile(rb"[ \t\r]*:[ \t\r]*")
_NUMBER: Final = re.compile(rb"([ \t\r]*:[ \t\r]*)-?[0-9]+([ \t\r]*[,}].*)", re.DOTALL)


class _Number(msgspec.Struct, frozen=True):
    """The text before and after a number, up to quotes or the ends of the line."""

    before: bytes
    after: bytes


_Piece = bytes | _Number | None
"""The text between two quotes, or a quote and an end of the line: fixed, a number, or any string."""


class _Form(msgspec.Struct, frozen=True):
    """The pieces of a line between quotes; for each member, the index of the piece with its value."""

    pieces: tuple[_Piece, ...]
    values: dict[str, int]
    controls: int


def split(block: Block, names: Sequence[str]) -> list[Spans] | None:
    """The texts of the members `names`, or None if the block is not plain, so that only `json` can parse it."""
    data = block.ended()
    if b"\\" in data or not is_text(data):
        return None
    form = _read_form(data[: data.index(b"\n")])
    if form is None or any(name not in form.values for name in names):
        return None
    data = PAD + data
    text = np.frombuffer(data, np.uint8)
    cut = np.flatnonzero((text == _QUOTE) | (text == _LF)).astype(np.int32)
    lines, width = block.lines, len(form.pieces)
    # The LF of each line is one more. Other control characters are only in the form, not in strings.
    if len(cut) != lines * width or np.count_nonzero(text[len(PAD) :] < _SPACE) != lines * (form.controls + 1):
        return None
    ends = cut.reshape(lines, width)
    if (text[ends[:, -1]] != _LF).any() or (text[ends[:, :-1]] != _QUOTE).any():
        return None
    starts = np.concatenate(([np.int32(len(PAD))], cut[:-1] + np.int32(1))).reshape(lines, width)
    columns = [
        _column(Spans(data, starts[:, number], ends[:, number]), piece) for number, piece in enumerate(form.pieces)
    ]
    if None in columns:
        return None
    wanted = (columns[form.values[name]] for name in names)
    return [column for column in wanted if column is not None]


def _read_form(line: bytes) -> _Form | None:
    """The form of a line, or None if it is not a flat object of plain values without duplicate members."""
    try:
        members = json.loads(line, object_pairs_hook=lambda pairs: [name for name, _ in pairs], parse_int=str)
    except (ValueError, RecursionError):
        return None
    pieces: list[_Piece] = [*line.split(b'"')]
    values: dict[str, int] = {}
    at = 1
    while at < len(pieces):
        name, colon = pieces[at : at + 2]
        assert isinstance(name, bytes) and isinstance(colon, bytes)
        if number := _NUMBER.fullmatch(colon):
            values[name.decode()] = at + 1
            pieces[at + 1] = _Number(number[1], number[2])
            at += 2
        elif _COLON.fullmatch(colon):
            values[name.decode()] = at + 2
            pieces[at + 2] = None
            at += 4
        else:
            return None
    if list(values) != members:
        return None
    return _Form(tuple(pieces), values, sum(byte < _SPACE for byte in line))


def _column(spans: Spans, piece: _Piece) -> Spans | None:
    """The texts of one piece without the fixed text around them; None if a line has another form."""
    match piece:
        case None:
            return spans
        case bytes():
            return spans if _is_fixed(spans.bytes, spans.starts, spans.ends, piece) else None
        case _Number(before, after):
            if (spans.lengths <= len(before) + len(after)).any():
                return None
            number = spans.cut(spans.starts + np.int32(len(before)), spans.ends - np.int32(len(after)))
            fits = (
                _is_fixed(spans.bytes, spans.starts, number.starts, before)
                and _is_fixed(spans.bytes, number.ends, spans.ends, after)
                and parse_decimal(number) is not None
            )
            return number if fits else None


def _is_fixed(text: Bytes, starts: Positions, ends: Positions, piece: bytes) -> bool:
    """Whether the text between each start and end is `piece`."""
    if (ends - starts != len(piece)).any():
        return False
    if not piece:
        return True
    windows = np.lib.stride_tricks.sliding_window_view(text, len(piece))
    return bool((windows[starts] == np.frombuffer(piece, np.uint8)).all())
