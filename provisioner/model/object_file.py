"""The contents of a compiled object file: `kernel.objects` reads them, `encode` uses them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from provisioner.model.map_shape import MapShape


class StructOpsVariable(msgspec.Struct, frozen=True):
    """The variable of a struct_ops map.

    `struct` is the name of its type in the kernel, and `name` what it calls itself there, empty if it does not.
    `programs` are those of its members, `values` the bytes of the other members, by the names of the members.
    """

    struct: str
    name: str
    programs: Mapping[str, str]
    values: Mapping[str, bytes]


class MapDef(msgspec.Struct, frozen=True):
    """A map that an object declares.

    `inner` is its inner template, if the object declares one. BTF ids are those of the `.BTF` of the object, 0 if a
    type is unknown. `internal` maps have the data of the program: `.rodata`, `.bss`, `.data`, `.kconfig`. `presets` are
    the programs or maps that the object puts into slots. `is_pinned_by_name` says LIBBPF_PIN_BY_NAME. `struct_ops` is
    the value of a struct_ops map.
    """

    name: str
    shape: MapShape
    inner: MapDef | None = None
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    internal: bool = False
    presets: Mapping[int, str] = {}
    is_pinned_by_name: bool = False
    struct_ops: StructOpsVariable | None = None


class ProgramDef(msgspec.Struct, frozen=True):
    """A program as an object declares it; `type` is a number of `enum bpf_prog_type`, which the `section` says.

    `attach_type` is a number of `enum bpf_attach_type`, 0 if the section names none. `autoload` is false if the section
    begins with `?`: a loader has to ask for the program.
    """

    name: str
    section: str
    type: int
    attach_type: int = 0
    autoload: bool = True


class ObjectInfo(msgspec.Struct, frozen=True):
    """The contents of an object file. `digest` is the SHA-256 of the file in hex, `btf` its `.BTF` or empty."""

    file: str
    maps: Mapping[str, MapDef]
    programs: Mapping[str, ProgramDef]
    btf: bytes
    digest: str
