"""From the fields of the spec and the maps of an object to the shape and types of each map. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from provisioner.codec.btf import BtfTypes
from provisioner.codec.build import Builder
from provisioner.codec.nothing import Nothing
from provisioner.codec.percpu import PerCpu
from provisioner.codec.program_ref import ProgramRef
from provisioner.codec.resolve import Lookup
from provisioner.desired.jumps import program_names
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape, shape_differences, unmakeable
from provisioner.model.object_file import MapDef, ObjectInfo
from provisioner.model.spec import InnerTemplate, MapFields, OuterMap, PlainMap, Spec
from provisioner.model.special_fields import Special
from provisioner.model.type_expr import BtfType, NamedType, TypeExpr, reachable
from provisioner.model.types import Type
from provisioner.model.uapi import BARE_TYPES, FD_MODES, KEYLESS_TYPES, STORAGE_TYPES, MapFlag, MapType
from provisioner.model.words import with_article

_INNER_VALUE_SIZE = 4
"""Bytes of an outer map's value: an fd when written, an id when read (kernel/bpf/map_in_map.c)."""


class ResolvedMap(msgspec.Struct, frozen=True):
    """Shapes and types of one map. `outer_key` is None for a plain map, whose `entry_shape` is `shape`."""

    shape: MapShape
    entry_shape: MapShape
    outer_key: Type | None
    key: Type
    value: Type


