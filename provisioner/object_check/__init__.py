"""A compiled BPF object is checked here, before libbpf sees it. Pure.

libbpf trusts its input: a type id, an offset or a size out of range in an object makes it read or write past the end of
its memory, or follow a cycle for ever (btf__type_by_id, skip_mods_and_typedefs, btf__align_of in libbpf 1.1). So all
that it follows is checked first: `elf` the sections, symbols and relocations, `btf` the types, `btf_ext` what belongs
to instructions. What libbpf itself refuses without harm is left to it.
"""

from __future__ import annotations

from provisioner.object_check.btf import BtfCheck
from provisioner.object_check.btf_ext import check_btf_ext
from provisioner.object_check.datasec import check_datasecs
from provisioner.object_check.elf import ElfFile
from provisioner.object_check.fault import Malformed
from provisioner.object_check.relocations import check_relocations
from provisioner.object_check.symbols import check_symbols

__all__ = ["Malformed", "check"]


def check(data: bytes) -> None:
    """Raise Malformed unless `data` is a well-formed 64-bit ELF object for BPF, with well-formed BTF if it has any."""
    elf = ElfFile.parse(data)
    symbols = check_symbols(elf)
    check_relocations(elf, symbols)
    if (section := elf.find(".BTF")) is None:
        return
    types = BtfCheck.parse(elf.data_of(section), elf.order)
    types.check()
    check_datasecs(types, elf)
    if (extended := elf.find(".BTF.ext")) is not None:
        check_btf_ext(elf.data_of(extended), types, elf)
