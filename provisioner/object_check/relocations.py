"""The relocations of an object: their symbols exist, and their places lie inside what they change."""

from __future__ import annotations

from typing import Final

import numpy as np

from provisioner.object_check.elf import SHT_REL, ElfFile, Section
from provisioner.object_check.fault import Malformed, first
from provisioner.object_check.symbols import Symbols

_WORD: Final = 8


def check_relocations(elf: ElfFile, symbols: Symbols | None) -> None:
    """Raise Malformed for a relocation that libbpf would follow out of the object."""
    for section in elf.sections:
        if section.type == SHT_REL and not section.is_debug_info:
            _check(section, elf, symbols)


def _check(section: Section, elf: ElfFile, symbols: Symbols | None) -> None:
    record = np.dtype([("offset", elf.order + "u8"), ("info", elf.order + "u8")])
    if section.entsize != record.itemsize or section.size % record.itemsize:
        raise Malformed(f"{section} does not consist of relocations of {record.itemsize} bytes")
    if not 0 < section.info < len(elf.sections):
        raise Malformed(f"{section} is for section {section.info}, of {len(elf.sections)}")
    if symbols is None or section.link != symbols.table.number:
        raise Malformed(f"{section} refers to section {section.link} for its symbols, which is not the symbol table")
    target = elf.sections[section.info]
    relocations = np.frombuffer(elf.data_of(section), record)
    if (at := first(relocations["info"] >> np.uint64(32) >= symbols.count)) is not None:
        raise Malformed(f"relocation {at} of {section} is against a symbol outside the symbol table")
    width = 4 if target.name in (".BTF", ".BTF.ext") else _WORD
    if relocations.size and (at := first(relocations["offset"] > max(target.size - width, -1) % (1 << 64))) is not None:
        raise Malformed(f"relocation {at} of {section} is outside {target}")
    if target.is_code and (at := first(relocations["offset"] % _WORD != 0)) is not None:
        raise Malformed(f"relocation {at} of {section} is between two instructions")
