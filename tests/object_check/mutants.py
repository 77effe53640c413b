"""Damaged objects: any word of any section changed, bytes flipped, files cut short. The same at each run."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Final

_PLAIN: Final = (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF8, 0x10000, 0x00FFFFFF)


class Mutants:
    """The mutants of one object, by number."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._words = _interesting(data)

    def make(self, number: int) -> bytes:
        """Mutant `number`: the same at each call."""
        chance = random.Random(number)
        data = bytearray(self._data)
        match chance.randrange(16):
            case 0:
                return bytes(data[: chance.randrange(len(data))])
            case 1 | 2:
                for _ in range(chance.randint(1, 16)):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 3:
                for _ in range(2):
                    self._change(data, chance)
            case _:
                self._change(data, chance)
        return bytes(data)

    def _change(self, data: bytearray, chance: random.Random) -> None:
        at = chance.choice(self._words)
        (word,) = struct.unpack_from("<I", data, at)
        match chance.randrange(6):
            case 0:
                word = chance.choice(_PLAIN)
            case 1:
                word ^= 1 << chance.randrange(32)
            case 2:
                word = max(0, word + chance.choice((-8, -4, -2, -1, 1, 2, 4, 8))) & 0xFFFFFFFF
            case 3:
                word = chance.randrange(256)
            case 4:
                word = chance.randrange(1 << 32)
            case _:
                (word,) = struct.unpack_from("<I", data, chance.choice(self._words))
        struct.pack_into("<I", data, at, word)


def section(data: bytes, wanted: str) -> tuple[int, int]:
    """The offset and the size of a section of an object."""
    return next((begin, length) for name, _, begin, length in _sections(data) if name == wanted)


def _sections(data: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Name, type, offset and size of each section."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    (names_at,) = struct.unpack_from("<Q", data, table + size * names + 24)
    for at in range(table + size, table + size * count, size):
        name, kind = struct.unpack_from("<II", data, at)
        begin, length = struct.unpack_from("<QQ", data, at + 24)
        yield data[names_at + name : data.index(b"\0", names_at + name)].decode(), kind, begin, length


def _interesting(data: bytes) -> list[int]:
    """The offsets of all words that libbpf reads: the headers, and the sections that are not debug information."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    offsets = list(range(0, 64, 4)) + list(range(table, table + size * count, 4))
    for name, kind, begin, length in _sections(data):
        if kind != 8 and ".debug_" not in name:
            offsets += range(begin, begin + length - 3, 4)
    return offsets
