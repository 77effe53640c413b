"""Records in an array: a program walks them, and does the same for each. Pure."""

from __future__ import annotations

from typing import Final

from provisioner.bytecode.assembler import R1, R2, R3, R4, Assembler, Helper
from provisioner.model.uapi import MapType

BY_KEY: Final = frozenset(
    {
        MapType.HASH,
        MapType.ARRAY,
        MapType.LRU_HASH,
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
    }
)
"""Types in which a program finds the entry of a key. In an LPM trie, it finds the longest prefix instead."""


def walk(code: Assembler, records: int, function: str) -> None:
    """Call a function for each element of the array with the fd `records`. It has the element in R3.

    R0 is how often it was called: the first that returns 1 is the last.
    """
    code.map(R1, records)
    code.callback(R2, function)
    code.mov(R3, 0)
    code.mov(R4, 0)
    code.call(Helper.FOR_EACH_MAP_ELEM)


def words(size: int) -> list[tuple[int, int]]:
    """The offset and width of the loads that cover `size` bytes, which are aligned to 8 bytes."""
    parts, at = [], 0
    while at < size:
        width = next(width for width in (8, 4, 2, 1) if at + width <= size)
        parts.append((at, width))
        at += width
    return parts
