"""Live maps as a spec that adopts them by their pins. A plan of the spec has no changes. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Final

import msgspec
from msgspec.structs import replace

from provisioner.adopt.export_entries import EntryWriter, key_text
from provisioner.adopt.found import FoundMap, lists_entries
from provisioner.adopt.naming import Chooser, Chosen, Named, Naming
from provisioner.adopt.owning import member_lines, with_members
from provisioner.adopt.skeleton import flag_lines
from provisioner.codec.btf import BtfTypes
from provisioner.codec.display import format_value
from provisioner.codec.spelling import spell
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.host import ByteOrder
from provisioner.model.map_shape import MapShape
from provisioner.model.type_expr import NamedType, TypeExpr, parts
from provisioner.model.uapi import BARE_TYPES, KEYLESS_TYPES, STORAGE_TYPES
from provisioner.model.words import plural

DEFAULT_PROJECT: Final = "adopted"

_LISTED: Final = 5
"""Slots that a comment or note lists."""


class Exported(msgspec.Struct, frozen=True):
    """A spec; `files` are tables in the same directory, by name; `notes` are for the user."""

    spec: str
    files: dict[str, bytes]
    notes: tuple[str, ...]


def export(
    live_maps: Sequence[FoundMap],
    naming: Naming,
    byteorder: ByteOrder,
    project: str,
    *,
    pin_root: str,
    tables: bool,
    btf: Mapping[str, BtfTypes],
) -> Exported:
    """The spec of `live_maps`. With `tables`, long contents are written to files in the same directory.

    `btf` has the BTF of types in `naming`, by their `from`; `pin_root` is written if it is not empty.
    Raises InputError if `naming` does not fit the live maps.
    """
    return _Exporter(naming, Chooser(naming, byteorder, btf), tables).write(live_maps, project, pin_root)


class _Exporter:
    def __init__(self, naming: Naming, chooser: Chooser, tables: bool) -> None:
        self._naming = naming
        self._chooser = chooser
        self._entries = EntryWriter(tables)
        self._exprs: list[TypeExpr] = []
        self._notes: list[str] = []
        self._names: set[str] = set()
        self._twice: frozenset[int] = frozenset()
        self._templates: list[str] = []
        self._shared: list[str] = []
        self._plain: list[str] = []
        self._outer: list[str] = []

    def write(self, live_maps: Sequence[FoundMap], project: str, pin_root: str) -> Exported:
        self._twice = _held_twice(live_maps)
        for live in live_maps:
            name = free_name(live, self._names)
            if live.shape.is_outer:
                self._outer_map(live, name)
            else:
                self._plain_map(live, name)
        self._note_unused_types()
        lines = ["# Exported live maps. This project adopts them: it never creates or unpins them."]
        lines += ["version: 1", f"name: {format_value(project)}"]
        if pin_root:
            lines.append(f"pin_root: {format_value(pin_root)}")
        sections = (
            ("types", self._types()),
            ("inner_templates", self._templates),
            ("shared_inner_maps", self._shared),
            ("maps", self._plain),
            ("outer_maps", self._outer),
        )
        for title, body in sections:
            lines += ["", f"{title}:", *body] if body else []
        return Exported(spec_text(lines), self._entries.files, tuple(self._notes))

    def _note_unused_types(self) -> None:
        """Maps of --types that are not exported: a name with an error would be ignored silently."""
        unused = sorted(set(self._naming.maps) - self._names)
        if unused:
            hints = [did_you_mean(name, self._names - set(self._naming.maps), " ").strip() for name in unused]
            named = ", ".join(
                f"`{name}`{f' ({hint})' if hint else ''}" for name, hint in zip(unused, hints, strict=True)
            )
            self._notes.append(f"--types declares maps that are not exported: {named}")

    def _pin_line(self, live: FoundMap, name: str) -> str:
        path = _pin(live, name)
        if live.pin:
            return f"    pin: {format_value(path)}"
        command = f"bpftool map pin id {live.id} {path}"
        self._notes.append(f"map id {live.id} has no pin, and only a pin can be adopted: run `{command}`")
        return f"    pin: {path}  # does not exist yet: {command}"

    # --- maps -----------------------------------------------------------------------------------------------------

    def _plain_map(self, live: FoundMap, name: str) -> None:
        shape, inner = live.shape, live.inners[0]
        named = self._naming.maps.get(name, Named())
        key, value = self._pair(live, name, shape, named, name)
        out = self._plain
        out += [f"  {name}:", self._pin_line(live, name), f"    type: {shape.map_type.word}"]
        out += self._shape(shape, key, value, shape.max_entries)
        if key is None or value is None or not lists_entries(shape):
            out.append("    contents: ignore  # the entries change on their own, or cannot be listed")
            return
        out += self._entries.entries(name, inner.keys, inner.values, key.type, value.type, "    ")

    def _outer_map(self, live: FoundMap, name: str) -> None:
        named = self._naming.maps.get(name, Named())
        shape = live.shape
        outer_key = self._chooser.index() if shape.is_array else None
        if outer_key is None:
            size = shape.key_size
            outer_key = self._chooser.key(
                live.types, shape.map_type, size, live.slots, named.outer_key, f"{name}'s key"
            )
        self._exprs.append(outer_key.expr)
        template = f"{name}_inner"
        out = self._outer
        out += [f"  {name}:", self._pin_line(live, name), f"    type: {shape.map_type.word}"]
        out += [
            f"    key: {spell(outer_key.expr)}",
            f"    max_entries: {shape.max_entries}",
            *flag_lines(shape, "    "),
        ]
        out.append(f"    inner: {template}")
        entry_shape = live.entry_shape or live.template
        if entry_shape is None:
            self._notes.append(f"{name} is empty, and the kernel does not show its inner template: write the template")
            self._templates += [
                f"  # What is the template of `{name}`? The map is empty, and the kernel does not show the template.",
                f"  {template}: {{type: hash, key: u32, value: u32, max_entries: 1}}",
            ]
            return
        usual = Counter(inner.max_entries for inner in live.inners).most_common(1)
        capacity = live.template.max_entries if live.template is not None else usual[0][0]
        key, value = self._pair(live, name, entry_shape, named, f"{name}'s inner maps")
        self._template(template, entry_shape, key, value, capacity)
        apart = [live.inners[number].id in self._twice for number in live.slot_inner]
        if any(apart):
            out += self._apart(live, name, outer_key, apart)
            kept = [row for row, is_apart in enumerate(apart) if not is_apart]
            live = replace(live, slots=live.slots[kept], slot_inner=tuple(live.slot_inner[row] for row in kept))
        out += self._slots(live, name, outer_key, key, value, capacity)

    def _apart(self, live: FoundMap, name: str, outer_key: Chosen, apart: list[bool]) -> Iterator[str]:
        """The slots that a spec cannot declare, because their inner map is in another map too: they are kept."""
        rows = [row for row, is_apart in enumerate(apart) if is_apart]
        keys = [format_value(key) for key in outer_key.type.decode(live.slots[rows])]
        ids = sorted({live.inners[live.slot_inner[row]].id for row in rows})
        listed = ", ".join(keys[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")
        known = f"{plural(len(rows), 'slot')} of {name} ({listed})"
        why = "their inner maps are in other maps too, which a spec cannot declare"
        self._notes.append(f"{known} not listed, and kept: {why}")
        numbers = ", ".join(map(str, ids[:_LISTED]))
        yield f"    # Not listed: {listed}. Other maps hold these inner maps too: id {numbers}."
        yield "    extra_inner_maps: keep"

    def _pair(
        self, live: FoundMap, name: str, shape: MapShape, named: Named, who: str
    ) -> tuple[Chosen | None, Chosen | None]:
        """Types of the keys and values of maps of one shape; None for a part that such maps do not have."""
        types = live.entry_types
        key = value = None
        if shape.map_type not in KEYLESS_TYPES | BARE_TYPES:
            rows = self._entries.joined([inner.keys for inner in live.inners], shape.key_size)
            key = self._chooser.index() if shape.is_array else None
            if key is None:
                pin = str(live.pin or "")
                who_key = f"the key of {who}"
                key = self._chooser.key(types, shape.map_type, shape.key_size, rows, named.key, who_key, pin)
            self._exprs.append(key.expr)
        if shape.map_type not in BARE_TYPES:
            rows = self._entries.joined([inner.values for inner in live.inners], shape.value_size)
            if shape.specials and named.value is None:
                value = self._chooser.by_pin(types, types.value_id, _pin(live, name), rows, loosely=True)
            if value is None:
                pin, whose = str(live.pin or ""), f"the value of {who}"
                value = self._chooser.value(types, shape.value_size, rows, named.value, whose, pin)
            if value.type.specials != shape.specials:
                hint = "`value: {btf: struct NAME, from: PIN}` in a file for --types"
                self._notes.append(f"the value of {who} has {_undeclared(shape)}: a plan will differ (try {hint})")
            self._exprs.append(value.expr)
            value = self._owned(value, named, shape, who)
        return key, value

    def _owned(self, value: Chosen, named: Named, shape: MapShape, who: str) -> Chosen:
        """The type of values in which only the owned members are the spec's."""
        problems = Problems()
        type_ = with_members(value.type, named.members, shape, problems)
        if len(problems):
            self._notes.append(f"`owned_members` of {who} are not written: {next(iter(problems)).what}")
        return replace(value, type=type_)

    def _template(self, name: str, shape: MapShape, key: Chosen | None, value: Chosen | None, capacity: int) -> None:
        self._templates += [f"  {name}:", f"    type: {shape.map_type.word}", *self._shape(shape, key, value, capacity)]
        if not lists_entries(shape):
            self._templates.append("    contents: ignore  # the entries change on their own, or cannot be listed")

    def _shape(self, shape: MapShape, key: Chosen | None, value: Chosen | None, capacity: int) -> Iterator[str]:
        if key is not None:
            yield f"    key: {spell(key.expr)}"
        if value is not None:
            if value.type.specials != shape.specials:
                yield f"    # Incomplete: the values have {_undeclared(shape)}."
            yield f"    value: {spell(value.expr)}"
            yield from member_lines(value.type, "    ")
        if shape.map_type not in STORAGE_TYPES:
            yield f"    max_entries: {capacity}"
        yield from flag_lines(shape, "    ")

    def _slots(
        self, live: FoundMap, name: str, outer_key: Chosen, key: Chosen | None, value: Chosen | None, capacity: int
    ) -> Iterator[str]:
        times = Counter(live.slot_inner)
        listed = live.entry_shape is not None and lists_entries(live.entry_shape)
        if listed and key is not None and value is not None:
            uniform = all(
                inner.max_entries == capacity and len(inner.keys) and times[number] == 1
                for number, inner in enumerate(live.inners)
            )
            table = self._entries.long_table(live, name, outer_key.type, key.type, value.type) if uniform else None
            if table is not None:
                yield table
                return
        several = (number for number, count in times.items() if count > 1)
        shared = {number: f"{name}_shared_{place}" for place, number in enumerate(several, start=1)}

        def body(number: int, label: str, indent: str) -> Iterator[str]:
            inner = live.inners[number]
            if inner.max_entries != capacity:
                yield f"{indent}max_entries: {inner.max_entries}"
            if listed and key is not None and value is not None:
                yield from self._entries.entries(label, inner.keys, inner.values, key.type, value.type, indent)

        for number, label in shared.items():
            self._shared += [f"  {label}:", f"    inner: {name}_inner", *body(number, label, "    ")]
        yield "    inner_maps:" if live.slot_inner else "    inner_maps: {}"
        for number, decoded in zip(live.slot_inner, outer_key.type.decode(live.slots), strict=True):
            text = key_text(decoded)
            label = f"{name}-{re.sub(r'[^A-Za-z0-9._-]', '_', str(decoded))}" if text else f"{name}-{number}"
            lines = list(body(number, label, "")) if number not in shared else [f"shared: {shared[number]}"]
            if text is None:
                yield f"      - key: {format_value(decoded)}"
                yield from (f"        {line}" for line in lines)
            elif lines:
                yield f"      {text}:"
                yield from (f"        {line}" for line in lines)
            else:
                yield f"      {text}: {{}}"

    # --- types ----------------------------------------------------------------------------------------------------

    def _types(self) -> list[str]:
        """Declarations of the named types in use, by name."""
        known = self._chooser.vocabulary.types
        wanted: set[str] = set()
        waiting = [name for expr in self._exprs for name in _names(expr)]
        while waiting:
            name = waiting.pop()
            if name in known and name not in wanted:
                wanted.add(name)
                waiting += _names(known[name])
        return [f"  {name}: {spell(known[name])}" for name in sorted(wanted)]


