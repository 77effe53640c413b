"""What the verifier knows of the maps that an outer map takes: the only source for an empty outer map.

Neither `bpf_map_info` nor fdinfo has an outer map's inner template. A program that looks up an inner map works with
that template, though, so the log of one that is refused names its sizes, its type, and what may not be done to a value.
The programs are never attached and never run, and are gone when this returns.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from typing import Final

from provisioner.kernel import calls
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.model.inner_template import InnerFacts
from provisioner.model.map_shape import rounded_up
from provisioner.model.uapi import LRU_TYPES, PERCPU_TYPES, MapType

_SOCKET_FILTER: Final = 1
"""The program type: it needs CAP_BPF alone."""

_LOOKUP, _RINGBUF_OUTPUT = 1, 130
"""Helpers: BPF_FUNC_map_lookup_elem, BPF_FUNC_ringbuf_output (457f44363a88)."""

_STACK: Final = 512
"""Bytes of a program's stack, where keys are."""

_SCANNED: Final = 16 << 10
"""Bytes of a value that are searched for special fields."""

_READ_BY_PROGRAMS: Final = PERCPU_TYPES | LRU_TYPES | {MapType.HASH, MapType.ARRAY, MapType.LPM_TRIE, MapType.XSKMAP}
"""Types whose values a program may look up."""

_MOV_REG, _MOV, _ADD, _LOAD_MAP, _CALL = 0xBF, 0xB7, 0x07, 0x18, 0x85
_STORE_U64, _STORE_U8, _LOAD_U32, _LOAD_U8, _JUMP_NOT, _JUMP_NOT_BELOW, _EXIT = 0x7A, 0x72, 0x61, 0x71, 0x55, 0x35, 0x95

_SIZES: Final = re.compile(r"R0\w*=map_ptr\(.*?ks=(\d+),vs=(\d+)")
_TYPE: Final = re.compile(r"cannot pass map_type (\d+) into func")
_SPECIAL: Final = re.compile(r"(\w+) (?:cannot|can't) be accessed directly|(kptr|uptr) access size")
_AT: Final = re.compile(r"^\d+: \((?:61|71)\) .*\(r0 \+(\d+)\)", re.MULTILINE)


def inner_facts(outer: MapFd, key_size: int) -> InnerFacts:
    """What the verifier knows of the template of an outer map with keys of `key_size` bytes.

    Raises KernelError where it cannot be asked: EPERM without CAP_BPF, EINVAL for a helper that the kernel lacks.
    """
    if key_size > _STACK // 2:
        return InnerFacts()
    number, log = calls.verify(_SOCKET_FILTER, _look_up(outer, key_size) + _pass_to_ring_buffer())
    if number >= 0:
        ProgramFd(number).close()
    sizes, kind = _SIZES.search(log), _TYPE.search(log)
    map_type = MapType(int(kind[1])) if kind is not None else MapType.RINGBUF if number >= 0 else None
    if map_type is MapType.RINGBUF:  # it has neither keys nor values
        return InnerFacts(map_type, 0, 0)
    if sizes is None:
        return InnerFacts(map_type)
    key, value = int(sizes[1]), int(sizes[2])
    facts = InnerFacts(map_type, key, value)
    if map_type not in _READ_BY_PROGRAMS or key > _STACK // 2:
        return facts
    return _with_values(facts, outer, key_size, map_type, key, value)


def _with_values(facts: InnerFacts, outer: MapFd, key_size: int, map_type: MapType, key: int, value: int) -> InnerFacts:
    """`found`, and what the verifier says of a program that reads and writes a value."""
    touch: list[bytes] = []
    if map_type is not MapType.XSKMAP and value:
        touch = [_code(_LOAD_U32, 1, 0, at) for at in range(0, min(value, _SCANNED) - 3, 4)]
        touch = [_code(_LOAD_U8, 1), *touch, _code(_STORE_U8)]
    number, log = calls.verify(_SOCKET_FILTER, _look_up(outer, key_size) + _look_up(None, key) + _end(*touch))
    if number < 0:
        special = _SPECIAL.search(log)
        if special is not None:
            places = _AT.findall(log[: special.start()])
            name = special[1] or special[2]
            return facts.extended(special=f"{name} at byte {places[-1]}" if places else name)
        forbidden = re.search(r"(write into|read from) map forbidden", log)
        return facts.extended(access=forbidden[1] if forbidden is not None else None)
    with ProgramFd(number) as program:
        is_bound, bound = _bound(calls.translated(program.number))
    if map_type not in (MapType.ARRAY, MapType.XSKMAP):
        return facts.extended(special="", access="")
    return facts.extended(special="", access="", is_bound=is_bound, max_entries=bound)


def _bound(code: bytes) -> tuple[bool | None, int | None]:
    """Whether the inner map's lookup was put inline, with its bound, and what indexes are compared with there.

    Of the two lookups the first is that in the outer map: a call, or inline too. Not known without a JIT compiler.
    """
    lookups = [(op, bound) for op, _, _, bound in struct.iter_unpack("=BBhi", code) if op in (_JUMP_NOT_BELOW, _CALL)]
    if len(lookups) != 2:
        return None, None
    op, bound = lookups[1]
    return (True, bound & 0xFFFFFFFF) if op == _JUMP_NOT_BELOW else (False, None)


def _look_up(outer: MapFd | None, key_size: int) -> bytes:
    """Look up a key of zeros in a map, or in the map that R0 points to; go on where R0 is something."""
    size = max(8, rounded_up(key_size))
    first = _code(_LOAD_MAP, 1, 1, 0, outer.number) + _code(0) if outer is not None else _code(_MOV_REG, 1, 0)
    return b"".join(
        (
            *_zeros(size),
            first,
            _code(_MOV_REG, 2, 10),
            _code(_ADD, 2, immediate=-size),
            _code(_CALL, immediate=_LOOKUP),
            _code(_JUMP_NOT, 0, 0, 2),
            _end(),
        )
    )


def _pass_to_ring_buffer() -> bytes:
    """Give R0 to a helper that takes ring buffers only: it is refused with the type of the map."""
    return b"".join(
        (
            _code(_MOV_REG, 1, 0),
            _code(_MOV_REG, 2, 10),
            _code(_ADD, 2, immediate=-8),
            _code(_MOV, 3, immediate=8),
            _code(_MOV, 4),
            _code(_CALL, immediate=_RINGBUF_OUTPUT),
            _end(),
        )
    )


def _end(*before: bytes) -> bytes:
    return b"".join((*before, _code(_MOV), _code(_EXIT)))


def _zeros(size: int) -> Iterator[bytes]:
    return (_code(_STORE_U64, 10, 0, at) for at in range(-size, 0, 8))


def _code(op: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """One `struct bpf_insn`."""
    registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
    return struct.pack("=BBhi", op, registers, offset, immediate)
