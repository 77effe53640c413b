"""The values of struct_ops maps: programs, and what else the struct of the kernel has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache

from provisioner.codec.btf import POINTER_SIZE, BtfComposite, BtfTypes
from provisioner.kernel import maps, vmlinux
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.model.errors import HostError, Problem
from provisioner.model.object_file import StructOpsVariable

_KEY = bytes(4)


def write_value(fd: MapFd, wanted: StructOpsVariable, programs: Mapping[str, ProgramFd], *, name: str = "") -> None:
    """Write the value of a map with BPF_F_LINK: then a link attaches it. It is written once, and not read by programs.

    Members are put where the running kernel has them. libbpf does so when it attaches a map: 1.1 writes the value, and
    later versions make the link as well. Raises `KernelError` (BPF_MAP_UPDATE_ELEM), and HostError for a struct that
    this kernel does not have.
    """
    value = bytearray(maps.info(fd).shape.value_size)
    start, places = _places(wanted.struct)
    numbers = {
        member: programs[program].number.to_bytes(POINTER_SIZE, sys.byteorder)
        for member, program in wanted.programs.items()
    }
    for member, data in {**wanted.values, **numbers}.items():
        if member in places:  # what the kernel lacks is zero: libbpf refuses to load the object otherwise
            at = start + places[member]
            value[at : at + len(data)] = data
    maps.update(fd, _KEY, bytes(value), name=name)


@cache
def _places(struct: str) -> tuple[int, dict[str, int]]:
    """Where a struct of the kernel is in the value of its maps, and where its members are in it, in bytes."""
    types = BtfTypes(vmlinux.read_btf())
    wrapper, inner = (_members(types, f"struct {each}") for each in (f"bpf_struct_ops_{struct}", struct))
    if "data" not in wrapper:
        raise HostError(Problem(f"this kernel does not have the struct_ops {struct}", id="attach-unsupported"))
    return wrapper["data"], inner


def _members(types: BtfTypes, name: str) -> dict[str, int]:
    number = types.find(name)
    type_ = types[number] if number is not None else None
    members = type_.members if isinstance(type_, BtfComposite) else ()
    return {member.name: member.bit_offset // 8 for member in members}
