"""Whether a JSON value is valid for a part of JSON Schema: enough to know that a valid spec is valid. Pure.

The import of jsonschema takes a fifth of the time of a small plan. It is imported where this does not say yes: it
finds the errors, and decides about keywords and values that are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from provisioner.language.scalars import TextOrValue

_NOTES: Final = frozenset(
    {
        "title",
        "description",
        "examples",
        "errorMessage",
        "default",
        "defaultSnippets",
        "$schema",
        "$id",
        "$defs",
        "then",
        "else",
    }
)
"""Keywords that say nothing about a value, or that others read."""


def holds(value: Any, schema: Mapping[str, Any] | bool, definitions: Mapping[str, Any]) -> bool:
    """Whether `value` is certainly valid."""
    if isinstance(schema, bool):
        return schema
    if isinstance(value, TextOrValue):  # its type depends on the field
        return False
    return all(_holds(keyword, wanted, value, schema, definitions) for keyword, wanted in schema.items())


def _holds(keyword: str, wanted: Any, value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    if keyword in _NOTES:
        return True
    match keyword:
        case "$ref":
            name = str(wanted).removeprefix("#/$defs/")
            return name in definitions and holds(value, definitions[name], definitions)
        case "type":
            return any(_is(value, name) for name in ([wanted] if isinstance(wanted, str) else wanted))
        case "enum":
            return any(_same(value, each) for each in wanted)
        case "const":
            return _same(value, wanted)
        case "if":
            branch = schema.get("then" if holds(value, wanted, definitions) else "else", True)
            return _is_decided(wanted) and holds(value, branch, definitions)
        case _:
            return _of_its_type(keyword, wanted, value, schema, definitions)


def _of_its_type(
    keyword: str, wanted: Any, value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> bool:
    """A keyword that says something about values of one type."""
    match value:
        case list():
            return _of_list(keyword, wanted, value, definitions)
        case dict():
            return _of_object(keyword, wanted, value, schema, definitions)
        case str() if keyword in _STRINGS:
            return _STRINGS[keyword](value, wanted)
        case int() if keyword in _NUMBERS and not isinstance(value, bool):
            return _NUMBERS[keyword](value, wanted)
        case float():
            return False
        case _:
            return _is_known(keyword)


_STRINGS: Final[dict[str, Callable[[str, Any], bool]]] = {
    "pattern": lambda value, wanted: re.search(wanted, value) is not None,
    "minLength": lambda value, wanted: len(value) >= int(wanted),
    "maxLength": lambda value, wanted: len(value) <= int(wanted),
}
_NUMBERS: Final[dict[str, Callable[[int, Any], bool]]] = {
    "minimum": lambda value, wanted: value >= int(wanted),
    "maximum": lambda value, wanted: value <= int(wanted),
}
_LISTS: Final = frozenset({"items", "minItems", "uniqueItems"})
_OBJECTS: Final = frozenset(
    {
        "properties",
        "patternProperties",
        "additionalProperties",
        "propertyNames",
        "required",
        "dependentRequired",
        "minProperties",
        "maxProperties",
    }
)


def _is_known(keyword: str) -> bool:
    return keyword in _STRINGS or keyword in _NUMBERS or keyword in _LISTS or keyword in _OBJECTS


def _is_decided(condition: Mapping[str, Any]) -> bool:
    """Whether a condition does not hold where `holds` says no: other keywords may only be unknown here."""
    return condition.keys() <= {"type", "required"}


def _of_list(keyword: str, wanted: Any, value: list[Any], definitions: Mapping[str, Any]) -> bool:
    match keyword:
        case "items":
            return all(holds(item, wanted, definitions) for item in value)
        case "minItems":
            return len(value) >= int(wanted)
        case "uniqueItems":
            return not wanted or (all(type(item) is str for item in value) and len(set(value)) == len(value))
        case _:
            return _is_known(keyword)


def _of_object(
    keyword: str, wanted: Any, value: dict[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> bool:
    match keyword:
        case "properties":
            return all(holds(value[name], part, definitions) for name, part in wanted.items() if name in value)
        case "patternProperties":
            pairs = ((name, part) for name in value for pattern, part in wanted.items() if re.search(pattern, name))
            return all(holds(value[name], part, definitions) for name, part in pairs)
        case "additionalProperties":
            named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
            rest = (name for name in value if name not in named)
            rest = (name for name in rest if not any(re.search(pattern, name) for pattern in patterns))
            return all(holds(value[name], wanted, definitions) for name in rest)
        case "propertyNames":
            return all(holds(name, wanted, definitions) for name in value)
        case "required":
            return all(name in value for name in wanted)
        case "dependentRequired":
            return all(other in value for name, others in wanted.items() if name in value for other in others)
        case "minProperties":
            return len(value) >= int(wanted)
        case "maxProperties":
            return len(value) <= int(wanted)
        case _:
            return _is_known(keyword)


def _is(value: Any, name: str) -> bool:
    match name:
        case "integer" | "number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "null":
            return value is None
        case _:
            return False


def _same(value: Any, wanted: Any) -> bool:
    """Equality of scalars: true is not 1."""
    return type(value) is type(wanted) and bool(value == wanted) and not isinstance(value, list | dict)
