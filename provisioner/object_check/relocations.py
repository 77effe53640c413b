"""The relocations of an object. Checked: their symbols exist, and their places lie inside what they change. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from provisioner.object_check.elf import SHT_REL, ElfFile, Section
from provisioner.object_check.fault import Malformed, first
from provisioner.object_check.symbols import Symbols, symbol_names

_WORD: Final = 8


def check_relocations(elf: ElfFile, symbols: Symbols | None) -> None:
    """Raise Malformed for a relocation that libbpf would follow out of the object."""
    for section in elf.sections:
        if section.type == SHT_REL and not section.is_debug_info:
            _check(section, elf, symbols)


def _check(section: Section, elf: ElfFile, symbols: Symbols | None) -> None:
    record = _record(elf)
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


def tables(elf: ElfFile, section: Section) -> Iterator[tuple[Section, NDArray[Any], list[str]]]:
    """The tables of relocations of `section` in a checked object: their records, and the name of the symbol of each."""
    matching = [table for table in elf.sections if table.type == SHT_REL and table.info == section.number]
    names = symbol_names(elf) if matching else []
    for table in matching:
        rows = np.frombuffer(elf.data_of(table), _record(elf))
        yield table, rows, [names[number] for number in (rows["info"] >> np.uint64(32)).tolist()]


def relocations(elf: ElfFile, section: Section) -> list[tuple[int, str]]:
    """Offset in `section` and the name of the symbol, for each of its relocations."""
    return [
        pair for _, rows, symbols in tables(elf, section) for pair in zip(rows["offset"].tolist(), symbols, strict=True)
    ]


def _record(elf: ElfFile) -> np.dtype[np.void]:
    return np.dtype([("offset", elf.order + "u8"), ("info", elf.order + "u8")])
