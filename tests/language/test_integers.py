"""Every integer field of the spec, far out of its range: the spec is valid, or the error has a place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from provisioner.desired.loading import SpecError
from provisioner.model.errors import Problem
from provisioner.model.host import Host
from provisioner.project.opening import load
from tests.document.support import spec_schema

Steps = tuple[str | int, ...]

NUMBERS: Final = (-1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, 1 << 64, 10**20)
SPEC: Final[dict[str, Any]] = {
    "version": 1,
    "name": "edge",
    "types": {"verdict": {"enum": {"deny": 0}}},
    "inner_templates": {
        "acl": {"type": "lru_hash", "key": "u32", "value": "u32", "max_entries": 8, "flags": ["no_common_lru"]}
        | {"contents": "present"}
    },
    "shared_inner_maps": {"common": {"inner": "acl"}},
    "maps": {"active": {"type": "hash", "key": "u32", "value": "verdict", "max_entries": 8, "entries": {"0": 0}}},
    "outer_maps": {
        "tenants": {"type": "array_of_maps", "key": "u32", "max_entries": 8, "inner": "acl"}
        | {"inner_maps": {"1": {"entries": {"1": 1}}}, "default": {"shared": "common"}}
    },
}


def integer_fields(schema: dict[str, Any], steps: Steps = (), above: frozenset[str] = frozenset()) -> Iterator[Steps]:
    """The path of each field that takes an integer, with `*` for a name and 0 for an item."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name in above:
        return
    if name:
        yield from integer_fields(spec_schema()["$defs"][name], steps, above | {name})
    kinds = schema.get("type", [])
    if "integer" in ([kinds] if isinstance(kinds, str) else kinds) or isinstance(schema.get("const"), int):
        yield steps
    below = [(step, part) for step, part in schema.get("properties", {}).items()]
    below += [("*", schema["additionalProperties"])] if isinstance(schema.get("additionalProperties"), dict) else []
    below += [(0, schema["items"])] if "items" in schema else []
    for step, part in below:
        yield from integer_fields(part, (*steps, step), above)
    for branch in schema.keys() & {"then", "else"}:
        yield from integer_fields(schema[branch], steps, above)


FIELDS: Final = sorted(set(integer_fields(spec_schema())), key=str)


def with_number(steps: Steps, number: int | str) -> dict[str, Any]:
    """The spec with `number` at the end of `steps`, along mappings and lists that it has or gets."""
    spec: dict[str, Any] = json.loads(json.dumps(SPEC))
    node: Any = spec
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        name = next(iter(node), "x") if step == "*" else step
        below: Any = number if following is None else [{"key": 1}] if following == 0 else {}
        if isinstance(node, dict) and isinstance(node.get(name), type(below)) and following is not None:
            below = node[name]
        node[name] = below
        node = below
    return spec


def problems(path: Path) -> tuple[Problem, ...]:
    """What is wrong with a spec; it is planned if nothing is."""
    try:
        load([path], host=Host("little", 6)).plan(against="empty")
    except SpecError as error:
        return error.problems
    return ()


def test_the_spec_itself_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(json.dumps(SPEC))
    assert problems(path) == ()


def test_the_fields_are_those_of_the_spec() -> None:
    names = {steps[-1] for steps in FIELDS if isinstance(steps[-1], str)}
    assert names >= {"max_entries", "map_extra", "numa_node", "delete_percent", "at_least", "owned_keys", "version"}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("steps", FIELDS, ids=lambda steps: ".".join(map(str, steps)))
def test_a_number_out_of_range_has_a_place(tmp_path: Path, steps: Steps, number: int) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(json.dumps(with_number(steps, number)))
    assert all(problem.where is not None and problem.where.line for problem in problems(path))


@pytest.mark.parametrize("steps", FIELDS, ids=lambda steps: ".".join(map(str, steps)))
def test_another_text_has_a_place_too(tmp_path: Path, steps: Steps) -> None:
    """What the schema refuses is read once more: that must not fail."""
    path = tmp_path / "edge.yaml"
    for text in ("08", "1e3", "true", "\u0663", "9" * 5000):
        path.write_text(json.dumps(with_number(steps, text)))
        assert all(problem.where is not None and problem.where.line for problem in problems(path))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("key", ["{}", "0..{}", "{}..18446744073709551615"])
@pytest.mark.parametrize("kind", ["array_of_maps", "hash_of_maps"])
def test_so_has_a_key_or_a_range(tmp_path: Path, kind: str, key: str, number: int) -> None:
    spec = with_number(("outer_maps", "*", "max_entries"), (1 << 32) - 1)
    outer = spec["outer_maps"]["tenants"]
    outer |= {"type": kind, "inner_maps": {key.format(number): {}}}
    del outer["default"]
    path = tmp_path / "edge.yaml"
    path.write_text(json.dumps(spec).replace('"' + key.format(number) + '"', key.format(number)))
    assert all(problem.where is not None and problem.where.line for problem in problems(path))


@pytest.mark.parametrize("number", NUMBERS)
def test_so_has_the_length_of_an_array(tmp_path: Path, number: int) -> None:
    path = tmp_path / "edge.yaml"
    for kind in (f"u8[{number}]", f"char[{number}]", f"u8[1][{number}]"):
        path.write_text(json.dumps({**SPEC, "types": {"verdict": kind}}))