def spec_text(lines: Iterable[str]) -> str:
    """A generated spec. It has no variables: a `${` is part of a value that is live, or of a pin."""
    return "".join(f"{line}\n" for line in lines).replace("${", "$${")


def map_name(pin: str | PurePath) -> str:
    """The last part of a pin, as far as the name of a map can have it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", str(pin).rpartition("/")[2]).lstrip("_-")


def free_name(live: FoundMap, taken: set[str]) -> str:
    """The name of a map in a spec: that of its pin, or of the map, as far as a name can have it. Added to `taken`."""
    stem = map_name(live.pin or live.name) or f"map_{live.id}"
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


def _held_twice(live_maps: Sequence[FoundMap]) -> frozenset[int]:
    """The ids of inner maps that are in several outer maps, or are themselves one of the maps."""
    holders = Counter(number for live in live_maps for number in {live.id, *(inner.id for inner in live.inners)})
    return frozenset(number for number, count in holders.items() if count > 1)


def _pin(live: FoundMap, name: str) -> str:
    """The pin of a map, or the pin that the export asks the user to create."""
    return live.pin or f"/sys/fs/bpf/{name}"


def _undeclared(shape: MapShape) -> str:
    return f"kernel fields ({shape.specials_in_words()}), which only a named BTF type can declare"


def _names(expr: TypeExpr) -> Iterator[str]:
    return (part.name for part in parts(expr) if isinstance(part, NamedType))
