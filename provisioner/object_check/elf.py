"""The ELF header and the section table of an object, as the gABI defines them ("Object Files")."""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.object_check.fault import Malformed, first

_MAGIC: Final = b"\x7fELF"
_HEADER: Final = 64
_CLASS_64: Final = 2
_ORDERS: Final = {1: "<", 2: ">"}
_REL: Final = 1
_MACHINES: Final = frozenset({0, 247})
"""EM_BPF, and EM_NONE, which old versions of LLVM wrote."""

SHT_PROGBITS: Final = 1
SHT_SYMTAB: Final = 2
SHT_STRTAB: Final = 3
SHT_NOBITS: Final = 8
SHT_REL: Final = 9
SHF_EXECINSTR: Final = 4
_SHF_COMPRESSED: Final = 0x800
SHN_LORESERVE: Final = 0xFF00
_MAX_MAP: Final = 0xFFFFFFFF
"""Bytes of the largest map: libbpf makes one of a section of data, and keeps its size in 32 bits."""

_UNIQUE: Final = (".BTF", ".BTF.ext", ".maps", ".struct_ops", ".text")
"""Sections that libbpf looks for by name."""

_FIELDS: Final = (
    *(("name", "u4"), ("type", "u4"), ("flags", "u8"), ("addr", "u8"), ("offset", "u8"), ("size", "u8")),
    *(("link", "u4"), ("info", "u4"), ("addralign", "u8"), ("entsize", "u8")),
)


_SIZE_AT: Final = 32
"""The offset of `sh_size` in a section header."""


class Section(msgspec.Struct, frozen=True):
    """A section header; `number` is its index."""

    number: int
    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    entsize: int

    def __str__(self) -> str:
        return f"section {self.number} `{self.name}`"

    @property
    def is_code(self) -> bool:
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR)

    @property
    def is_debug_info(self) -> bool:
        """Whether libbpf ignores it."""
        return self.name.startswith((".debug_", ".rel.debug_", ".rela.debug_"))


class ElfFile(msgspec.Struct, frozen=True):
    """An object whose section table is well-formed: each section is inside the file, and has a name."""

    data: bytes
    order: str
    sections: tuple[Section, ...]

    @staticmethod
    def parse(data: bytes) -> ElfFile:
        order = _check_ident(data)
        kind, machine = struct.unpack_from(order + "HH", data, 16)
        if kind != _REL or machine not in _MACHINES:
            raise Malformed(f"ELF type {kind} for machine {machine} is not a BPF object (type 1, machine 247)")
        headers, names = _headers(data, order)
        return ElfFile(data, order, tuple(_sections(data, headers, names)))

    def find(self, name: str) -> Section | None:
        """The first section with this name, as libbpf looks it up."""
        return next((section for section in self.sections if section.name == name), None)

    def data_of(self, section: Section) -> bytes:
        """The bytes of a section in the file."""
        if section.type == SHT_NOBITS:
            return b""
        return self.data[section.offset : section.offset + section.size]

    def write_size(self, data: bytearray, section: Section, size: int) -> None:
        """Change the size of a section in a copy of the file."""
        (table,) = struct.unpack_from(self.order + "Q", data, 40)
        (entry,) = struct.unpack_from(self.order + "H", data, 58)
        struct.pack_into(self.order + "Q", data, table + section.number * entry + _SIZE_AT, size)

    def strings(self, number: int, of: Section) -> bytes:
        """The string table with this number, which section `of` refers to."""
        if not 0 < number < len(self.sections) or self.sections[number].type != SHT_STRTAB:
            raise Malformed(f"{of} refers to section {number} for its names, which is not a string table")
        text = self.data_of(self.sections[number])
        if not text or text[-1]:
            raise Malformed(f"{self.sections[number]} does not end with a zero byte")
        return text


def _check_ident(data: bytes) -> str:
    if not data.startswith(_MAGIC):
        raise Malformed("this is not an ELF file")
    if len(data) < _HEADER:
        raise Malformed(f"the file has {len(data)} bytes, an ELF header has {_HEADER}")
    if data[4] != _CLASS_64:
        raise Malformed("this is not a 64-bit ELF file")
    if data[5] not in _ORDERS:
        raise Malformed(f"the ELF header has an unknown byte order, {data[5]}")
    return _ORDERS[data[5]]


def _headers(data: bytes, order: str) -> tuple[NDArray[np.void], bytes]:
    """The section table, and the table of the sections' names."""
    (at,) = struct.unpack_from(order + "Q", data, 40)
    size, count, names = struct.unpack_from(order + "HHH", data, 58)
    record = np.dtype([(name, order + kind) for name, kind in _FIELDS])
    if size != record.itemsize:
        raise Malformed(f"the ELF header gives section headers {size} bytes, they have {record.itemsize}")
    if count == 0 or at + count * size > len(data):
        raise Malformed(f"the section table ({count} sections at offset {at}) is outside the file")
    table = np.frombuffer(data, record, count, at)
    if not 0 < names < count or table[names]["type"] != SHT_STRTAB:
        raise Malformed(f"section {names} is not the table of the sections' names")
    begin, length = int(table[names]["offset"]), int(table[names]["size"])
    if begin + length > len(data) or not length or data[begin + length - 1]:
        raise Malformed("the table of the sections' names is outside the file, or does not end with a zero byte")
    return table, data[begin : begin + length]


def _sections(data: bytes, table: NDArray[np.void], names: bytes) -> list[Section]:
    outside = first(table["name"] >= len(names))
    if outside is not None:
        raise Malformed(f"the name of section {outside} is outside the table of names")
    sections = []
    for number, row in enumerate(table.tolist()):
        name, kind, flags, _, offset, size, link, info, align, entsize = row
        text = names[name : names.index(b"\0", name)].decode(errors="replace")
        section = Section(number, text, kind, flags, offset, size, link, info, entsize)
        if number:
            _check_section(section, align, len(data))
        sections.append(section)
    for name in _UNIQUE:
        if sum(section.name == name for section in sections) > 1:
            raise Malformed(f"there are two sections `{name}`")
    return sections


def _check_section(section: Section, align: int, file_size: int) -> None:
    if section.type == SHT_NOBITS:
        if section.size > _MAX_MAP:
            raise Malformed(f"{section} has {section.size} bytes, more than a map can have")
    elif section.offset + section.size > file_size:
        raise Malformed(f"{section} is outside the file: offset {section.offset}, {section.size} bytes")
    if section.flags & _SHF_COMPRESSED and not section.is_debug_info:
        raise Malformed(f"{section} is compressed")
    if align & (align - 1):
        raise Malformed(f"{section} has alignment {align}, not a power of two")
