"""Schemas for editors, made of the schema of the spec: for parts and overlays, and with the names of a spec. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from provisioner.model.spec import Spec

_VARIABLE: Final = r"\$\{"

_SHAPED: Final = ("inner_template", "object", "shared_inner_map", "plain_map", "outer_map")
"""Definitions whose required fields another file can have."""

_PART: Final = "A part of a spec: an included file or an overlay. Another file has the fields that are missing here."


def part(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a file that is included, or laid over a spec: nothing is required that another file can have."""
    made = deepcopy(dict(schema))
    made |= {"$id": f"{schema['$id']}:part", "title": f"{schema['title']}, a part", "description": _PART}
    del made["required"]
    for name in _SHAPED:
        made["$defs"][name].pop("required", None)
        made["$defs"][name].pop("dependentRequired", None)
    return made


def with_variables(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema in which `${NAME}` can stand in every field that is not one of some words: an editor sees it there."""
    made = deepcopy(dict(schema))
    for part_ in _mappings(made):
        types, pattern = part_.get("type"), part_.get("pattern")
        if isinstance(pattern, str):
            part_["pattern"] = f"{pattern}|{_VARIABLE}"
        elif types in ("integer", "boolean"):
            what = "an integer" if types == "integer" else "true or false"
            part_ |= {"type": [types, "string"], "pattern": _VARIABLE}
            part_["patternErrorMessage"] = f"{what}, or a variable such as `${{NAME}}`"
    return made


def with_names(schema: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    """A schema that offers the names of one spec: types, templates, objects, shared inner maps and maps."""
    made = deepcopy(dict(schema))
    maps = {**spec.outer_maps, **spec.maps}
    words = {"inner": spec.inner_templates, "object": spec.objects, "shared": spec.shared_inner_maps, "to": maps}
    lists = {"after": maps, "objects": spec.objects}
    for name, property_ in _properties(made):
        if property_.get("type") == "array" and (known := lists.get(name)):
            property_["items"]["defaultSnippets"] = snippets(known)
        elif known := words.get(name):
            property_["defaultSnippets"] = snippets(known)
    types = made["$defs"]["type"]
    types["defaultSnippets"] = [*snippets(spec.types), *types["defaultSnippets"]]
    return made


def snippets(words: Iterable[str]) -> list[dict[str, str]]:
    """Words that an editor offers as the value of a field."""
    return [{"label": word, "body": word} for word in words]


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a schema, except examples."""
    if isinstance(node, dict):
        yield node
        node = [value for name, value in node.items() if name != "examples"]
    if isinstance(node, list):
        for each in node:
            yield from _mappings(each)


def _properties(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property that any object of a schema has, by name."""
    match node:
        case dict():
            if isinstance(named := node.get("properties"), dict):
                yield from ((name, each) for name, each in named.items() if isinstance(each, dict))
            for each in node.values():
                yield from _properties(each)
        case list():
            for each in node:
                yield from _properties(each)
        case _:
            pass
