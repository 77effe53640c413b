"""The spec of a project whose spec is not at hand: from its record, its pins and the BTF of its maps.

It has the shape and the types of every map and no contents: nothing that is live differs from it. It is for reading
and for `destroy`, not for `apply`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from provisioner import document
from provisioner.adopt.export import spec_text
from provisioner.adopt.found import FoundMap, FoundTypes
from provisioner.adopt.naming import Chooser, Chosen, Naming
from provisioner.adopt.owning import member_lines, recorded_members, with_members
from provisioner.adopt.skeleton import flag_lines
from provisioner.codec.build import Builder
from provisioner.codec.display import format_value
from provisioner.codec.spelling import HERE, spell
from provisioner.language.read_types import read_type
from provisioner.model.errors import Problems
from provisioner.model.host import ByteOrder
from provisioner.model.map_shape import MapShape
from provisioner.model.record import Meta, RecordedTypes
from provisioner.model.spec import OwnedMembers
from provisioner.model.tree import MappingNode
from provisioner.model.type_expr import NamedType, TypeExpr
from provisioner.model.types import Type
from provisioner.model.uapi import BARE_TYPES, KEYLESS_TYPES, STORAGE_TYPES, MapType

_UNKNOWN: Final = MapShape(MapType.HASH, 4, 4, 1)
"""The template of an empty outer map that has no record: the kernel does not show it."""


def reconstruct(named: Mapping[str, FoundMap], record: Meta, pin_root: str, byteorder: ByteOrder) -> str:
    """The spec of the project of `record` with maps by name. A map that is pinned elsewhere is adopted,
    unless the record says that the project owns it.
    """
    return spec_text(_Writer(record, pin_root, byteorder).lines(named))


class _Writer:
    def __init__(self, record: Meta, pin_root: str, byteorder: ByteOrder) -> None:
        self._record = record
        self._pin_root = pin_root
        self._byteorder: ByteOrder = byteorder
        self._chooser = Chooser(Naming(), byteorder, {})

    def lines(self, named: Mapping[str, FoundMap]) -> Iterator[str]:
        templates: list[str] = []
        sections: dict[str, list[str]] = {"maps": [], "outer_maps": []}
        for name, each in named.items():
            sections["outer_maps" if each.shape.is_outer else "maps"] += self._map(each, name, templates)
        yield from (
            "version: 1",
            f"name: {format_value(self._record.project)}",
            f"pin_root: {format_value(self._pin_root)}",
        )
        types = self._chooser.vocabulary.types
        declared = [f"  {name}: {spell(expr)}" for name, expr in sorted(types.items())]
        for title, body in {"types": declared, "inner_templates": templates, **sections}.items():
            if body:
                yield from (f"{title}:", *body)

    def _map(self, each: FoundMap, name: str, templates: list[str]) -> Iterator[str]:
        record = self._record.types.get(name)
        types, members = recorded_types(record, self._byteorder), recorded_members(record)
        yield f"  {format_value(name)}:"
        if each.pin.rpartition("/")[0] != self._pin_root:
            yield f"    pin: {format_value(each.pin)}"
            if name in self._record.places:
                yield "    own: true"
        yield f"    type: {each.shape.map_type.word}"
        if name in self._record.protected:
            yield "    prevent_destroy: true"
        if not each.shape.is_outer:
            yield from self._shape(each, each.shape, each.types, types, members)
            yield "    contents: ignore"
            return
        shape = each.entry_shape or self._record.templates.get(name) or _UNKNOWN
        yield f"    key: {spell(self._key(each.shape, each.types, types.get('outer_key')).expr)}"
        yield f"    max_entries: {each.shape.max_entries}"
        yield from flag_lines(each.shape, "    ")
        yield f"    inner: {name}_inner"
        yield "    extra_inner_maps: keep"
        templates += [f"  {name}_inner:", f"    type: {shape.map_type.word}", "    contents: ignore"]
        templates += self._shape(each, shape, each.entry_types, types, members)

    def _shape(
        self,
        each: FoundMap,
        shape: MapShape,
        btf: FoundTypes,
        types: Mapping[str, Type],
        members: OwnedMembers | None,
    ) -> Iterator[str]:
        if shape.map_type not in KEYLESS_TYPES | BARE_TYPES:
            yield f"    key: {spell(self._key(shape, btf, types.get('key')).expr)}"
        if shape.map_type not in BARE_TYPES:
            value = self._value(each.pin, shape, btf, types.get("value"))
            yield f"    value: {spell(value.expr)}"
            yield from member_lines(with_members(value.type, members, shape, Problems()), "    ")
        if shape.map_type not in STORAGE_TYPES:
            yield f"    max_entries: {shape.max_entries}"
        yield from flag_lines(shape, "    ")

    def _key(self, shape: MapShape, btf: FoundTypes, recorded: Type | None) -> Chosen:
        if shape.is_array:
            return self._chooser.index()
        given = self._recorded(recorded, shape.key_size)
        if given is not None and recorded is not None:
            return Chosen(given, recorded)
        nothing = np.zeros((0, shape.key_size), np.uint8)
        return self._chooser.key(btf, shape.map_type, shape.key_size, nothing, None, "")

    def _value(self, pin: str, shape: MapShape, btf: FoundTypes, recorded: Type | None) -> Chosen:
        given = self._recorded(recorded, shape.value_size)
        if given is not None and recorded is not None:
            return Chosen(given, recorded)
        nothing = np.zeros((0, shape.value_size), np.uint8)
        special = self._chooser.by_pin(btf, btf.value_id, pin, nothing, loosely=True) if shape.specials else None
        return special or self._chooser.value(btf, shape.value_size, nothing, None, "")

    def _recorded(self, type_: Type | None, size: int) -> TypeExpr | None:
        """The recorded type; None where the live map, which another process can have made, has another size."""
        fits = type_ is not None and type_.size == size
        return self._chooser.vocabulary.express(type_) if fits and type_ is not None else None


def recorded_types(record: RecordedTypes | None, byteorder: ByteOrder) -> Mapping[str, Type]:
    """The recorded types of one map by `outer_key`, `key` and `value`; without those that the record does not have."""
    if record is None:
        return {}
    parts = {"outer_key": record.outer_key, "key": record.key, "value": record.value}
    wanted = {part: text for part, text in parts.items() if text}
    # The parts come after the names that they use, under names that a type cannot have.
    lines = [
        f"  {name}: {text}\n" for name, text in {**record.names, **{f".{k}": t for k, t in wanted.items()}}.items()
    ]
    problems = Problems()
    tree = document.load(["-"], stdin=io.StringIO("types:\n" + "".join(lines)), problems=problems).tree
    nodes = tree.get("types")
    pairs = nodes.named() if isinstance(nodes, MappingNode) else ()
    exprs = {name: expr for name, _, node in pairs if (expr := read_type(node, problems)) is not None}
    builder = Builder(exprs, byteorder=byteorder, problems=problems)
    built = {part: builder.build(NamedType(f".{part}", HERE)) for part in wanted}
    return {part: type_ for part, type_ in built.items() if type_ is not None}
