"""Replaces the variables in all scalars of a tree: keys, values and entries. Pure.

A tree without variables stays the same object. Of entries only the columns that have variables are made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from provisioner.document.variables import OPENING, SECTION, Variables
from provisioner.model.errors import Problems
from provisioner.model.given import Uses
from provisioner.model.location import Location
from provisioner.model.tree import (
    MARK_COLUMN_BITS,
    MappingNode,
    PackedColumn,
    RawChunk,
    RawEntries,
    ScalarNode,
    SequenceNode,
    SpecNode,
)

if TYPE_CHECKING:
    from provisioner.model.types import Path

NO_USES: Final[Uses] = {}


def substitute(tree: MappingNode, variables: Variables, problems: Problems) -> tuple[MappingNode, Uses]:
    """`tree` with the values of `variables`, and where they are used. The declarations themselves stay as they are."""
    pass_ = _Substitution(variables, problems)
    pairs = tuple(
        (key, value) if isinstance(key, ScalarNode) and key.text == SECTION else pass_.pair(key, value)
        for key, value in tree.pairs
    )
    return MappingNode(pairs, tree.where), pass_.uses


class _Substitution:
    def __init__(self, variables: Variables, problems: Problems) -> None:
        self._variables = variables
        self._problems = problems
        self.uses: dict[str, dict[int, str]] = {}

    def pair(self, key: SpecNode, value: SpecNode) -> tuple[SpecNode, SpecNode]:
        return self._node(key), self._node(value)

    def _node(self, node: SpecNode) -> SpecNode:
        match node:
            case ScalarNode():
                return self._scalar(node)
            case SequenceNode(items):
                made = tuple(map(self._node, items))
                return node if all(map(_same, items, made)) else SequenceNode(made, node.where)
            case MappingNode():
                return self._mapping(node)
            case RawEntries(chunks):
                changed = tuple(map(self._chunk, chunks))
                return node if all(map(_same, chunks, changed)) else RawEntries(changed, node.where)

    def _scalar(self, node: ScalarNode) -> ScalarNode:
        if node.text is None or OPENING not in node.text:
            return node
        expanded = self._variables.expand(node.text, node.where)
        if expanded is None:
            return node
        if not expanded.sources:
            return replace(node, text=expanded.text)
        self._note(node.where.file, _mark(node.where), expanded.sources)
        return replace(node, text=expanded.text, quoted=False, has_variable=True)

    def _note(self, file: str, mark: int, sources: str) -> None:
        self.uses.setdefault(file, {})[mark] = sources

    def _mapping(self, node: MappingNode) -> MappingNode:
        made = tuple(self.pair(key, value) for key, value in node.pairs)
        if all(_same(a, b) and _same(c, d) for (a, c), (b, d) in zip(node.pairs, made, strict=True)):
            return node
        first: dict[str | None, ScalarNode] = {}
        kept: list[tuple[SpecNode, SpecNode]] = []
        for key, value in made:
            earlier = first.setdefault(key.text, key) if isinstance(key, ScalarNode) else key
            if earlier is key:
                kept.append((key, value))
            else:  # the key can be sensitive
                what = f"duplicate key, with the values of its variables (first at {earlier.where})"
                self._problems.add(what, key.where, "remove one of the two", id="duplicate-key")
        return MappingNode(tuple(kept), node.where)

    def _chunk(self, chunk: RawChunk) -> RawChunk:
        columns: dict[Path, PackedColumn] = {}
        rows: dict[int, str] = {}
        for path, column in chunk.columns.items():
            if isinstance(column, PackedColumn) and column.holds(OPENING):
                columns[path] = self._column(chunk, path, rows)
        if not columns:
            return chunk
        return replace(chunk, columns={**chunk.columns, **columns}, variables=rows)

    def _column(self, chunk: RawChunk, path: Path, rows: dict[int, str]) -> PackedColumn:
        """A column with the values of its variables; `rows` gets their sources by row."""
        texts = list(chunk.columns[path].texts())
        for row, text in enumerate(texts):
            if text is None or OPENING not in text:
                continue
            expanded = self._variables.expand(text, chunk.where(row, path))
            if expanded is None:
                continue
            texts[row] = expanded.text
            if expanded.sources:
                self._note(chunk.file, chunk.marks[path][row], expanded.sources)
                earlier = rows.get(row)
                rows[row] = expanded.sources if earlier is None else f"{earlier}, {expanded.sources}"
        return PackedColumn(texts)


def sources_at(uses: Uses, where: Location) -> str:
    """The variables in the scalar at a place, with their sources; empty without any."""
    of_file: Mapping[int, str] = uses.get(where.file, {})
    return of_file.get(_mark(where), "") if of_file else ""


def _same(before: object, after: object) -> bool:
    return before is after


def _mark(where: Location) -> int:
    return where.line << MARK_COLUMN_BITS | where.column