class Resolver:
    """Resolves the maps of one spec. Errors go to `problems`, and the result for that map is None."""

    def __init__(
        self,
        spec: Spec,
        host: Host,
        objects: Mapping[str, ObjectInfo],
        btf: Mapping[str, BtfTypes],
        lookups: Mapping[str, Lookup],
        problems: Problems,
    ) -> None:
        self._spec = spec
        self._host = host
        self._objects = objects
        self._problems = problems
        self._btf = btf
        self._lookups = lookups
        self._builders: dict[str | None, Builder] = {}

    @property
    def objects(self) -> Mapping[str, ObjectInfo]:
        """The objects of the spec that could be read."""
        return self._objects

    def builder(self, object_name: str | None) -> Builder:
        """The builder for the maps of an object: BTF without a source is that of the object."""
        if object_name not in self._builders:
            own = self._btf.get(object_name or "")
            self._builders[object_name] = Builder(
                self._spec.types,
                byteorder=self._host.byteorder,
                problems=self._problems,
                btf={**self._btf, "": own} if own is not None else self._btf,
                lookups=self._lookups,
            )
        return self._builders[object_name]

    def with_types(self, object_name: str | None, types: Mapping[str, TypeExpr]) -> Builder:
        """A builder for the types of an earlier version of a map, which has `types` of its own."""
        own = self._btf.get(object_name or "")
        return Builder(
            {**self._spec.types, **types},
            byteorder=self._host.byteorder,
            problems=self._problems,
            btf={**self._btf, "": own} if own is not None else self._btf,
            lookups=self._lookups,
        )

    def unused_types(self) -> None:
        """Build the declared types that no map uses, to report their problems.

        Types that take their layout from the object of a map are left out: without a map they have no layout.
        """
        asked = {name for builder in self._builders.values() for name in builder.built}
        for name, expr in self._spec.types.items():
            if name not in asked and not self._needs_object(expr):
                self.builder(None).build(NamedType(name, expr.where))

    def _needs_object(self, expr: TypeExpr) -> bool:
        """Whether the layout of the type, or of a named type within it, comes from the object of a map."""
        return any(isinstance(part, BtfType) and not part.source for part in reachable(expr, self._spec.types))

    def plain(self, plain: PlainMap) -> ResolvedMap | None:
        definition = self._definition(plain.object, plain.name, plain.where)
        if plain.object is not None and definition is None:
            return None
        key, value = self._types(plain.fields, definition, plain.object, plain.where, plain.name)
        if key is None or value is None:
            return None
        shape = self._shape(
            plain.fields, key.size, value.size, value.specials, _shape_of(definition), plain.where, plain.name
        )
        if shape is None:
            return None
        return ResolvedMap(shape, shape, None, key, self._spread(shape, value))

    def outer(self, outer: OuterMap) -> ResolvedMap | None:
        definition = self._definition(outer.object, outer.name, outer.where)
        if outer.object is not None and definition is None:
            return None
        if definition is not None and not definition.shape.is_outer:
            self._problems.add(
                f"map `{outer.name}` of the object has the type {definition.shape.map_type.word}, not a map of maps",
                outer.where,
                "declare it under `maps`",
                id="object-mismatch",
            )
            return None
        template = self._template(outer, definition)
        outer_key = self._outer_key(outer, definition)
        if template is None or outer_key is None:
            return None
        entry_shape, key, value = template
        shape = self._shape(
            outer.fields, outer_key.size, _INNER_VALUE_SIZE, (), _shape_of(definition), outer.where, outer.name
        )
        if shape is None:
            return None
        return ResolvedMap(shape, entry_shape, outer_key, key, self._spread(entry_shape, value))

    def template_shape(
        self, template: InnerTemplate, object_name: str | None, definition: MapDef | None
    ) -> tuple[MapShape, Type, Type] | None:
        """Shape, key and value type of an inner template, compared with the inner map that the object declares."""
        inner = definition.inner if definition is not None else None
        declared = inner.shape if inner is not None else None
        where = template.where
        key, value = self._types(template.fields, inner, object_name, where, template.name)
        if key is None or value is None:
            return None
        shape = self._shape(template.fields, key.size, value.size, value.specials, None, where, template.name)
        if shape is None:
            return None
        if declared is not None:
            declared = declared.with_sizes(shape.key_size, shape.value_size)
        if declared is not None and shape.numa_node is None:
            shape = replace(shape, numa_node=declared.numa_node)
        difference = shape_differences(shape, declared, capacity=False) if declared is not None else ""
        if definition is not None and difference:
            self._problems.add(
                f"inner template `{template.name}` differs from the inner map that the object declares for "
                f"`{definition.name}`: {difference}",
                where,
                "use the shape of the object: the kernel accepts no other inner maps",
                id="object-mismatch",
            )
            return None
        return shape, key, value

    def _template(self, outer: OuterMap, definition: MapDef | None) -> tuple[MapShape, Type, Type] | None:
        template = self._spec.inner_templates.get(outer.inner)
        if template is None:
            return None  # reported by `language.rules`
        return self.template_shape(template, outer.object, definition)

    def _outer_key(self, outer: OuterMap, definition: MapDef | None) -> Type | None:
        if outer.fields.key is None and definition is not None and not definition.btf_key_type_id:
            if definition.shape.key_size == 4:
                return self.builder(outer.object).build(NamedType("u32", outer.where))
            self._problems.add(
                f"the object does not declare the key type of `{outer.name}` ({definition.shape.key_size} bytes)",
                outer.where,
                "write `key:`",
                id="missing-field",
            )
            return None
        key, _ = self._types(outer.fields, definition, outer.object, outer.where, outer.name, value=False)
        return key

    def definition(self, declared: PlainMap | OuterMap) -> MapDef | None:
        """What the object of a map says of it; None for a map that no object brings."""
        info = self._objects.get(declared.object or "")
        return info.maps.get(declared.name) if info is not None else None

    def _definition(self, object_name: str | None, name: str, where: Location) -> MapDef | None:
        if object_name is None or object_name not in self._objects:
            return None
        maps = self._objects[object_name].maps
        if name not in maps:
            known = [other for other, declared in maps.items() if not declared.internal]
            hint = did_you_mean(name, known)
            self._problems.add(f"object `{object_name}` has no map `{name}`", where, hint, id="unknown-map")
        return maps.get(name)

    def _types(
        self,
        fields: MapFields,
        definition: MapDef | None,
        object_name: str | None,
        where: Location,
        name: str,
        *,
        value: bool = True,
    ) -> tuple[Type | None, Type | None]:
        """Key and value type: from the spec, otherwise from the BTF of the object."""
        btf_key = definition.btf_key_type_id if definition is not None else 0
        btf_value = definition.btf_value_type_id if definition is not None else 0
        kind = fields.map_type
        if kind is None and definition is not None:
            kind = definition.shape.map_type
        absent = {"key": kind in KEYLESS_TYPES | BARE_TYPES, "value": kind in BARE_TYPES}
        types: list[Type | None] = []
        wanted = [("key", fields.key, btf_key)]
        if value:
            wanted.append(("value", fields.value, btf_value))
        for field, written, btf_id in wanted:
            if absent[field]:
                types.append(Nothing())
            elif field == "value" and kind is MapType.PROG_ARRAY:
                types.append(ProgramRef(self._host.byteorder, program_names(self._spec.objects.values())))
            elif written is not None:
                types.append(self.builder(object_name).build(written))
            elif btf_id and object_name:
                types.append(self.builder(object_name).from_btf_id(btf_id, where))
            else:
                types.append(None)
                if definition is None and (kind is not None or len(self._problems)):  # reported by `language`
                    continue
                hint = f"write `{field}: u32`, or another type"
                self._problems.missing(f"`{name}` has no `{field}` type", where, hint, id="missing-field")
        return types[0], types[1] if value else None

    def _shape(
        self,
        fields: MapFields,
        key_size: int,
        value_size: int,
        specials: tuple[Special, ...],
        declared: MapShape | None,
        where: Location,
        name: str,
    ) -> MapShape | None:
        """The shape from the spec, completed from the object. The two must not contradict each other."""
        map_type, max_entries = fields.map_type, fields.max_entries
        if declared is not None:
            declared = declared.with_sizes(key_size, value_size)
            map_type = declared.map_type if map_type is None else map_type
            max_entries = declared.max_entries if max_entries is None else max_entries
        if max_entries is None and map_type in STORAGE_TYPES:
            max_entries = 0
        if map_type is None or max_entries is None:
            if len(self._problems):  # the field is invalid, which is reported
                return None
            field = "type" if map_type is None else "max_entries"
            self._problems.missing(f"`{name}` has no `{field}`", where, f"write `{field}:`", id="missing-field")
            return None
        flags = fields.map_flags if fields.map_flags is not None else (declared.map_flags if declared else MapFlag(0))
        extra = fields.map_extra if fields.map_extra is not None else (declared.map_extra if declared else 0)
        flags &= ~FD_MODES  # of the fd that creates a map: no other fd has them, and the kernel compares them nowhere
        shape = MapShape(map_type, key_size, value_size, max_entries, flags, extra, fields.numa_node, specials)
        shape = shape.with_capacity(shape.kept_capacity(max_entries, self._host.possible_cpus))
        if shape.is_array and key_size != 4:
            self._problems.add(
                f"the key of {with_article(map_type.word)} must have 4 bytes, and that of `{name}` has {key_size}",
                where,
                "write `key: u32`",
                id="unsupported-by-map-type",
            )
            return None
        if declared is None and (refused := unmakeable(shape)):
            hint = "use another map type, or remove what it cannot have"
            self._problems.add(refused, where, hint, name, id="unsupported-by-map-type")
            return None
        if declared is not None and (difference := shape_differences(shape, declared)):
            self._problems.add(
                f"`{name}` differs from the map of the object: {difference}",
                where,
                "use the shape of the object, or leave these fields out",
                id="object-mismatch",
            )
            return None
        return shape

    def _spread(self, shape: MapShape, value: Type) -> Type:
        """The value type of a map: per-CPU maps have one value for each possible CPU."""
        return PerCpu(value, self._host.possible_cpus) if shape.is_percpu else value


def _shape_of(definition: MapDef | None) -> MapShape | None:
    return definition.shape if definition is not None else None
