"""What files that are laid over a spec decide: of each thing that it declares, which fields, and where. Pure.

Rows of entries are no fields: each knows its own line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from provisioner.model.location import Location
from provisioner.model.overlays import Fields, Overlays
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode, flatten

_SECTIONS: Final = frozenset({"types", "inner_templates", "objects", "shared_inner_maps", "maps", "outer_maps"})
_BELOW: Final = {"objects": "programs", "outer_maps": "inner_maps"}
"""Section -> the field whose pairs are declarations themselves."""

_NAME: Final = re.compile(r"[A-Za-z_]\w*")


def find(tree: MappingNode, files: frozenset[str]) -> Overlays:
    """What `files` decided in `tree`, in which they are laid over the others."""
    finder = _Finder(tree, files)
    return Overlays(files, finder.project(), dict(finder.declared()))


class _Finder:
    def __init__(self, tree: MappingNode, files: frozenset[str]) -> None:
        self._tree = tree
        self._files = files
        self._types = self._named("types")
        self._templates = self._named("inner_templates")
        self._shared = self._named("shared_inner_maps")

    def project(self) -> Fields:
        return dict(self._decided(self._tree, self._tree.where.file, "", _SECTIONS))

    def declared(self) -> Iterator[tuple[Location, Fields]]:
        for section in sorted(_SECTIONS - {"types", "inner_templates"}):
            for key, body in _pairs(self._tree, section):
                nested = _BELOW.get(section, "")
                apart = frozenset({nested}) if _declares(body.get(nested)) else frozenset[str]()
                fields = self._own(key, body, apart) | self._inherited(body)
                if fields:
                    yield key.where, fields
                for inner_key, inner in _pairs(body, nested) if apart else ():
                    fields = self._own(inner_key, inner) | _one_of(self._shared, inner.get("shared"))
                    if fields:
                        yield inner_key.where, fields

    def _named(self, section: str) -> dict[str, Fields]:
        """What is decided in each declaration that others refer to by name, under its full name."""
        found = self._tree.get(section)
        pairs = found.named() if isinstance(found, MappingNode) else ()
        whole = {name: dict(self._decided(body, key.where.file, f"{section}.{name}")) for name, key, body in pairs}
        return {name: fields for name, fields in whole.items() if fields}

    def _own(self, key: ScalarNode, body: MappingNode, apart: frozenset[str] = frozenset()) -> dict[str, str]:
        return dict(self._decided(body, key.where.file, "", apart))

    def _inherited(self, body: MappingNode) -> dict[str, str]:
        """What a map takes from its template and from named types."""
        inner = body.get("inner")
        template = _template(self._tree, inner)
        return _one_of(self._templates, inner) | self._of_types(body) | (self._of_types(template) if template else {})

    def _of_types(self, body: MappingNode) -> dict[str, str]:
        """What is decided of the types that a key or value is made of, those inside others included."""
        if not self._types:
            return {}
        section = self._tree.get("types")
        assert isinstance(section, MappingNode)
        found: dict[str, str] = {}
        ask = [node for name in ("key", "value") if (node := body.get(name)) is not None]
        seen: set[str] = set()
        while ask:
            for name in sorted(_names(ask.pop()) - seen):
                seen.add(name)
                found |= self._types.get(name, {})
                ask += [node] if (node := section.get(name)) is not None else []
        return found

    def _decided(
        self, node: SpecNode, file: str, path: str, apart: frozenset[str] = frozenset()
    ) -> Iterator[tuple[str, str]]:
        """(field, place) of all below `node` that an overlay other than `file` wrote; a later pair of a field holds."""
        if isinstance(node, RawEntries):
            return
        if path and self._differs(node.where, file):
            yield path, node.where.short()
            file = node.where.file
        if not isinstance(node, MappingNode):
            return
        for name, key, value in node.named():
            if name in apart:
                continue
            below, inside = f"{path}.{name}" if path else name, file
            if self._differs(key.where, file):
                yield below, key.where.short()
                inside = key.where.file
            yield from self._decided(value, inside, below)

    def _differs(self, where: Location, file: str) -> bool:
        return where.file in self._files and where.file != file


def _pairs(tree: MappingNode, section: str) -> Iterator[tuple[ScalarNode, MappingNode]]:
    found = tree.get(section)
    if isinstance(found, MappingNode):
        yield from ((key, body) for _, key, body in found.named() if isinstance(body, MappingNode))


def _declares(node: SpecNode | None) -> bool:
    """Whether each pair of `node` is a declaration, which those of a table are not; nor are the items of a list."""
    return (isinstance(node, MappingNode) and not node.is_table) or isinstance(node, SequenceNode)


def _one_of(named: Mapping[str, Fields], reference: SpecNode | None) -> dict[str, str]:
    return dict(named.get(reference.text or "", {})) if isinstance(reference, ScalarNode) else {}


def _template(tree: MappingNode, inner: SpecNode | None) -> MappingNode | None:
    section = tree.get("inner_templates")
    if not isinstance(section, MappingNode) or not isinstance(inner, ScalarNode):
        return None
    found = section.get(inner.text or "")
    return found if isinstance(found, MappingNode) else None


def _names(node: SpecNode) -> set[str]:
    """All names in a type's expression: more than types, and all types that it names."""
    return {name for _, scalar in flatten(node) for name in _NAME.findall(scalar.text or "")}
