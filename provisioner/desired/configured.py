"""Objects as their loader configures them: the shapes that maps have once they are created. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from provisioner.desired.typed_programs import typed
from provisioner.model.desired import DesiredMap
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.host import Host
from provisioner.model.map_shape import MapShape
from provisioner.model.object_file import MapDef, ObjectInfo
from provisioner.model.object_settings import MapSettings
from provisioner.model.program_types import STRUCT_OPS
from provisioner.model.spec import BpfObject, OuterMap, PlainMap, Spec
from provisioner.model.uapi import (
    ADDRESS_SIZE,
    BARE_TYPES,
    KEYLESS_TYPES,
    STACK_SIZE,
    STORAGE_TYPES,
    STRUCT_OPS_LINK,
    MapType,
)
from provisioner.model.words import with_article

_SIZELESS: Final = STORAGE_TYPES | {MapType.STRUCT_OPS}
"""Types whose max_entries is 0, or set by libbpf."""

_RING_BUFFERS: Final = (MapType.RINGBUF, MapType.USER_RINGBUF)
_SMALLEST_PAGE: Final = 4096

_AS_IN_ELF: Final = (None, None, True)


def configured(
    spec: Spec, host: Host, objects: Mapping[str, ObjectInfo], problems: Problems
) -> dict[str, tuple[ObjectInfo, dict[str, MapSettings]]]:
    """Each object with its maps as they will be created, and the settings that make them so.

    A map that is not created is no longer among the object's maps.
    """
    declared: dict[str, list[PlainMap | OuterMap]] = {}
    both: list[PlainMap | OuterMap] = [*spec.maps.values(), *spec.outer_maps.values()]
    for declaration in both:
        for owner in declaration.objects:
            declared.setdefault(owner, []).append(declaration)
    return {
        name: _Configurator(spec.objects[name], info, host, problems).run(declared.get(name, ()))
        for name, info in objects.items()
    }


def with_type_sizes(
    owner: str, info: ObjectInfo, settings: Mapping[str, MapSettings], maps: Mapping[str, DesiredMap]
) -> dict[str, MapSettings]:
    """The settings of the object `owner`, with sizes of declared types where the object leaves them to its loader."""
    sized = dict(settings)
    for name, definition in info.maps.items():
        desired, there = maps.get(name), definition.shape
        if desired is None or owner not in desired.objects or there == there.with_sizes(*_sizes(desired)):
            continue
        key, value = _sizes(desired)
        own = settings.get(name) or MapSettings(*_AS_IN_ELF, desired.where)
        sized[name] = replace(
            own, key_size=None if there.key_size else key, value_size=own.value_size if there.value_size else value
        )
    return sized


def _sizes(desired: DesiredMap) -> tuple[int, int]:
    return desired.shape.key_size, desired.shape.value_size


class _Configurator:
    def __init__(self, object_: BpfObject, info: ObjectInfo, host: Host, problems: Problems) -> None:
        self._object = object_
        self._info = info
        self._host = host
        self._problems = problems

    def run(self, declared: Sequence[PlainMap | OuterMap]) -> tuple[ObjectInfo, dict[str, MapSettings]]:
        maps = {name: self._sized(definition) for name, definition in self._info.maps.items()}
        settings = {name: one for name, one in self._object.maps.items() if self._is_known(name, one)}
        wanted = {each.name for each in declared}
        for each in declared:
            if each.name in maps:
                self._merge(each, maps[each.name], settings)
        for name, setting in settings.items():
            if setting.autocreate:
                maps[name] = self._set(maps[name], setting)
            elif name not in wanted:
                del maps[name]
        for name, definition in maps.items():
            maps[name] = self._without_left_out(definition, settings)
        for name, definition in maps.items():
            self._check_size(name, definition, is_declared=name in wanted)
            self._check_programs(name, definition)
        return typed(self._object, replace(self._info, maps=maps), self._problems), settings

    def _without_left_out(self, definition: MapDef, settings: dict[str, MapSettings]) -> MapDef:
        """A slot of a prog_array stays empty where its program has `load: false`."""
        names = {program.name for program in self._object.left_out}.intersection(definition.presets.values())
        if definition.shape.map_type is not MapType.PROG_ARRAY or not names:
            return definition
        own = settings.get(definition.name) or MapSettings(*_AS_IN_ELF, self._object.where)
        settings[definition.name] = replace(own, left_out=tuple(sorted(names)))
        return replace(definition, presets={at: name for at, name in definition.presets.items() if name not in names})

    def _is_known(self, name: str, settings: MapSettings) -> bool:
        definition = self._info.maps.get(name)
        if definition is not None and not definition.internal:
            return True
        known = [other for other, each in self._info.maps.items() if not each.internal]
        hint = did_you_mean(name, known)
        what = f"object `{self._object.name}` has no map `{name}`"
        self._problems.add(what, settings.where, hint, self._object.name, id="unknown-map")
        return False

    def _sized(self, definition: MapDef) -> MapDef:
        """A perf_event_array without a size gets a slot for each possible CPU (map_set_def_max_entries in libbpf)."""
        inner = self._sized(definition.inner) if definition.inner is not None else None
        shape = definition.shape
        if shape.map_type is MapType.PERF_EVENT_ARRAY and not shape.max_entries:
            shape = shape.with_capacity(self._host.possible_cpus)
        return replace(definition, shape=shape, inner=inner)

    def _merge(self, each: PlainMap | OuterMap, definition: MapDef, settings: dict[str, MapSettings]) -> None:
        """Add what the declaration of a map says of its size and node, where that is not what the ELF says."""
        own = settings.get(each.name) or MapSettings(*_AS_IN_ELF, each.where)
        if not own.autocreate:
            what = (
                f"map `{each.name}` is declared, but `autocreate: false` of object `{self._object.name}` leaves it out"
            )
            self._problems.add(what, each.where, "remove one of them", each.name, id="map-not-created")
            return
        shape, fields = definition.shape, each.fields
        for field, here, there in (
            ("max_entries", fields.max_entries, own.max_entries),
            ("numa_node", fields.numa_node, own.numa_node),
        ):
            if here is not None and there is not None and here != there:
                what = f"`{field}` of `{each.name}` is {here} here and {there} under object `{self._object.name}`"
                self._problems.add(what, each.where, "write it in one place", each.name, id="conflicting-settings")
        size = _unless(fields.max_entries, shape.max_entries, own.max_entries)
        node = _unless(fields.numa_node, shape.numa_node, own.numa_node)
        if (size, node) != (None, None):
            settings[each.name] = replace(own, max_entries=size, numa_node=node)

    def _set(self, definition: MapDef, settings: MapSettings) -> MapDef:
        shape = definition.shape
        if settings.max_entries is not None:
            self._check_ring_buffer(shape, settings)
            shape = shape.with_capacity(shape.kept_capacity(settings.max_entries, self._host.possible_cpus))
        if settings.value_size is not None:
            self._check_stack(shape, settings)
            shape = replace(shape, value_size=settings.value_size)
        if settings.numa_node is not None:
            shape = replace(shape, numa_node=settings.numa_node)
        if settings.attach is not None:
            shape = replace(shape, map_flags=shape.map_flags | STRUCT_OPS_LINK)
        return replace(definition, shape=shape)

    def _check_ring_buffer(self, shape: MapShape, settings: MapSettings) -> None:
        """The kernel takes powers of two of at least a page; libbpf would round anything else up."""
        size = settings.max_entries or 0
        if shape.map_type in _RING_BUFFERS and (size % _SMALLEST_PAGE or size & (size - 1)):
            what = f"the size of a {shape.map_type.word} is a power of two and a multiple of the page size"
            hint = f"write {max(_SMALLEST_PAGE, 1 << size.bit_length())}"
            self._problems.add(what, settings.where, hint, self._object.name, id="invalid-value")

    def _check_stack(self, shape: MapShape, settings: MapSettings) -> None:
        """A value of a stack_trace is an address for each frame; other values have the size of their type."""
        if shape.map_type is not MapType.STACK_TRACE:
            what, hint = f"the value_size of {with_article(shape.map_type.word)} is that of its type", "remove it"
        elif not settings.value_size or settings.value_size % ADDRESS_SIZE:
            what, hint = "the value_size of a stack_trace is a multiple of 8: an address for each frame", "write 1016"
        else:
            return
        self._problems.add(what, settings.where, hint, self._object.name, id="invalid-value")

    def _check_programs(self, name: str, definition: MapDef) -> None:
        """A struct_ops map whose programs are not loaded makes libbpf 1.1 write through a null pointer."""
        if definition.shape.map_type is not MapType.STRUCT_OPS:
            return
        loaded = {program.name for program in self._object.programs}
        missing = [
            each.name for each in self._info.programs.values() if each.type == STRUCT_OPS and each.name not in loaded
        ]
        if missing:
            what = f"map `{name}` of object `{self._object.name}` needs the program `{missing[0]}`, which is not loaded"
            hint = f"list it under `programs`, or write `maps: {{{name}: {{autocreate: false}}}}` under the object"
            self._problems.add(what, self._object.where, hint, name, id="map-not-created")

    def _check_size(self, name: str, definition: MapDef, *, is_declared: bool) -> None:
        shape = definition.shape
        if not is_declared and not definition.internal and (sizes := sizes_missing(shape)):
            what = f"map `{name}` of object `{self._object.name}` has no {sizes[0]}"
            types = ", ".join(f"{size.removesuffix('_size')}: TYPE" for size in sizes)
            hint = f"declare it: `maps: {{{name}: {{object: {self._object.name}, {types}}}}}`"
            self._problems.add(what, self._object.where, hint, name, id="size-missing")
        missing = []
        if not (definition.internal or shape.max_entries or shape.map_type in _SIZELESS):
            missing.append(("max_entries", 1024))
        if shape.map_type is MapType.STACK_TRACE and not shape.value_size:
            missing.append(("value_size", STACK_SIZE))
        for field, size in missing:
            what = f"map `{name}` of object `{self._object.name}` has no {field}"
            hint = f"write `maps: {{{name}: {{{field}: {size}}}}}` under the object"
            self._problems.add(what, self._object.where, hint, name, id="max-entries-missing")


def sizes_missing(shape: MapShape) -> list[str]:
    """The sizes that maps of this type need, and that an object leaves to its loader: `key_size`, `value_size`."""
    sizes = [("key_size", shape.key_size, KEYLESS_TYPES | BARE_TYPES), ("value_size", shape.value_size, BARE_TYPES)]
    none_needed = {MapType.STRUCT_OPS, MapType.STACK_TRACE}
    return [name for name, size, absent in sizes if not size and shape.map_type not in absent | none_needed]


def _unless(declared: int | None, in_elf: int | None, own: int | None) -> int | None:
    """The setting that a declaration makes: none for what the ELF says already."""
    return own if declared is None or (own is None and declared == in_elf) else declared
