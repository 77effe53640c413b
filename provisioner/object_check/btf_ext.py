"""What `.BTF.ext` says of instructions: functions, lines, and the accesses that libbpf relocates (CO-RE)."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provisioner.codec.btf import MAGIC, BtfKind
from provisioner.object_check.btf import BtfCheck
from provisioner.object_check.elf import ElfFile
from provisioner.object_check.fault import Malformed, Words, first, words_of

_HEADER: Final = 24
_WITH_CORE: Final = 32
_FUNCTIONS: Final = ("func_info", 8)
_LINES: Final = ("line_info", 16)
_CORE: Final = ("core_relo", 16)
"""The parts of the section, and the bytes that a record of each has at least."""

_MAX_CORE_KIND: Final = 12
"""BPF_CORE_TYPE_MATCHES, the last of `enum bpf_core_relo_kind`."""


def check_btf_ext(data: bytes, types: BtfCheck, elf: ElfFile) -> None:
    """Raise Malformed for a record that refers to something outside the object."""
    if len(data) < _HEADER:
        raise Malformed(f"`.BTF.ext` has {len(data)} bytes, its header has {_HEADER}")
    magic, version, flags, header = struct.unpack_from(elf.order + "HBBI", data)
    if magic != MAGIC or version != 1 or flags:
        raise Malformed("`.BTF.ext` does not begin with its magic number in the file's byte order, and version 1")
    if header < _HEADER or header % 4 or header > len(data):
        raise Malformed(f"the header of `.BTF.ext` has {header} bytes")
    parts = (_FUNCTIONS, _LINES, _CORE) if header >= _WITH_CORE else (_FUNCTIONS, _LINES)
    for number, (part, least) in enumerate(parts):
        at, size = struct.unpack_from(elf.order + "II", data, 8 + 8 * number)
        if at % 4 or size % 4 or header + at + size > len(data):
            raise Malformed(f"{part} of `.BTF.ext` is outside the section")
        if size:
            _check_part(part, least, words_of(data[header + at : header + at + size], elf.order), types, elf)


def _check_part(part: str, least: int, words: Words, types: BtfCheck, elf: ElfFile) -> None:
    """The records of one part: a size, then for each section its name, a count, and so many records."""
    size = int(words[0])
    if size < least or size % 4:
        raise Malformed(f"{part} of `.BTF.ext` has records of {size} bytes, {least} are needed")
    width, at = size // 4, 1
    while at < len(words):
        if len(words) - at < 2:
            raise Malformed(f"{part} of `.BTF.ext` is cut off")
        name, count = int(words[at]), int(words[at + 1])
        at += 2
        if name >= len(types.strings) or not 0 < count <= (len(words) - at) // width:
            raise Malformed(f"{part} of `.BTF.ext` has {count} records for a section, which are more than it holds")
        records = words[at : at + count * width].reshape(count, width)
        _check_records(part, types.name(name), records, types, elf)
        at += count * width


def _check_records(part: str, name: str, records: Words, types: BtfCheck, elf: ElfFile) -> None:
    section = elf.find(name)
    offset, second, third = records[:, 0], records[:, 1], records[:, 2 % records.shape[1]]
    if section is not None and part == _CORE[0]:
        _refuse((offset >= section.size) | (offset % 8 != 0), part, name, "is outside the section's instructions")
    if part == _LINES[0]:
        _refuse(second >= len(types.strings), part, name, "has a file name outside the section of names")
        _refuse(third >= len(types.strings), part, name, "has a line outside the section of names")
        return
    _refuse((second == 0) | (second >= len(types.heads)), part, name, "is of a type outside `.BTF`")
    if part == _FUNCTIONS[0]:
        _refuse(types.kinds[second] != BtfKind.FUNC, part, name, "is of a type that is not a function")
    else:
        _refuse(third >= len(types.strings), part, name, "has an access outside the section of names")
        _refuse(records[:, 3] > _MAX_CORE_KIND, part, name, "is of an unknown kind")


def _refuse(bad: NDArray[np.bool_], part: str, section: str, what: str) -> None:
    if (at := first(bad)) is not None:
        raise Malformed(f"record {at} of {part} for `{section}` in `.BTF.ext` {what}")
