"""The fields that overlay files and variables set in each declaration of a spec, with their places. Pure.

Entries are not fields: each row has its own line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from provisioner.document.substitute import sources_at
from provisioner.document.variables import SECTION
from provisioner.model.given import Uses
from provisioner.model.location import Location
from provisioner.model.overlays import Fields, Overlays
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode, flatten

_SECTIONS: Final = frozenset(
    {SECTION, "types", "inner_templates", "objects", "shared_inner_maps", "maps", "outer_maps"}
)
_BELOW: Final = {"objects": "programs", "outer_maps": "inner_maps"}
"""Section -> the field whose pairs are declarations."""

_NAME: Final = re.compile(r"[A-Za-z_]\w*")


def find(tree: MappingNode, files: frozenset[str], uses: Uses) -> Overlays:
    """What the overlay `files` and the variables in `uses` set in the merged `tree`."""
    finder = _Finder(tree, files, uses)
    return Overlays(files, finder.project(), dict(finder.declared()), dict(finder.keys()))


class _Finder:
    def __init__(self, tree: MappingNode, files: frozenset[str], uses: Uses) -> None:
        self._tree = tree
        self._files = files
        self._uses = uses
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

    def keys(self) -> Iterator[tuple[Location, str]]:
        """The keys of declarations that have variables."""
        if not self._uses:
            return
        for section in sorted(_SECTIONS - {"types", "inner_templates"}):
            for key, body in _pairs(self._tree, section):
                for each in (key, *(inner for inner, _ in _pairs(body, _BELOW.get(section, "")))):
                    if sources := sources_at(self._uses, each.where):
                        yield each.where, sources

    def _named(self, section: str) -> dict[str, Fields]:
        """The fields set in each declaration that others refer to by name, under the full name."""
        node = self._tree.get(section)
        pairs = node.named() if isinstance(node, MappingNode) else ()
        whole = {name: dict(self._decided(body, key.where.file, f"{section}.{name}")) for name, key, body in pairs}
        return {name: fields for name, fields in whole.items() if fields}

    def _own(self, key: ScalarNode, body: MappingNode, apart: frozenset[str] = frozenset()) -> dict[str, str]:
        return dict(self._decided(body, key.where.file, "", apart))

    def _inherited(self, body: MappingNode) -> dict[str, str]:
        """The fields that a map gets from its template and from named types."""
        inner = body.get("inner")
        template = _template(self._tree, inner)
        return _one_of(self._templates, inner) | self._of_types(body) | (self._of_types(template) if template else {})

    def _of_types(self, body: MappingNode) -> dict[str, str]:
        """The fields set in the types of a key or value, and in the types that these contain."""
        if not self._types:
            return {}
        section = self._tree.get("types")
        assert isinstance(section, MappingNode)
        fields: dict[str, str] = {}
        pending = [node for name in ("key", "value") if (node := body.get(name)) is not None]
        seen: set[str] = set()
        while pending:
            for name in sorted(_names(pending.pop()) - seen):
                seen.add(name)
                fields |= self._types.get(name, {})
                pending += [node] if (node := section.get(name)) is not None else []
        return fields

    def _decided(
        self, node: SpecNode, file: str, path: str, apart: frozenset[str] = frozenset()
    ) -> Iterator[tuple[str, str]]:
        """(field, place) for all below `node` that an overlay other than `file` set; later pairs replace others."""
        if isinstance(node, RawEntries):
            return
        differs = bool(path) and self._differs(node.where, file)
        variables = sources_at(self._uses, node.where) if path and isinstance(node, ScalarNode) else ""
        if differs or variables:
            yield path, ", ".join(filter(None, (node.where.short() if differs else "", variables)))
        if differs:
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
    node = tree.get(section)
    if isinstance(node, MappingNode):
        yield from ((key, body) for _, key, body in node.named() if isinstance(body, MappingNode))


def _declares(node: SpecNode | None) -> bool:
    """Whether each pair or item of `node` is a declaration, which is not so in a table."""
    return (isinstance(node, MappingNode) and not node.is_table) or isinstance(node, SequenceNode)


def _one_of(named: Mapping[str, Fields], reference: SpecNode | None) -> dict[str, str]:
    return dict(named.get(reference.text or "", {})) if isinstance(reference, ScalarNode) else {}


def _template(tree: MappingNode, inner: SpecNode | None) -> MappingNode | None:
    section = tree.get("inner_templates")
    if not isinstance(section, MappingNode) or not isinstance(inner, ScalarNode):
        return None
    template = section.get(inner.text or "")
    return template if isinstance(template, MappingNode) else None


def _names(node: SpecNode) -> set[str]:
    """All names in the expression of a type: those of types, and others."""
    return {name for _, scalar in flatten(node) for name in _NAME.findall(scalar.text or "")}
