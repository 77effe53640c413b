"""Rules that a schema cannot express: references, contradictions, and what the kernel refuses. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.pins import USUAL_MOUNT
from provisioner.model.spec import (
    Contents,
    Entries,
    InnerMap,
    InnerTemplate,
    KeyRange,
    MapFields,
    OuterMap,
    PlainMap,
    Policy,
    Spec,
)
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode, SpecNode
from provisioner.model.type_expr import VMLINUX, BtfType, TypeExpr, is_sensitive, parts
from provisioner.model.uapi import BARE_TYPES, KEYLESS_TYPES, LRU_TYPES, SOCKET_TYPES, STORAGE_TYPES, MapFlag, MapType
from provisioner.model.words import HIDDEN, with_article

_SHAPE_ONLY: Final = KEYLESS_TYPES | BARE_TYPES | STORAGE_TYPES | SOCKET_TYPES

_MISPLACED: Final[tuple[tuple[MapFlag, Callable[[MapType], bool], str], ...]] = (
    (MapFlag.INNER_MAP, lambda kind: kind is not MapType.ARRAY, "use `type: array`, or remove the flag"),
    (MapFlag.NO_PREALLOC, lambda kind: kind in LRU_TYPES, "remove it: LRU maps are always preallocated"),
    (MapFlag.NO_PREALLOC, lambda kind: kind is MapType.ARRAY_OF_MAPS, "remove it: arrays are always preallocated"),
    (MapFlag.RDONLY_PROG, lambda kind: kind is MapType.ARRAY_OF_MAPS, "remove it: the kernel refuses it for this type"),
)


def btf_types(spec: Spec) -> Iterator[BtfType]:
    """Every type of the spec that is taken from BTF."""
    fields = [declared.fields for declared in spec.inner_templates.values()]
    fields += [declared.fields for declared in spec.maps.values()]
    fields += [declared.fields for declared in spec.outer_maps.values()]
    written: list[TypeExpr | None] = [*spec.types.values()]
    written += [type_ for field in fields for type_ in (field.key, field.value)]
    return (part for type_ in written if type_ for part in parts(type_) if isinstance(part, BtfType))


def check(spec: Spec, tree: MappingNode, problems: Problems) -> None:
    """Add the problems of `spec`, which was read from `tree`."""
    _Rules(spec, tree, problems).all()


class _Rules:
    def __init__(self, spec: Spec, tree: MappingNode, problems: Problems) -> None:
        self._spec = spec
        self._written: dict[str, dict[str, SpecNode]] = {
            section: {name: value for name, _, value in node.named()}
            for section, _, node in tree.named()
            if isinstance(node, MappingNode)
        }
        self._pin_root = tree.get("pin_root")
        self._problems = problems
        self._add = problems.add

    def all(self) -> None:
        if self._spec.pin_root == USUAL_MOUNT and self._pin_root is not None:
            what = f"{USUAL_MOUNT} is the mount point of a bpffs, which a project cannot own"
            hint = f"use a directory below it, such as {USUAL_MOUNT}/{self._spec.name or 'edge'}"
            self._add(what, self._pin_root.where, hint, id="pin-root-is-mount")
        for template in self._spec.inner_templates.values():
            self._shape(template.fields, template.where, "inner_templates", template.name, whole=True)
            self._contents(template.fields.map_type, template.policy, template.where, "inner_templates", template.name)
        for shared in self._spec.shared_inner_maps.values():
            self._known(
                shared.inner, self._spec.inner_templates, "inner template", "shared_inner_maps", shared.name, "inner"
            )
        for plain in self._spec.maps.values():
            self._plain_map(plain)
        for outer in self._spec.outer_maps.values():
            self._outer_map(outer)
        self._btf_sources()
        self._pins()
        self._order()

    def _find(self, section: str, name: str, *path: str) -> SpecNode | None:
        """The node at a path of the tree."""
        return _below(self._written.get(section, {}).get(name), *path)

    def _place(self, where: Location, *path: str) -> Location:
        """The place of the value at `path`; `where` if it is absent."""
        node = self._find(*path) if len(path) > 1 else None
        return node.where if node else where

    def _known(self, name: str | None, known: Mapping[str, object], what: str, *path: str) -> bool:
        if name is None or name == "" or name in known:
            return bool(name)
        hint = did_you_mean(name, known, f"declare it under `{what.replace(' ', '_')}s`")
        where = self._place(Location(""), *path)
        self._problems.missing(f"{what} `{name}` does not exist", where, hint, path[1], id="unknown-reference")
        return False

    def _plain_map(self, plain: PlainMap) -> None:
        path = ("maps", plain.name)
        self._origin(plain, *path)
        self._shape(plain.fields, plain.where, *path, whole=not plain.object, adopted=plain.adopts)
        if self._has_listed(plain.fields.map_type, plain.entries, plain.name):
            return
        self._contents(plain.fields.map_type, plain.policy, plain.where, *path)
        self._ignored(plain.policy.contents, plain.entries, plain.name)

    def _origin(self, declared: PlainMap | OuterMap, *path: str) -> None:
        both = self._find(*path, "objects")
        if both is not None and self._find(*path, "object") is not None:
            what, hint = "a map cannot have both `object` and `objects`", "list all objects under `objects`"
            self._add(what, both.where, hint, path[1], id="conflicting-fields")
        if declared.own and (pin := declared.pin):
            self._check_place(pin, path[1])
        for name in declared.objects:
            self._known(name, self._spec.objects, "object", *path, "object" if both is None else "objects")

    def _check_place(self, pin: ScalarNode, address: str) -> None:
        """The path at which the project pins a map of its own."""
        directory, _, name = (pin.text or "").rpartition("/")
        if "." in name:
            what, hint = f"the name of a pin cannot have a dot: `{name}`", "write another name"
            self._add(what, pin.where, hint, address, id="invalid-name")
        if directory == self._spec.pin_root:
            what = "the project pins its maps in the pin root, by their names"
            self._add(what, pin.where, "remove `pin` and `own`", address, id="conflicting-fields")

    def _shape(self, fields: MapFields, where: Location, *path: str, whole: bool, adopted: bool = False) -> None:
        """Fields that the map type needs or does not have; `whole` without an object, `adopted` for an existing map."""
        kind = fields.map_type
        if kind is None:
            if whole and not adopted and self._find(*path, "type") is None and path[0] != "inner_templates":
                hint = "write `type:`, `object:` or `pin:`"
                self._problems.missing(f"`{path[1]}` has no `type`", where, hint, path[1], id="missing-field")
            return
        takes = {
            "key": kind not in KEYLESS_TYPES | BARE_TYPES,
            "value": kind not in BARE_TYPES,
            "max_entries": kind not in STORAGE_TYPES,
        }
        if path[0] == "outer_maps" or kind is MapType.PROG_ARRAY:  # their values are maps and programs
            del takes["value"]
        for field, taken in takes.items():
            written = self._find(*path, field)
            if written and not taken:
                what = f"{with_article(kind.word)} cannot have `{field}`"
                self._add(what, written.where, "remove it", path[1], id="unsupported-by-map-type")
            elif whole and taken and not written:
                what = f"`{path[1]}` has no `{field}`, which {with_article(kind.word)} needs"
                self._problems.missing(what, where, f"write `{field}:`", path[1], id="missing-field")
        self._flags(kind, fields.map_flags, *path)

    def _flags(self, kind: MapType, flags: MapFlag | None, *path: str) -> None:
        if flags is None:
            return
        written = self._find(*path, "flags")
        for flag, wrong, hint in _MISPLACED:
            if flags & flag and wrong(kind):
                items = written.items if isinstance(written, SequenceNode) else ()
                word = (flag.name or "").lower()
                where = next(item.where for item in items if isinstance(item, ScalarNode) and item.text == word)
                what = f"{with_article(kind.word)} cannot have the flag `{word}`"
                self._add(what, where, hint, path[1], id="unsupported-by-map-type")

    def _contents(self, kind: MapType | None, policy: Policy, where: Location, *path: str) -> None:
        """`exact` and `present` need entries that can be listed, `exact` also entries that the kernel keeps."""
        contents = policy.contents or Contents.EXACT
        where = self._place(where, *path, "contents")
        written = f"`contents: {contents.value}`" + ("" if policy.contents else " (the default)")
        if kind in _SHAPE_ONLY and contents is not Contents.IGNORE:
            what = f"{written} is not possible for {with_article(kind.word)}: its entries cannot be listed"
            self._add(what, where, "write `contents: ignore`", path[1], id="unsupported-by-map-type")
        elif kind in LRU_TYPES and contents is Contents.EXACT:
            what = f"{written} is not possible for {with_article(kind.word)}: the kernel evicts entries"
            hint = "write `contents: present` or `contents: ignore`"
            self._add(what, where, hint, path[1], id="unsupported-by-map-type")

    def _has_listed(self, kind: MapType | None, entries: Entries | None, address: str) -> bool:
        """Whether a map has entries that its type does not allow, which is a problem."""
        if kind is None or kind not in _SHAPE_ONLY or entries is None:
            return False
        what = f"{with_article(kind.word)} cannot have entries in a spec"
        hint = "remove them, and write `contents: ignore`"
        self._add(what, entries.where, hint, address, id="unsupported-by-map-type")
        return True

    def _ignored(self, contents: Contents | None, entries: Entries | None, address: str) -> None:
        if contents is Contents.IGNORE and entries is not None:
            what, hint = "entries are not possible with `contents: ignore`", "remove them, or write `contents: present`"
            self._add(what, entries.where, hint, address, id="conflicting-fields")

    def _outer_map(self, outer: OuterMap) -> None:
        path = ("outer_maps", outer.name)
        self._origin(outer, *path)
        self._shape(outer.fields, outer.where, *path, whole=not outer.object, adopted=outer.adopts)
        known = self._known(outer.inner, self._spec.inner_templates, "inner template", *path, "inner")
        template = self._spec.inner_templates[outer.inner] if known else None
        if outer.policy.contents and template:
            self._contents(template.fields.map_type, outer.policy, outer.where, *path)
        if outer.default_shared and outer.fields.map_type is MapType.HASH_OF_MAPS:
            where = self._place(outer.where, *path, "default")
            what = "a hash_of_maps cannot have `default`: it has only the declared slots"
            self._add(what, where, "remove it", outer.name, id="unsupported-by-map-type")
        self._shared(outer.default_shared, outer, self._place(outer.where, *path, "default", "shared"))
        if isinstance(outer.inner_maps, tuple):
            checked: set[str] = set()
            for inner_map in outer.inner_maps:
                self._inner_map(inner_map, outer, template, checked)

    def _inner_map(self, inner: InnerMap, outer: OuterMap, template: InnerTemplate | None, checked: set[str]) -> None:
        address = f"{outer.name}[{self._key_text(inner.key, outer)}]"
        policy = inner.policy
        if inner.object_map is not None:
            self._object_map(inner, outer, address)
            return
        if inner.shared is not None:
            if inner.shared not in checked:
                self._shared(inner.shared, outer, self._inside(inner, outer, "shared"))
                checked.add(inner.shared)
            if inner.entries is not None or inner.max_entries is not None or policy != Policy():
                where = inner.entries.where if inner.entries else inner.where
                what = "an inner map with `shared` cannot have other fields"
                hint = "write them under `shared_inner_maps`, or remove `shared`"
                self._add(what, where, hint, address, id="conflicting-fields")
            return
        kind = template.fields.map_type if template else None
        if self._has_listed(kind, inner.entries, address):
            return
        inherited = outer.policy.contents or (template.policy.contents if template else None)
        self._ignored(policy.contents or inherited, inner.entries, address)
        if policy.contents and kind in _SHAPE_ONLY | LRU_TYPES:
            self._contents(kind, policy, self._inside(inner, outer, "contents"), "", address)

    def _object_map(self, inner: InnerMap, outer: OuterMap, address: str) -> None:
        where = self._inside(inner, outer, "object_map")
        if not outer.objects:
            what, hint = f"`object_map` needs an object, and `{outer.name}` has none", "write `object:`"
            self._add(what, where, hint, address, id="conflicting-fields")
        others = inner.entries, inner.max_entries, inner.shared
        if any(each is not None for each in others) or inner.policy != Policy():
            what, hint = "an inner map with `object_map` cannot have other fields", "remove them, or `object_map`"
            self._add(what, where, hint, address, id="conflicting-fields")

    def _key_text(self, key: SpecNode | KeyRange, outer: OuterMap) -> str:
        if is_sensitive(outer.fields.key, self._spec.types):
            return HIDDEN
        match key:
            case ScalarNode(text):
                return text or ""
            case KeyRange(first, last):
                return f"{first.text}..{last.text}" if first and last else "possible_cpus"
            case _:
                return "..."

    def _inside(self, inner: InnerMap, outer: OuterMap, field: str) -> Location:
        """The place of `field` in an inner map, which is searched for an error message."""
        declared = self._find("outer_maps", outer.name, "inner_maps")
        bodies: Iterator[SpecNode] = iter(())
        if isinstance(declared, MappingNode):
            bodies = (body for _, key, body in declared.named() if key.where == inner.where)
        elif isinstance(declared, SequenceNode):
            bodies = (item for item in declared.items if item.where == inner.where)
        node = _below(next(bodies, None), field)
        return node.where if node else inner.where

    def _shared(self, name: str | None, outer: OuterMap, where: Location) -> None:
        if name is None:
            return
        shared = self._spec.shared_inner_maps.get(name)
        if shared is None:
            hint = did_you_mean(name, self._spec.shared_inner_maps, "declare it under `shared_inner_maps`")
            what = f"shared inner map `{name}` does not exist"
            self._problems.missing(what, where, hint, outer.name, id="unknown-reference")
        elif shared.inner != outer.inner:
            what = (
                f"shared inner map `{name}` has the template `{shared.inner}`, and `{outer.name}` has `{outer.inner}`"
            )
            hint = "use a shared inner map with the same `inner`"
            self._add(what, where, hint, outer.name, id="conflicting-fields")
        else:
            template = self._spec.inner_templates.get(outer.inner)
            inherited = outer.policy.contents or (template.policy.contents if template else None)
            self._ignored(inherited, shared.entries, name)

    def _btf_sources(self) -> None:
        for type_ in btf_types(self._spec):
            known = [*self._spec.objects, VMLINUX]
            if type_.source and not type_.is_live and type_.source not in known:
                what = f"object `{type_.source}` does not exist"
                hint = did_you_mean(type_.source, known, "for a live map, write the path of its pin: /sys/fs/bpf/...")
                self._problems.missing(what, type_.where, hint, id="unknown-reference")

    def _pins(self) -> None:
        """Maps and programs are pinned in one directory, so their names must differ."""
        taken: dict[str, Location] = {}
        pinned: list[tuple[str, Location]] = [(outer.name, outer.where) for outer in self._spec.outer_maps.values()]
        pinned += [(plain.name, plain.where) for plain in self._spec.maps.values()]
        for object_ in self._spec.objects.values():
            for program in object_.programs:
                path = ("objects", object_.name, "programs", program.name, "pin")
                pinned.append((program.pin, self._place(program.where, *path)))
        both: list[OuterMap | PlainMap] = [*self._spec.maps.values(), *self._spec.outer_maps.values()]
        pinned += [(each.pin.text or "", each.pin.where) for each in both if each.own and each.pin is not None]
        for name, where in pinned:
            if name in taken:
                what = f"the pin name `{name}` is already used (first at {taken[name]})"
                self._add(what, where, "choose another name", name, id="name-taken")
            taken.setdefault(name, where)

    def _order(self) -> None:
        """`after` must name maps of the spec, without a cycle."""
        waits: dict[str, dict[str, ScalarNode]] = {}
        both: list[OuterMap | PlainMap] = [*self._spec.maps.values(), *self._spec.outer_maps.values()]
        for declared in both:
            waits.setdefault(declared.name, {}).update((str(other.text), other) for other in declared.after)
        for name, others in waits.items():
            for other, scalar in others.items():
                if other not in waits:
                    hint = did_you_mean(other, waits, "write the name of an outer or plain map")
                    what = f"map `{other}` does not exist"
                    self._problems.missing(what, scalar.where, hint, name, id="unknown-reference")
        done: set[str] = set()
        for name in waits:
            self._circle(name, waits, [], done)

    def _circle(self, start: str, waits: dict[str, dict[str, ScalarNode]], path: list[str], done: set[str]) -> None:
        stack: list[tuple[str, Iterator[tuple[str, ScalarNode]]]] = []
        if start not in done:
            stack.append((start, iter(waits[start].items())))
            path.append(start)
        while stack:
            name, others = stack[-1]
            other, scalar = next(others, (None, None))
            if other is None or scalar is None:
                stack.pop()
                done.add(path.pop())
            elif other in path:
                chain = " after ".join([*path[path.index(other) :], other])
                what = f"`after` has a cycle: {chain}"
                self._add(what, scalar.where, "remove one of them", name, id="circular-reference")
            elif other in waits and other not in done:
                stack.append((other, iter(waits[other].items())))
                path.append(other)


def _below(node: SpecNode | None, *path: str) -> SpecNode | None:
    for name in path:
        node = node.get(name) if isinstance(node, MappingNode) else None
    return node
