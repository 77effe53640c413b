"""What the quick check holds for valid, jsonschema does too; and a valid spec needs no jsonschema."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

from provisioner import document
from provisioner.language import quick_check, schema_file
from provisioner.language.scalars import as_json
from provisioner.model.errors import Problems

ROOT = Path(__file__).parents[2]
SCHEMA = schema_file.load()
DEFINITIONS = SCHEMA["$defs"]
VALIDATOR = Draft202012Validator(SCHEMA)
PATHS = (ROOT / "examples/edge.yaml", ROOT / "examples/standalone.yaml", ROOT / "examples/quotas.yaml")
SPECS: list[Any] = [as_json(document.load([path], problems=Problems()).tree) for path in PATHS]
SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 7, 1 << 40, "", "a", "hash", "acl", "0..9", "x y", "9" * 300])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in pairs for place in places(part, (*path, key)))]


@given(st.data())
def test_what_holds_is_valid(data: st.DataObject) -> None:
    """A value of a spec is replaced, removed or renamed: what the quick check holds for valid, jsonschema does too."""
    spec = copy.deepcopy(data.draw(st.sampled_from(SPECS)))
    for _ in range(data.draw(st.integers(0, 2))):
        *path, last = data.draw(st.sampled_from(places(spec)[1:]))
        parent = spec
        for key in path:
            parent = parent[key]
        change = data.draw(st.sampled_from(["replace", "remove", "rename", "list", "mapping"]))
        if change == "remove" or (change == "rename" and isinstance(parent, list)):
            del parent[last]
        elif change == "rename":
            parent[data.draw(st.sampled_from(["type", "from", "max_entries", "odd key", ""]))] = parent.pop(last)
        else:
            new = {"list": [1, 1], "mapping": {"from": "x.csv"}}.get(change, data.draw(SCALARS))
            parent[last] = new
        if not places(spec)[1:]:
            break
    if quick_check.holds(spec, SCHEMA, DEFINITIONS):
        assert not list(VALIDATOR.iter_errors(spec))


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_examples_are_known_to_be_valid(number: int) -> None:
    assert quick_check.holds(SPECS[number], SCHEMA, DEFINITIONS)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1.5, {"minimum": 1}),
        ([1, True], {"uniqueItems": True}),
        ({"a": 1}, {"unevaluatedProperties": False}),
        ("a", {"$ref": "#/$defs/missing"}),
        ([1], {"const": [1]}),
        ({"a": 1}, {"if": {"minProperties": 1}, "then": True}),
    ],
)
def test_what_is_not_known_is_left_to_jsonschema(value: Any, schema: dict[str, Any]) -> None:
    assert not quick_check.holds(value, schema, {})


def test_a_valid_spec_is_checked_without_jsonschema() -> None:
    ask = (
        "import sys, provisioner\n"
        f"provisioner.load({str(ROOT / 'examples/standalone.yaml')!r})\n"
        "print('jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
