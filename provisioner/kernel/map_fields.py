"""Where `struct bpf_map` has its fields in this kernel: programs may read them (41c48f3a9823, 5.9), by their offsets.

The layout changes between kernels, and the BTF of a kernel that has it is megabytes. So it is found by reading: of a
map that is made for it, with sizes that nothing else is likely to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from typing import Final

import numpy as np

from provisioner.bytecode.assembler import R0, R1, R2, R3, R10, Alu, Assembler, Helper, Jump
from provisioner.bytecode.digest_program import Fields
from provisioner.kernel import maps, programs, reading
from provisioner.kernel.fd import MapFd
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType

_SIZES_AT: Final = (24, 64, *range(8, 160, 4))
"""Where the type and the three sizes can begin: where some kernels have them, then all places."""

_ID_AFTER: Final = (28, *range(16, 96, 4))
"""Where the id can be after that."""

_SIZE: Final = 512
"""Bytes from the beginning of a map in which all is found."""


@cache
def fields() -> Fields | None:
    """The offsets; None where programs may not read them, which takes CAP_PERFMON, or where they are not found.

    Two maps are compared, so that a number which happens to be the same is not taken for the field.
    """
    shapes = [MapShape(MapType.HASH, 12, 20, room) for room in (40_961, 57_347)]
    with maps.create(shapes[0], "probe") as first, maps.create(shapes[1], "probe") as second:
        both = (first, second)
        sizes = [(int(one.map_type), one.key_size, one.value_size, one.max_entries) for one in shapes]
        start = next((at for at in _SIZES_AT if _hold(both, at, sizes)), None)
        if start is None:
            return None
        ids = [(int(maps.info(fd).id),) for fd in both]
        number = next((start + after for after in _ID_AFTER if _hold(both, start + after, ids)), None)
        return None if number is None else Fields(start + 12, number)


@cache
def frozen_at() -> int | None:
    """The offset of whether a map is frozen, one byte; None where it is not found, as where `fields` is None.

    Two frozen maps are compared with two that are not: only there have these 1 and those 0.
    """
    shape, is_frozen = MapShape(MapType.HASH, 4, 4, 1), (True, False, True, False)
    with ExitStack() as opened:
        each = [opened.enter_context(maps.create(shape, "probe")) for _ in is_frozen]
        for fd, frozen in zip(each, is_frozen, strict=True):
            if frozen:
                maps.freeze(fd)
        seen = opened.enter_context(maps.create(MapShape(MapType.ARRAY, 4, _SIZE, len(each)), "probe"))
        program = programs.load(_copies(each, seen).assemble(), "probe")
        if program is None:
            return None
        with program:
            programs.run(program)
        rows = reading.read_first(seen, len(each), _SIZE)
    places = np.flatnonzero((rows == np.array(is_frozen, np.uint8)[:, np.newaxis]).all(axis=0)).tolist()
    return places[0] if len(places) == 1 else None


def _copies(fds: Sequence[MapFd], into: MapFd) -> Assembler:
    """Copies what the kernel keeps of each map into an element of an array."""
    code = Assembler()
    for number, fd in enumerate(fds):
        code.store(R10, -4, number, 4)
        code.map(R1, into.number)
        code.mov(R2, R10)
        code.alu(Alu.ADD, R2, -4)
        code.call(Helper.MAP_LOOKUP_ELEM)
        code.jump_if(Jump.EQ, R0, 0, "end")
        code.mov(R1, R0)
        code.mov(R2, _SIZE)
        code.map(R3, fd.number)
        code.call(Helper.PROBE_READ_KERNEL)
    code.label("end")
    code.exit(0)
    return code


def _hold(fds: Sequence[MapFd], at: int, words: Sequence[Sequence[int]]) -> bool:
    """Whether each map has its words of 32 bits at an offset."""
    code = Assembler()
    for fd, expected in zip(fds, words, strict=True):
        code.map(R1, fd.number)
        for number, word in enumerate(expected):
            code.load(R0, R1, at + 4 * number, 4)
            code.jump_if(Jump.NE, R0, word, "others", bits=32)
    code.exit(1)
    code.label("others")
    code.exit(0)
    program = programs.load(code.assemble(), "probe")
    if program is None:
        return False
    with program:
        return programs.run(program) == 1
