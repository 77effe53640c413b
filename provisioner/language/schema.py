"""Checks the structure of the tree with the JSON Schema; each error has a place and a message.

jsonschema does not see entries, and sees only one of all maps of one form: maps with the same keys and the same kinds
of values have the same errors.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from provisioner.language import quick_check
from provisioner.language.scalars import TextOrValue, as_json
from provisioner.language.schema_words import ErrorFormatter, name_hint
from provisioner.model.errors import Problems
from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode
from provisioner.model.types import shown

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_SECTIONS: Final = {
    "inner_templates": "inner_template",
    "objects": "object",
    "shared_inner_maps": "shared_inner_map",
    "maps": "plain_map",
    "outer_maps": "outer_map",
}
"""Sections that can have thousands of maps -> the definition of one map."""

BOUNDS: Final = (0, 1, 101, 1 << 16, 1 << 32, 1 << 64)
"""The schema treats integers between two bounds alike, which a test checks; for -2**63 see `_likeness`."""

_NAMES: Final = frozenset({"shared", "inner", "object"})
_TEXTS: Final = frozenset({"from", "file", "owned_keys"})
"""Keys whose values differ from map to map: to the schema, all names are alike, and all texts that are not empty."""


_OF_SCALARS: Final = ("type", "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum")


def _typed_by_field(keyword: Callable[..., Any]) -> Callable[..., Any]:
    """A keyword that reads a scalar with a variable as the type of its field says."""

    def of_field(validator: Any, value: Any, instance: Any, schema: dict[str, Any]) -> Any:
        if isinstance(instance, TextOrValue):
            instance = str(instance) if schema.get("type") == "string" else instance.value
        return keyword(validator, value, instance, schema)

    return of_field


def check(tree: MappingNode, schema: dict[str, Any], problems: Problems) -> None:
    """Add every violation of `schema`, the parsed JSON Schema of the spec, to `problems`."""
    _Checker(schema, problems).root(tree)


class _Checker:
    def __init__(self, schema: dict[str, Any], problems: Problems) -> None:
        self._schema = schema
        self._definitions = schema["$defs"]
        self._name = re.compile(self._definitions["name"]["pattern"])
        self._problems = problems
        self._valid: set[Hashable] = set()

    @cached_property
    def _all(self) -> Any:
        """The validator of jsonschema, which finds errors: its import takes 80 ms, so a valid spec does without."""
        from jsonschema.validators import Draft202012Validator, extend

        keywords = {name: _typed_by_field(Draft202012Validator.VALIDATORS[name]) for name in _OF_SCALARS}
        return extend(Draft202012Validator, keywords)(self._schema)  # type: ignore[no-untyped-call]

    def root(self, tree: MappingNode) -> None:
        """Check the document: maps one at a time, everything else at once."""
        top = {name: value for name, _, value in tree.named()}
        apart = {name: value for name in _SECTIONS if isinstance(value := top.get(name), MappingNode)}
        instance = {name: {} if name in apart else as_json(value) for name, value in top.items()}
        # Nothing is reported as missing in a document that cannot be read whole, so jsonschema need not find it.
        schema = {**self._schema, "required": []} if self._problems.is_partial else self._schema
        if not quick_check.holds(instance, schema, self._definitions):
            self._report(self._all.iter_errors(instance), tree, None)
        for section, members in apart.items():
            for name, key, value in members.named():
                if not self._name.match(name):
                    hint = name_hint(name, self._expected("name"))
                    self._problems.add(f"{shown(name)} is not a valid name", key.where, hint, id="invalid-name")
                elif len(name) > self._definitions["name"]["maxLength"]:
                    what = "the name is longer than 255 characters, the limit for pins"
                    self._problems.add(what, key.where, "use a shorter name", id="invalid-name")
                self._body(_SECTIONS[section], key, value)

    def _expected(self, definition: str) -> str:
        return f"write {self._definitions[definition]['errorMessage']}"

    def _body(self, definition: str, key: ScalarNode | None, node: SpecNode) -> None:
        """Check one map; the inner maps of an outer map are checked one at a time."""
        inner_maps = node.get("inner_maps") if isinstance(node, MappingNode) and definition == "outer_map" else None
        if isinstance(node, MappingNode) and inner_maps is not None:
            self._inner_maps(inner_maps)
            if isinstance(inner_maps, (MappingNode, SequenceNode)):
                node = node.without("inner_maps")
        free = definition == "listed_inner_map" and isinstance(node, MappingNode) and node.get("key") is not None
        like = (definition, free, _likeness(node.without("key") if free and isinstance(node, MappingNode) else node))
        if like in self._valid:
            return
        if quick_check.holds(as_json(node), self._definitions[definition], self._definitions):
            self._valid.add(like)
            return
        validator = self._all.evolve(schema={"$ref": f"#/$defs/{definition}", "$defs": self._definitions})
        if not self._report(validator.iter_errors(as_json(node)), node, key, is_data=definition == "inner_map"):
            self._valid.add(like)

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

    def _report(
        self, errors: Iterator[ValidationError], node: SpecNode, key: ScalarNode | None, *, is_data: bool = False
    ) -> bool:
        """Add a problem for each of `errors` of `node`; returns whether there are any."""
        has_errors = False
        for error in errors:
            has_errors = True
            ErrorFormatter(error, node, key, self._problems, is_data=is_data).add_problems()
        return has_errors


def _likeness(node: SpecNode, name: str = "") -> Hashable:
    """Equal for nodes that have the same errors: their keys, and their values as far as the schema checks them."""
    match node:
        case ScalarNode():
            value = as_json(node)
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
