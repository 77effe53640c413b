"""The variables of the sections `.struct_ops` and `.struct_ops.link`: what each member of the struct is. Pure.

libbpf reads them when it opens the object (bpf_object__init_struct_ops_maps, bpf_object__collect_st_ops_relos): a
relocation of the section names the program of a member.
"""

from __future__ import annotations

import re
from typing import Final

from provisioner.codec.btf import BtfComposite, BtfKind, BtfTypes
from provisioner.model.object_file import StructOpsVariable
from provisioner.object_check.elf import SHT_STRTAB, ElfFile
from provisioner.object_check.fault import Malformed
from provisioner.object_check.relocations import relocations

_SECTION: Final = ".struct_ops"
_LINKED: Final = b".struct_ops.link\0"
_AS_SECTION: Final = b".struct_ops\0link\0"
_NAME: Final = "name"


def as_one_section(data: bytes) -> bytes:
    """The object with its section `.struct_ops.link` called `.struct_ops`: libbpf knows the former since 1.2 only.

    An object with both is left as it is: then they are two sections for libbpf, too. So is what is no object.
    """
    if _LINKED not in data:
        return data
    try:
        elf = ElfFile.parse(data)
    except Malformed:
        return data
    if elf.find(_SECTION) is not None:
        return data
    patched = bytearray(data)
    for section in elf.sections:
        if section.type == SHT_STRTAB or section.name == ".BTF":
            old = patched[section.offset : section.offset + section.size]
            patched[section.offset : section.offset + section.size] = old.replace(_LINKED, _AS_SECTION)
    return bytes(patched)


def struct_ops(data: bytes, types: BtfTypes) -> dict[str, StructOpsVariable]:
    """The variables of a checked object by their names, which are those of the maps; `types` is its BTF."""
    elf = ElfFile.parse(data)
    section = elf.find(_SECTION)
    if section is None:
        return {}
    content, programs = elf.data_of(section), dict(relocations(elf, section))
    return {
        name: _variable(content[start : start + size], type_, types, {at - start: of for at, of in programs.items()})
        for name, type_, start, size in types.variables(_SECTION)
    }


def _variable(content: bytes, type_: int, types: BtfTypes, programs: dict[int, str]) -> StructOpsVariable:
    struct = types[types.resolve(type_)]
    members = struct.members if isinstance(struct, BtfComposite) else ()
    values: dict[str, bytes] = {}
    called: dict[str, str] = {}
    for member in members:
        at, kind = member.bit_offset // 8, types[types.resolve(member.type)]
        if at in programs:
            called[member.name] = programs[at]
        elif getattr(kind, "kind", None) != BtfKind.PTR:  # a pointer without a program is null
            values[member.name] = content[at : at + types.size_of(member.type)]
    word = re.sub("___.*", "", getattr(struct, "name", ""))  # a flavour, as in libbpf
    text = values.get(_NAME, b"").partition(b"\0")[0].decode(errors="replace")
    return StructOpsVariable(word, text, called, values)
