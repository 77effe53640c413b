"""Global variables of an object: what the spec sets in `.rodata`, `.data` and `.bss`, by the object's BTF."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.pins import VARIABLES_PREFIX
from provisioner.model.types import Type, Value


class Variable(msgspec.Struct, frozen=True):
    """A variable that is set. `offset` is that in its section, in bytes; `data` has the bytes that it gets."""

    name: str
    offset: int
    type: Type
    data: bytes
    where: Location

    def decode(self, data: bytes) -> Value:
        """The value that its bytes have."""
        return self.type.conceal(self.type.decode(np.frombuffer(data, np.uint8).reshape(1, -1))[0])

    def of(self, section: bytes) -> bytes:
        """Its bytes in a section."""
        return section[self.offset : self.offset + self.type.size]


class DataSection(msgspec.Struct, frozen=True):
    """A data section as the map that libbpf makes of it.

    `map` is libbpf's name of it, `pin` ours. A constant section (`.rodata`) is frozen once the object is loaded.
    """

    map: str
    pin: str
    shape: MapShape
    is_constant: bool
    variables: tuple[Variable, ...]


Written = Mapping[str, tuple[tuple[int, bytes], ...]]
"""Bytes to set before load: the map's name in the object -> offsets and bytes."""


def section_pin(object_name: str, section: str) -> str:
    """The name of the pin of a section's map: no name of a pin holds a dot."""
    return f"{VARIABLES_PREFIX}{object_name}_{section.lstrip('.').replace('.', '-')}"
