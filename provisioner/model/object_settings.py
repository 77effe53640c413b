"""What a loader decides before it loads an object: sizes and NUMA nodes of maps, and which maps it creates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from provisioner.model.attachment import Attachment
from provisioner.model.location import Location

VARIABLES: Final = "variables."
"""What the names of variables begin with in the record. Their values are live, and compared there."""

Recorded = Mapping[str, str]
"""Settings as the record keeps them: `maps.events.max_entries` -> `64`."""


class MapSettings(msgspec.Struct, frozen=True):
    """Settings of one map of an object; None leaves what the ELF says. A map without `autocreate` is not created.

    A spec sets `value_size` of stacks. Otherwise `key_size` and `value_size` are those of the types that the spec
    declares for a map to which the object gives no size. `left_out` are programs that are not loaded, and whose slots
    in this prog_array stay empty. `attach` says that the map itself is attached.
    """

    max_entries: int | None
    numa_node: int | None
    autocreate: bool
    where: Location
    value_size: int | None = None
    key_size: int | None = None
    left_out: tuple[str, ...] = ()
    attach: Attachment | None = None

    def recorded(self, name: str) -> Iterator[tuple[str, str]]:
        """What the record keeps of them."""
        if self.max_entries is not None:
            yield f"maps.{name}.max_entries", str(self.max_entries)
        if self.key_size is not None:
            yield f"maps.{name}.key_size", str(self.key_size)
        if self.value_size is not None:
            yield f"maps.{name}.value_size", str(self.value_size)
        if self.numa_node is not None:
            yield f"maps.{name}.numa_node", str(self.numa_node)
        if not self.autocreate:
            yield f"maps.{name}.autocreate", "false"
        yield from ((f"programs.{program}.load", "false") for program in self.left_out)
        if self.attach is not None:
            yield f"maps.{name}.attach", "auto"


class ProgramSettings(msgspec.Struct, frozen=True):
    """How a program is loaded; None leaves what its section says. `type` is a name of `PROGRAM_TYPES`."""

    type: str | None = None
    target: str | None = None

    def recorded(self, name: str) -> Iterator[tuple[str, str]]:
        """What the record keeps of them."""
        if self.type is not None:
            yield f"programs.{name}.type", self.type
        if self.target is not None:
            yield f"programs.{name}.target", self.target


def changed(before: Recorded, after: Recorded) -> str:
    """The settings that differ, in words: `maps.events.max_entries 64 -> 128`; empty if none does."""
    names = sorted(name for name in {*before, *after} if not (name.startswith(VARIABLES) and name in after))
    return ", ".join(
        f"{name} {before.get(name, 'not set')} -> {after.get(name, 'not set')}"
        for name in names
        if before.get(name) != after.get(name)
    )
