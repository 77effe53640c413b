"""The tree's structure against the JSON Schema, each error at its place and in words.

jsonschema never sees entries, and sees only one of all the maps that are written alike: those with the same keys and
the same kinds of values give the same errors.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any, Final

from provisioner.language.scalars import plain
from provisioner.language.schema_words import ErrorFormatter, short
from provisioner.model.errors import Problems
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_SECTIONS: Final = {
    "inner_templates": "inner_template",
    "objects": "object",
    "shared_inner_maps": "shared_inner_map",
    "maps": "plain_map",
    "outer_maps": "outer_map",
}
"""Sections that may hold thousands of maps -> the definition of one."""

BOUNDS: Final = (0, 1, 101, 1 << 32, 1 << 64)
"""Integers between the same two bounds are alike to the schema (a test holds this): -2**63 aside, see `_likeness`."""

_NAMES: Final = frozenset({"shared", "inner", "object"})
_TEXTS: Final = frozenset({"from", "file", "owned_keys"})
"""Keys whose values differ from map to map: to the schema one name, or one text that is not empty, is like another."""


def check(tree: MappingNode, schema: dict[str, Any], problems: Problems) -> None:
    """Add every violation of `schema`, the spec's JSON Schema as parsed, to `problems`."""
    _Checker(schema, problems).root(tree)


class _Checker:
    def __init__(self, schema: dict[str, Any], problems: Problems) -> None:
        from jsonschema.validators import Draft202012Validator  # 80 ms, and not every command validates

        self._all = Draft202012Validator(schema)
        self._definitions = schema["$defs"]
        self._name = re.compile(self._definitions["name"]["pattern"])
        self._problems = problems
        self._fine: set[Hashable] = set()

    def root(self, tree: MappingNode) -> None:
        """The document: sections of maps one map at a time, all else at once."""
        top = {name: value for name, _, value in tree.named()}
        apart = {name: value for name in _SECTIONS if isinstance(value := top.get(name), MappingNode)}
        instance = {name: {} if name in apart else plain(value) for name, value in top.items()}
        self._tell(self._all.iter_errors(instance), tree, None)
        for section, members in apart.items():
            for name, key, value in members.named():
                if not self._name.match(name):
                    self._problems.add(f"`{short(name)}` can't be a name", key.where, self._expected("name"))
                elif len(name) > self._definitions["name"]["maxLength"]:
                    self._problems.add("this name is longer than 255 characters", key.where, "pins can't have it")
                self._body(_SECTIONS[section], key, value)

    def _expected(self, definition: str) -> str:
        return f"write {self._definitions[definition]['errorMessage']}"

    def _body(self, definition: str, key: ScalarNode | None, node: SpecNode) -> None:
        """One map; the inner maps of an outer map each on their own."""
        inner_maps = node.get("inner_maps") if isinstance(node, MappingNode) and definition == "outer_map" else None
        if isinstance(node, MappingNode) and inner_maps is not None:
            self._inner_maps(inner_maps)
            if isinstance(inner_maps, (MappingNode, SequenceNode)):
                node = _without(node, "inner_maps")
        free = definition == "listed_inner_map" and isinstance(node, MappingNode) and node.get("key") is not None
        like = (definition, free, _likeness(_without(node, "key") if free and isinstance(node, MappingNode) else node))
        if like in self._fine:
            return
        validator = self._all.evolve(schema={"$ref": f"#/$defs/{definition}", "$defs": self._definitions})
        if not self._tell(validator.iter_errors(plain(node)), node, key, is_data=definition == "inner_map"):
            self._fine.add(like)

    def _inner_maps(self, node: SpecNode) -> None:
        match node:
            case MappingNode() if node.is_table:
                self._body("long_table", None, node)
            case MappingNode():
                for _, key, value in node.named():
                    self._body("inner_map", key, value)
            case SequenceNode(items):
                for item in items:
                    self._body("listed_inner_map", None, item)
            case ScalarNode() | RawEntries():
                pass

    def _tell(
        self, errors: Iterator[ValidationError], node: SpecNode, key: ScalarNode | None, *, is_data: bool = False
    ) -> bool:
        """Put `errors` about `node` into words; whether there were any."""
        found = False
        for error in errors:
            found = True
            ErrorFormatter(error, node, key, self._problems, is_data=is_data).tell()
        return found


def _without(node: MappingNode, name: str) -> MappingNode:
    pairs = tuple(pair for pair in node.pairs if not (isinstance(pair[0], ScalarNode) and pair[0].text == name))
    return MappingNode(pairs, node.where)


def _likeness(node: SpecNode, name: str = "") -> Hashable:
    """Equal for nodes in which the schema finds the same: their keys, and their values as far as it looks at them."""
    match node:
        case ScalarNode():
            value = plain(node)
            if isinstance(value, str) and name in _NAMES and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}", value):
                return "a name"
            if isinstance(value, str) and name in _TEXTS and value:
                return "a text"
            if isinstance(value, int) and not isinstance(value, bool):
                return ("number", bisect_right(BOUNDS, value)) if value >= 0 else ("number", value)
            return (type(value).__name__, value)
        case SequenceNode(items):
            return ("list", *(_likeness(item, name) for item in items))
        case MappingNode():
            return ("mapping", *((key, _likeness(value, key)) for key, _, value in node.named()))
        case RawEntries():
            return "entries"
