"""The sections of data that BTF describes: what is in them is a variable or a function, inside its section."""

from __future__ import annotations

from typing import Final

import numpy as np

from provisioner.codec.btf import BtfKind
from provisioner.object_check.btf import BtfCheck
from provisioner.object_check.elf import ElfFile
from provisioner.object_check.fault import Malformed, Words

_KCONFIG: Final = ".kconfig"
_KSYMS: Final = ".ksyms"
_STRUCT_OPS: Final = ".struct_ops"
_MAX_KCONFIG: Final = 1 << 20
"""Bytes of a variable of the kernel's configuration: libbpf keeps its size in an int, and makes room for it."""


def check_datasecs(types: BtfCheck, elf: ElfFile) -> None:
    """Raise Malformed for a section that holds other things, or more than it has room for."""
    rows = types.rows(BtfKind.DATASEC)
    targets, offsets, sizes = rows.words.T
    types.refuse_references(targets, rows.owners, (BtfKind.VAR, BtfKind.FUNC), "what is in it")
    # clang leaves the size of most at 0, for libbpf to set it.
    whole = types.targets[rows.owners]
    types.refuse((whole > 0) & (offsets + sizes > whole), rows.owners, "a variable in it is outside")
    names = np.array([types.name(int(types.names[owner])) for owner in rows.owners], object)
    is_function = types.kinds[targets] == BtfKind.FUNC
    types.refuse(is_function & (names != _KSYMS), rows.owners, f"a function is in it, though it is not {_KSYMS}")
    values = types.targets[targets]
    _check_sizes(types, values[names == _KCONFIG], _KCONFIG, _MAX_KCONFIG)
    if (section := elf.find(_STRUCT_OPS)) is not None:  # libbpf copies each out of it, by a sum that may wrap
        _check_sizes(types, values[names == _STRUCT_OPS], _STRUCT_OPS, section.size)


def _check_sizes(types: BtfCheck, variables: Words, section: str, most: int) -> None:
    for number in variables.tolist():
        if types.size_of(number) > most:
            raise Malformed(f"type {number} of `.BTF` is too large for a variable in `{section}`")
