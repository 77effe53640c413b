"""The symbol table of an object: names, sections, and that functions and variables lie inside their sections."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.object_check.elf import SHN_LORESERVE, SHT_SYMTAB, ElfFile, Section
from provisioner.object_check.fault import Malformed, Words, first

_STT_OBJECT: Final = 1
_STT_FUNC: Final = 2
_RECORD: Final = (("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8"))
_INSTRUCTION: Final = 8
_LD_IMM64: Final = 0x18
"""BPF_LD | BPF_IMM | BPF_DW, the instruction that takes two places."""

_CALL: Final = 0x85
_PSEUDO_CALL: Final = 1


class Symbols(msgspec.Struct, frozen=True):
    """The symbol table of an object, and how many symbols are in it."""

    table: Section
    count: int


def check_symbols(elf: ElfFile) -> Symbols | None:
    """Raise Malformed for a symbol that is outside what it refers to. None for an object without symbols."""
    tables = [section for section in elf.sections if section.type == SHT_SYMTAB]
    if not tables:
        return None  # libbpf refuses it
    if len(tables) > 1:
        raise Malformed(f"{tables[1]} is a second symbol table")
    (table,) = tables
    record = np.dtype([(name, elf.order + kind) for name, kind in _RECORD])
    if table.entsize != record.itemsize or table.size % record.itemsize:
        raise Malformed(f"{table} does not consist of symbols of {record.itemsize} bytes")
    symbols = np.frombuffer(elf.data_of(table), record)
    names = elf.strings(table.link, table)
    if (at := first(symbols["name"] >= len(names))) is not None:
        raise Malformed(f"the name of symbol {at} is outside the table of names")
    sections = symbols["section"].astype(np.int64)
    if (at := first((sections >= len(elf.sections)) & (sections < SHN_LORESERVE))) is not None:
        raise Malformed(f"symbol {at} is in section {sections[at]}, of {len(elf.sections)}")
    _check_definitions(elf, symbols, sections)
    return Symbols(table, len(symbols))


def symbol_names(elf: ElfFile) -> list[str]:
    """The name of each symbol of a checked object; that of its section for a symbol without a name."""
    table = next((section for section in elf.sections if section.type == SHT_SYMTAB), None)
    if table is None:
        return []
    symbols = np.frombuffer(elf.data_of(table), np.dtype([(name, elf.order + kind) for name, kind in _RECORD]))
    text = elf.strings(table.link, table)
    names = [text[at : text.index(b"\0", at)].decode(errors="replace") for at in symbols["name"].tolist()]
    sections = symbols["section"].tolist()
    return [
        name or (elf.sections[at].name if at < len(elf.sections) else "")
        for name, at in zip(names, sections, strict=True)
    ]


def _check_definitions(elf: ElfFile, symbols: NDArray[np.void], sections: Words) -> None:
    """Functions and variables, each in its section."""
    functions = []
    kinds = (symbols["info"] & 0xF).astype(np.int64)
    is_here = (sections > 0) & (sections < SHN_LORESERVE)
    for at in np.flatnonzero(((kinds == _STT_FUNC) | (kinds == _STT_OBJECT)) & is_here).tolist():
        section = elf.sections[int(sections[at])]
        begin, size = int(symbols["value"][at]), int(symbols["size"][at])
        if begin + size > section.size:
            raise Malformed(f"symbol {at} is outside {section}: offset {begin}, {size} bytes of {section.size}")
        if kinds[at] == _STT_FUNC and section.is_code and size:
            functions.append(_check_function(elf, section, begin, size, at))
    if len(functions) == 1 and functions[0] is not None:
        raise Malformed(f"{functions[0]}, the only one of the object, calls itself")


def _check_function(elf: ElfFile, section: Section, begin: int, size: int, at: int) -> str | None:
    """Gives the function's place where it may call itself: alone in an object, libbpf 1.1 appends it to itself."""
    place = f"function {at} of the symbol table"
    if begin % _INSTRUCTION or size % _INSTRUCTION:
        raise Malformed(f"{place} does not consist of instructions of {_INSTRUCTION} bytes")
    code = np.frombuffer(elf.data, np.uint8, size, section.offset + begin).reshape(-1, _INSTRUCTION)
    if code[-1, 0] == _LD_IMM64:
        raise Malformed(f"{place} ends within an instruction")
    sources = code[:, 1] >> 4 if elf.order == "<" else code[:, 1] & 0xF
    calls = bool(((code[:, 0] == _CALL) & (sources == _PSEUDO_CALL)).any())
    return place if calls and section.name == ".text" else None


def symbols_in(elf: ElfFile, name: str) -> NDArray[np.uint64]:
    """The sizes of the symbols in a section of a checked object."""
    table = next((section for section in elf.sections if section.type == SHT_SYMTAB), None)
    section = elf.find(name)
    if table is None or section is None:
        return np.zeros(0, np.uint64)
    symbols = np.frombuffer(elf.data_of(table), np.dtype([(field, elf.order + kind) for field, kind in _RECORD]))
    sizes: NDArray[np.uint64] = symbols["size"][(symbols["section"] == section.number) & (symbols["size"] > 0)]
    return sizes
