"""Reads the settings of an object that a loader applies before load. Pure."""

from __future__ import annotations

from provisioner import attach
from provisioner.attach.struct_ops import StructOps
from provisioner.language.read_maps import capacity, number, text
from provisioner.model.attachment import Attachment
from provisioner.model.object_settings import MapSettings, ProgramSettings
from provisioner.model.program_types import PROGRAM_TYPES
from provisioner.model.spec import VariableValue
from provisioner.model.tree import MappingNode, RawEntries, SpecNode


def read_map_settings(node: SpecNode | None) -> dict[str, MapSettings]:
    """The `maps:` of an object, by the name of the map."""
    pairs = node.named() if isinstance(node, MappingNode) else ()
    return {
        name: MapSettings(
            max_entries=capacity(body.get("max_entries")),
            numa_node=number(body.get("numa_node")),
            autocreate=text(body.get("autocreate")) != "false",
            where=key.where,
            value_size=number(body.get("value_size")),
            attach=_attachment(body.get("attach")),
        )
        for name, key, body in pairs
        if isinstance(body, MappingNode)
    }


def _attachment(node: SpecNode | None) -> Attachment | None:
    """How a map is attached: `auto`, as its struct says, or not at all."""
    return attach.read(StructOps.kind, {}, node.where) if node is not None and text(node) == "auto" else None


def read_variables(node: SpecNode | None) -> dict[str, VariableValue]:
    """The `variables:` of an object, by name."""
    pairs = node.named() if isinstance(node, MappingNode) else ()
    return {name: VariableValue(value, key.where) for name, key, value in pairs if not isinstance(value, RawEntries)}


def is_loaded(body: MappingNode) -> bool:
    """Whether a program that is listed is loaded, too."""
    return text(body.get("load")) != "false"


def read_program_settings(body: MappingNode) -> ProgramSettings:
    """The `type:` and `target:` of a program."""
    kind = text(body.get("type"))
    return ProgramSettings(kind if kind in PROGRAM_TYPES else None, text(body.get("target")) or None)
