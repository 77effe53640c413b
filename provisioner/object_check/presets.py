"""The `.values` of maps of maps and prog_arrays in an object: which symbol fills which slot. Pure.

libbpf writes them when it loads the object (bpf_object__collect_map_relos): a relocation of section `.maps` names the
symbol, and its offset behind the member `values` of the map's struct is the slot.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from provisioner.codec.btf import POINTER_SIZE, BtfComposite, BtfTypes
from provisioner.object_check.elf import ElfFile
from provisioner.object_check.relocations import relocations, tables

Presets = Mapping[int, str]
"""Slot -> the program or map that the object puts there."""

_VALUES: Final = "values"


def presets(data: bytes, types: BtfTypes) -> dict[str, Presets]:
    """The presets of each map that has some, by its name, from a checked object and its BTF."""
    elf = ElfFile.parse(data)
    section = elf.find(".maps")
    if section is None:
        return {}
    by_map: dict[str, dict[int, str]] = {}
    variables = list(types.variables(".maps"))
    for offset, symbol in relocations(elf, section):
        for name, type_, start, size in variables:
            if start <= offset < start + size and (slot := _slot(types, type_, offset - start)) is not None:
                by_map.setdefault(name, {})[slot] = symbol
    return {name: dict(sorted(slots.items())) for name, slots in by_map.items()}


def without_presets(data: bytes, maps: Collection[str], only_programs: Collection[str] | None = None) -> bytes:
    """The object without the presets of these maps, and without slots for programs other than `only_programs`.

    libbpf also writes presets into a map that it is given to reuse, where the programs that run would see them before
    the new ones are attached; and it fails to write a program that it did not load. The relocations are taken out of
    their table.
    """
    elf = ElfFile.parse(data)
    section, btf = elf.find(".maps"), elf.find(".BTF")
    if section is None or btf is None or (not maps and only_programs is None):
        return data
    listed = list(tables(elf, section))
    if not listed:
        return data
    variables = list(BtfTypes(elf.data_of(btf)).variables(".maps"))
    spans = [(start, start + size) for name, _, start, size in variables if name in maps]
    loaded = None if only_programs is None else {*only_programs, *(name for name, *_ in variables)}
    patched = bytearray(data)
    for table, rows, symbols in listed:
        goes = [
            any(start <= at < end for start, end in spans) or (loaded is not None and symbol not in loaded)
            for at, symbol in zip(rows["offset"].tolist(), symbols, strict=True)
        ]
        kept = rows[~np.array(goes, np.bool_)].tobytes()
        patched[table.offset : table.offset + len(kept)] = kept
        elf.write_size(patched, table, len(kept))
    return bytes(patched)


def _slot(types: BtfTypes, type_: int, offset: int) -> int | None:
    """The slot at an offset in a map's variable; None before `values`, or for a map without."""
    struct = types[types.resolve(type_)]
    members = struct.members if isinstance(struct, BtfComposite) else ()
    start = next((member.bit_offset // 8 for member in members if member.name == _VALUES), None)
    if start is None or offset < start or (offset - start) % POINTER_SIZE:
        return None
    return (offset - start) // POINTER_SIZE
