"""A first spec, from the maps, types and programs of an object file. Pure.

The spec has what the object contains; what only its author knows is a comment on a valid default.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from provisioner.adopt.skeleton_object import is_declarable, object_lines
from provisioner.adopt.skeleton_types import SkeletonTypes
from provisioner.codec.btf import BtfTypes
from provisioner.codec.display import format_value
from provisioner.model.map_shape import MapShape
from provisioner.model.object_file import MapDef, ObjectInfo
from provisioner.model.uapi import BARE_TYPES, KEYLESS_TYPES, SOCKET_TYPES, STORAGE_TYPES, MapFlag, MapType, flag_names

_UNLISTED: Final = KEYLESS_TYPES | BARE_TYPES | SOCKET_TYPES | STORAGE_TYPES | {MapType.STRUCT_OPS, MapType.PROG_ARRAY}
"""Types of maps whose contents a spec cannot list."""


def skeleton(info: ObjectInfo, file: str, no_target: Collection[str] = ()) -> str:
    """A spec, with comments, for the object; `file` is its path in the spec.

    It validates as it is. The project's name is that of the file, up to its first dot. `no_target` are the programs
    whose target this kernel does not have: their loader sets another one.
    """
    return "".join(f"{line}\n" for line in _Skeleton(info, file, no_target).lines())


def project_name(file: str) -> str:
    """`edge` for `build/edge.bpf.o`; characters that a name cannot have are replaced."""
    stem = re.split(r"[/\\]", file)[-1].partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]", "_", stem).lstrip("_-")
    return name or "project"


class _Skeleton:
    def __init__(self, info: ObjectInfo, file: str, no_target: Collection[str]) -> None:
        self._info = info
        self._no_target = no_target
        self._file = file
        self._name = project_name(file)
        self._types = SkeletonTypes(BtfTypes(info.btf) if info.btf else None, self._name)
        self._maps = [one for _, one in sorted(info.maps.items()) if not one.internal]

    def lines(self) -> Iterator[str]:
        # The sections come first: they decide which types are used.
        plain = [line for one in self._maps if not one.shape.is_outer for line in self._plain_map(one)]
        outer = [line for one in self._outer for line in self._outer_map(one)]
        known = [
            line
            for definition in self._declared_outer
            if definition.inner is not None
            for line in self._template(definition, definition.inner)
        ]
        templates = known + [
            line
            for definition in self._declared_outer
            if definition.inner is None
            for line in self._question(definition)
        ]
        yield f"# Generated from {format_value(self._file)}."
        yield "# Please answer the questions; everything else comes from the object."
        yield "version: 1"
        yield f"name: {format_value(self._name)}"
        yield f"# pin_root: /sys/fs/bpf/{self._name}  # the default pin directory"
        for title, lines in (
            ("types", list(self._types.lines())),
            ("inner_templates", templates),
            ("objects", list(object_lines(self._info, self._types, self._name, self._file, self._no_target))),
            ("maps", plain),
            ("outer_maps", outer),
        ):
            if lines:
                yield ""
                # A section with comments only would be an empty value.
                yield f"{title}:" if any(not line.lstrip().startswith("#") for line in lines) else f"# {title}:"
                yield from lines

    @property
    def _outer(self) -> list[MapDef]:
        return [one for one in self._maps if one.shape.is_outer]

    @property
    def _declared_outer(self) -> list[MapDef]:
        return [one for one in self._outer if is_declarable(one.name)]

    # --- maps -----------------------------------------------------------------------------------------------------

    def _plain_map(self, definition: MapDef) -> Iterator[str]:
        if definition.shape.map_type is MapType.PROG_ARRAY:
            yield from self._prog_array(definition)
        elif definition.shape.map_type in _UNLISTED:
            name = format_value(definition.name)
            yield f"  # {name}: {_shape(definition.shape)}; loaded and pinned; a spec cannot list its contents"
        elif not is_declarable(definition.name):
            yield f"  # {format_value(definition.name)}: {_shape(definition.shape)}; the spec cannot declare this name"
        else:
            shape = _shape(definition.shape)
            yield f"  {format_value(definition.name)}:  # {shape}, {_room(definition, 'entries')}{_pinned(definition)}"
            yield f"    object: {format_value(self._name)}"
            yield from self._fields(definition, "    ", value=True)
            yield "    # entries: {KEY: VALUE}  # with `entries`, all other entries are deleted"

    def _prog_array(self, definition: MapDef) -> Iterator[str]:
        filled = ", ".join(f"{slot}: {name}" for slot, name in sorted(definition.presets.items()))
        preset = f"; the object fills {{{filled}}}" if filled else ""
        yield f"  # {format_value(definition.name)}:  # prog_array, {_room(definition, 'programs')}{preset}"
        yield f"  #   object: {format_value(self._name)}"
        yield "  #   entries: {0: PROGRAM}  # slots that are not listed keep what the object puts there"

    def _outer_map(self, definition: MapDef) -> Iterator[str]:
        kind = definition.shape.map_type.word
        if not is_declarable(definition.name):
            yield f"  # {format_value(definition.name)}: {kind}; the spec cannot declare this name"
            return
        yield f"  {format_value(definition.name)}:  # {kind}, {_room(definition, 'inner maps')}{_pinned(definition)}"
        yield f"    object: {format_value(self._name)}"
        yield from self._fields(definition, "    ", value=False)
        yield f"    inner: {definition.name}_inner"
        if definition.presets:
            slots = ", ".join(f"{slot}: {{object_map: {name}}}" for slot, name in sorted(definition.presets.items()))
            yield f"    # the object fills slots, which need not be listed: {{{slots}}}"
        yield "    # inner_maps:  # one for each outer key"
        yield "    #   1: {entries: {KEY: VALUE}}"

    def _fields(self, definition: MapDef, indent: str, *, value: bool) -> Iterator[str]:
        """Types that the spec must have: those that are not in BTF, and structs, whose members can need a type."""
        fields = [("key", definition.btf_key_type_id, definition.shape.key_size)]
        if value:
            fields.append(("value", definition.btf_value_type_id, definition.shape.value_size))
        for field, id_, size in fields:
            if field == "key" and definition.shape.map_type is MapType.LPM_TRIE:
                text, note = self._types.lpm(id_, size)
                yield f"{indent}{field}: {text}{note}"
                continue
            text, note = self._types.text(id_, size, is_index=field == "key" and definition.shape.is_array)
            if id_ and text not in self._types.declared and not note:
                yield f"{indent}# {field}: {text}  # from the object's BTF"
                continue
            yield f"{indent}{field}: {text}{note}"

    def _question(self, definition: MapDef) -> Iterator[str]:
        """The template of an outer map that the object does not declare."""
        yield f"  # What is the template of `{definition.name}`? The object leaves it to its loader. Write the type,"
        yield "  # key, value and flags that the programs expect."
        unused = ", ".join(self._types.candidates())
        if unused:
            yield f"  # Structs of this object that no map uses: {unused}."
        yield f"  {definition.name}_inner:"
        yield from (f"    {field}" for field in ("type: hash", "key: u32", "value: u32", "max_entries: 1024"))

    def _template(self, definition: MapDef, inner: MapDef) -> Iterator[str]:
        yield f"  {definition.name}_inner:  # from the object"
        yield f"    type: {inner.shape.map_type.word}"
        kind = inner.shape.map_type
        if kind is MapType.LPM_TRIE:
            text, note = self._types.lpm(inner.btf_key_type_id, inner.shape.key_size)
            yield f"    key: {text}{note}"
        elif kind not in KEYLESS_TYPES | BARE_TYPES:
            text, note = self._types.text(inner.btf_key_type_id, inner.shape.key_size, is_index=inner.shape.is_array)
            yield f"    key: {text}{note}"
        if kind not in BARE_TYPES:
            text, note = self._types.text(inner.btf_value_type_id, inner.shape.value_size)
            yield f"    value: {text}{note}"
        if inner.shape.max_entries:
            yield f"    max_entries: {inner.shape.max_entries}"
        elif kind not in STORAGE_TYPES:
            size = 262144 if kind in BARE_TYPES else 1024
            yield f"    max_entries: {size}  # the object does not say"
        yield from flag_lines(inner.shape, "    ")
        if kind in _UNLISTED or "lru" in kind.word:
            yield "    contents: ignore  # the entries cannot be listed, or are evicted"


def _room(definition: MapDef, what: str) -> str:
    return f"room for {definition.shape.max_entries:,} {what}" if definition.shape.max_entries else "no size"


def _pinned(definition: MapDef) -> str:
    return "; other loaders share it by name (LIBBPF_PIN_BY_NAME)" if definition.is_pinned_by_name else ""


def _shape(shape: MapShape) -> str:
    return f"{shape.map_type.word}, {shape.key_size}-byte keys, {shape.value_size}-byte values"


def flag_lines(shape: MapShape, indent: str) -> Iterator[str]:
    """`flags:` and `map_extra:` of a shape as a spec writes them."""
    names = flag_names(shape.map_flags & ~MapFlag.NUMA_NODE)
    if names:
        yield f"{indent}flags: [{', '.join(names)}]"
    if shape.map_extra:
        yield f"{indent}map_extra: {shape.map_extra}"
    if shape.numa_node is not None:
        yield f"{indent}numa_node: {shape.numa_node}"
