"""The schema file itself, and that checking one of many alike misses nothing."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator

from provisioner import document
from provisioner.codec.build import builtins
from provisioner.language import editor_schema, schema, schema_file
from provisioner.language.scalars import as_json, integer
from provisioner.model.errors import Problems
from provisioner.model.uapi import INNER_TYPES, OUTER_TYPES, MapFlag, MapType
from tests.document.support import HEAD, described, read, spec_schema, write

ROOT = Path(__file__).parents[2]


def _properties(node: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property that any object of the schema has."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "properties":
                yield from value.items()
            if name != "examples":
                yield from _properties(value)
    elif isinstance(node, list):
        for item in node:
            yield from _properties(item)


def test_the_file_is_a_schema_and_stands_at_the_top_of_the_checkout() -> None:
    Draft202012Validator.check_schema(spec_schema())
    top = Path(__file__).parents[2] / "schemas" / schema_file.SPEC_SCHEMA
    assert top.read_text() == schema_file.text(schema_file.SPEC_SCHEMA)


def test_the_schema_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch reads it at its start: later the package may be another one."""
    schema_file.load()
    schema_file.text(schema_file.SPEC_SCHEMA)
    monkeypatch.setattr(schema_file, "_SCHEMAS", Path("/nowhere"))
    assert editor_schema.with_variables(schema_file.load()) == schema_file.load(schema_file.SPEC_SCHEMA)


def test_editors_have_something_to_show_for_every_property() -> None:
    properties = list(_properties(spec_schema()))
    assert len(properties) > 80
    for name, property_ in properties:
        assert {"title", "description", "examples"} <= property_.keys(), name
        assert property_["examples"], name


def test_every_key_of_the_json_output_is_explained() -> None:
    schema_ = schema_file.load(schema_file.OUTPUT_SCHEMA)
    bare = [name for name, property_ in _properties(schema_) if not {"description", "$ref", "const"} & property_.keys()]
    assert bare == []


def test_every_example_in_the_schema_holds_for_its_own_property() -> None:
    definitions = spec_schema()["$defs"]
    for name, property_ in _properties(spec_schema()):
        validator = Draft202012Validator({**property_, "$defs": definitions})
        for example in property_["examples"]:
            assert not list(validator.iter_errors(example)), (name, example)


def test_every_mapping_of_fixed_keys_refuses_others() -> None:
    def holders(node: object) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if "properties" in node and isinstance(node["properties"], dict) and "additionalProperties" in node:
                yield node
            for value in node.values():
                yield from holders(value)

    mappings = list(holders(spec_schema()))
    assert len(mappings) >= 15
    assert all(holder["additionalProperties"] is False for holder in mappings)


def test_what_is_generated_is_up_to_date() -> None:
    """The table formats are those that are registered, and the schema of parts is that of specs with fewer demands."""
    for name, text in runpy.run_path(str(ROOT / "scripts" / "schemas.py"))["files"]():
        assert (ROOT / "schemas" / name).read_text() == text, "run `make schemas`"


def test_the_words_are_the_kernels() -> None:
    definitions = spec_schema()["$defs"]
    inner = definitions["inner_template"]["properties"]
    assert set(inner["type"]["enum"]) == {kind.word for kind in INNER_TYPES}
    assert set(definitions["outer_map"]["properties"]["type"]["enum"]) == {kind.word for kind in OUTER_TYPES}
    plain_types = definitions["plain_map"]["properties"]["type"]["enum"]
    assert set(plain_types) == {kind.word for kind in MapType if kind not in OUTER_TYPES}
    words = {flag.name.lower() for flag in MapFlag if flag.name and flag is not MapFlag.NUMA_NODE}
    assert set(inner["flags"]["items"]["enum"]) == words


def test_the_bounds_of_numbers_are_those_that_likeness_knows() -> None:
    text = schema_file.text(schema_file.STRICT_SCHEMA)
    least = {int(number) for number in re.findall(r'"minimum": (-?\d+)', text)}
    most = {int(number) + 1 for number in re.findall(r'"maximum": (-?\d+)', text)}
    assert (least | most) - {-(2**63)} <= set(schema.BOUNDS)


def test_a_listed_key_may_be_anything_so_that_likeness_need_not_look_at_it() -> None:
    key = spec_schema()["$defs"]["listed_inner_map"]["properties"]["key"]
    assert key.keys() == {"title", "description", "examples"}


def test_the_whole_example_holds_for_the_schema_as_editors_use_it() -> None:
    problems = Problems()
    tree = document.load([Path(__file__).parent / "edge.yaml"], problems=problems).tree
    assert not list(Draft202012Validator(spec_schema()).iter_errors(as_json(tree)))


