"""What a compiled object file brings: values that `kernel.objects` reads and `encode` uses."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from provisioner.model.map_shape import MapShape


class MapDef(msgspec.Struct, frozen=True):
    """A map as an object declares it.

    `inner` is its inner template, where the object declares one. BTF ids are of the object's own `.BTF`, 0 where a
    type is not told. `internal` maps hold the program's own data: `.rodata`, `.bss`, `.data`, `.kconfig`. `presets` are
    the programs or maps that the object puts into slots.
    """

    name: str
    shape: MapShape
    inner: MapDef | None = None
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    internal: bool = False
    presets: Mapping[int, str] = {}


class ProgramDef(msgspec.Struct, frozen=True):
    """A program as an object declares it; `type` is a number of `enum bpf_prog_type`, which the `section` says.

    `attach_type` is a number of `enum bpf_attach_type`, 0 if the section names none.
    """

    name: str
    section: str
    type: int
    attach_type: int = 0


class ObjectInfo(msgspec.Struct, frozen=True):
    """What is in an object file. `digest` is the SHA-256 of the file in hex, `btf` its `.BTF`, empty if it has none."""

    file: str
    maps: Mapping[str, MapDef]
    programs: Mapping[str, ProgramDef]
    btf: bytes
    digest: str
