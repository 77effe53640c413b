"""Schemas for editors, made of the schema of the spec: for parts and overlays, and with the names of a spec. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from provisioner.model.spec import Spec

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


def with_names(schema: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    """A schema that offers the names of one spec: types, templates, objects, shared inner maps and maps."""
    made = deepcopy(dict(schema))
    offered = {
        "inner": spec.inner_templates,
        "object": spec.objects,
        "shared": spec.shared_inner_maps,
        "after": {**spec.outer_maps, **spec.maps},
    }
    for name, property_ in _properties(made):
        known = offered.get(name)
        if known and property_.get("type") == "array":
            property_["items"]["defaultSnippets"] = snippets(known)
        elif known:
            property_["defaultSnippets"] = snippets(known)
    types = made["$defs"]["type"]
    types["defaultSnippets"] = [*snippets(spec.types), *types["defaultSnippets"]]
    return made


def snippets(words: Iterable[str]) -> list[dict[str, str]]:
    """Words that an editor offers as the value of a field."""
    return [{"label": word, "body": word} for word in words]


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