BODIES = {
    "{}": None,
    "{entries: {1: 2}, max_entries: 5}": None,
    "{max_entries: 7, entries: {1: 2}}": None,
    "{shared: s}": None,
    "{shared: t}": None,
    "{shared: s.s}": "invalid-name",
    "{entries: {from: a.csv}}": None,
    "{entries: {from: b.csv}}": None,
    '{entries: {from: ""}}': "empty-value",
    "{max_entries: 0}": "out-of-range",
    "{max_entries: 0x100000000}": "out-of-range",
    "{contents: exact}": None,
    "{contents: exactly}": "unknown-value",
    '{max_entries: "5"}': "wrong-type",
    "{owned_keys: 1..2}": None,
    "{owned_keys: [1, []]}": "wrong-type",
    "{owned_keys: [1, 2]}": None,
}


def test_maps_alike_are_checked_once_and_each_wrong_one_is_reported(tmp_path: Path) -> None:
    """Each body twice, in two orders, so that every one meets what was found fine before."""
    bodies = [*BODIES, *reversed(BODIES)]
    lines = "".join(f"      {number}: {body}\n" for number, body in enumerate(bodies))
    text = HEAD + "outer_maps:\n  o:\n    inner: i\n    pin: /x\n    inner_maps:\n" + lines
    write(tmp_path, {"spec.yaml": text})
    problems = Problems()
    tree = document.load([tmp_path / "spec.yaml"], problems=problems).tree
    schema.check(tree, spec_schema(), problems)
    by_line = [(int(line.split(":")[1]), line.split(": ", 1)[1]) for line in described(problems, tmp_path)]
    assert by_line == [(at, BODIES[body]) for at, body in enumerate(bodies, start=8) if BODIES[body]]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-7", -7), ("0x1F", 31), ("18446744073709551615", 2**64 - 1)]
    + [
        (text, None)
        for text in ("", "00", "0755", "1_0", "1.0", "1e3", "+1", "0b1", "0o7", " 1", "١", "9" * 5000, None)
    ],
)
def test_whole_numbers(text: str | None, value: int | None) -> None:
    assert integer(text) == value


def test_all_problems_of_a_file_are_reported_in_one_run(tmp_path: Path) -> None:
    text = HEAD + "limts: {}\nmaps: {m: {object: o}, n: {pin: /x, typ: hash}}\n"
    _, problems = read(text, tmp_path)
    assert problems == [
        "spec.yaml:3:1: unknown-field",
        "spec.yaml:4:20: unknown-reference",
        "spec.yaml:4:37: unknown-field",
    ]


SHIPPED = sorted(path for path in (ROOT / "examples").rglob("*.yaml") if path.name != "hosts.yaml")
"""Specs, parts and overlays; an inventory has no schema."""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_names_a_schema_that_it_fits(path: Path) -> None:
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert named is not None
    file = (path.parent / named[1]).resolve()
    assert file.parent == ROOT / "schemas"
    tree = document.load([path], problems=Problems()).tree
    strict = {schema_file.SPEC_SCHEMA: spec_schema(), schema_file.PART_SCHEMA: editor_schema.part(spec_schema())}
    assert not list(Draft202012Validator(strict[file.name]).iter_errors(as_json(tree)))


def test_an_editor_takes_variables_in_fields_of_any_type(tmp_path: Path) -> None:
    text = """
name: edge-${site}
pin_inner_maps: ${pins}
maps: {active: {type: hash, key: u32, value: u32, max_entries: "${room}", limits: {at_least: 1}}}
"""
    (tmp_path / "spec.yaml").write_text("version: 1" + text)
    tree = document.load([tmp_path / "spec.yaml"], problems=Problems()).tree
    shipped = Draft202012Validator(schema_file.load(schema_file.SPEC_SCHEMA))
    assert not list(shipped.iter_errors(as_json(tree)))
    assert len(list(Draft202012Validator(spec_schema()).iter_errors(as_json(tree)))) == 3


def test_an_editor_offers_all_types_and_the_names_of_a_spec(tmp_path: Path) -> None:
    offered = spec_schema()["$defs"]["type"]["defaultSnippets"]
    assert set(builtins("little", {})) <= {each["label"] for each in offered}
    spec, _ = read(
        HEAD + "types: {verdict: u8}\ninner_templates: {acl: {type: hash}}\nmaps: {active: {type: hash}}\n", tmp_path
    )
    made = editor_schema.with_names(spec_schema(), spec)
    assert made["$defs"]["type"]["defaultSnippets"][0] == {"label": "verdict", "body": "verdict"}
    assert made["$defs"]["outer_map"]["properties"]["inner"]["defaultSnippets"] == [{"label": "acl", "body": "acl"}]
    assert made["$defs"]["move"]["properties"]["to"]["defaultSnippets"] == [{"label": "active", "body": "active"}]
    assert "defaultSnippets" not in made["properties"]["objects"], "a mapping of objects, not a list of their names"
    assert spec_schema()["$defs"]["type"]["defaultSnippets"] == offered, "a copy is changed"
