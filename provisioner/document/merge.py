"""Merges several files into one tree. Pure.

Files of the same level: mappings are merged key by key, `entries` and the list form of `inner_maps` are concatenated.
Everything else in two files is a Problem with both places. Only `version`, `name` and `pin_root` can be repeated with
the same value. A named type or template must be in a single file.

Overlays: mappings are merged key by key, entries by the text of the key; everything else is replaced.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from provisioner.model.errors import Problems
from provisioner.model.location import Location
from provisioner.model.tree import MappingNode, PackedColumn, RawChunk, RawEntries, ScalarNode, SequenceNode, SpecNode

if TYPE_CHECKING:
    from provisioner.model.types import Path

_REPEATABLE: Final = frozenset({("version",), ("name",), ("pin_root",)})
_WHOLE: Final = frozenset({"types", "inner_templates"})
_KeyText = tuple[tuple["Path", str | None], ...]


class Merger:
    """Merges files of the same level: `add` each tree, then read `tree`."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._root: _MergedMapping | None = None

    def add(self, tree: MappingNode) -> None:
        if self._root is None:
            self._root = _MergedMapping(tree)
        else:
            self._into(self._root, tree, ())

    def tree(self) -> MappingNode:
        return self._root.mapping() if self._root else EMPTY

    def _into(self, growing: _MergedMapping, more: MappingNode, path: tuple[str, ...]) -> None:
        for name, key, value in more.named():
            there = growing.pairs.get(name)
            growing.pairs[name] = (
                (key, value) if there is None else (there[0], self._both(there, key, value, (*path, name)))
            )

    def _both(
        self,
        there: tuple[ScalarNode, SpecNode | _MergedMapping],
        key: ScalarNode,
        value: SpecNode,
        path: tuple[str, ...],
    ) -> SpecNode | _MergedMapping:
        match there[1], value:
            case MappingNode() as first, MappingNode() if not (len(path) == 2 and path[0] in _WHOLE):
                growing = _MergedMapping(first)
                self._into(growing, value, path)
                return growing
            case _MergedMapping() as growing, MappingNode():
                self._into(growing, value, path)
                return growing
            case RawEntries() as first, RawEntries():
                return RawEntries(first.chunks + value.chunks, first.where)
            case SequenceNode() as first, SequenceNode() if len(path) == 3 and path[-1] == "inner_maps":
                return SequenceNode(first.items + value.items, first.where)
            case ScalarNode() as first, ScalarNode() if path in _REPEATABLE and first.text == value.text:
                return first
            case _:
                what = f"{_described(path)} is in two files (first at {there[0].where})"
                hint = "remove one of the two, or pass the file that overrides the other with --overlay"
                self._problems.add(what, key.where, hint, id="duplicate-key")
                return there[1]


def _described(path: tuple[str, ...]) -> str:
    """A path in words, without an outer key, which can be sensitive."""
    if path[0] == "outer_maps" and path[2:3] == ("inner_maps",) and len(path) > 3:
        field = f"`{'.'.join(path[4:])}` of " if path[4:] else ""
        return f"{field}an inner map of `{path[1]}`"
    return f"`{'.'.join(path)}`"


class _MergedMapping:
    """A mapping to which files are added, so that a thousand small files are merged in one pass."""

    __slots__ = ("pairs", "where")

    def __init__(self, mapping: MappingNode) -> None:
        self.pairs: dict[str, tuple[ScalarNode, SpecNode | _MergedMapping]] = {
            name: (key, value) for name, key, value in mapping.named()
        }
        self.where = mapping.where

    def mapping(self) -> MappingNode:
        pairs = (
            (key, value.mapping() if isinstance(value, _MergedMapping) else value) for key, value in self.pairs.values()
        )
        return MappingNode(tuple(pairs), self.where)


def overlay(base: SpecNode, over: SpecNode) -> SpecNode:
    """`base` overridden by `over`, leaf by leaf."""
    match base, over:
        case MappingNode(), MappingNode():
            merged = dict(base.pairs)
            keys = {key.text: key for key in merged if isinstance(key, ScalarNode)}
            for name, key, value in over.named():
                there = keys.get(name)
                merged[there or key] = overlay(merged[there], value) if there else value
            return MappingNode(tuple(merged.items()), base.where)
        case RawEntries(), RawEntries():
            replaced = {text for chunk in over.chunks for text in _key_texts(chunk)}
            kept = (_without_keys(chunk, replaced) for chunk in base.chunks)
            return RawEntries(tuple(chunk for chunk in kept if chunk.rows) + over.chunks, base.where)
        case _:
            return over


def _key_texts(chunk: RawChunk) -> list[_KeyText]:
    """The text of the key of each row."""
    paths = sorted((path for path in chunk.columns if path[0] == "key"), key=str)
    columns = [chunk.columns[path].texts() for path in paths]
    return [tuple(zip(paths, texts, strict=True)) for texts in zip(*columns, strict=True)]


def _without_keys(chunk: RawChunk, keys: set[_KeyText]) -> RawChunk:
    kept = [row for row, text in enumerate(_key_texts(chunk)) if text not in keys]
    if len(kept) == chunk.rows:
        return chunk
    columns: dict[Path, PackedColumn] = {}
    marks: dict[Path, array[int]] = {}
    for path, column in chunk.columns.items():
        texts = column.texts()
        columns[path] = PackedColumn([texts[row] for row in kept])
        marks[path] = array("Q", [chunk.marks[path][row] for row in kept])
    return RawChunk(chunk.file, len(kept), columns, marks)


EMPTY: Final = MappingNode((), Location(""))
