"""Errors as people read them, as JSON, and as GitHub's annotations."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator

from provisioner.language import schema_file
from provisioner.model.errors import Problem
from provisioner.model.location import Location
from provisioner.report import problems as rendering
from provisioner.report.style import Style, on_terminal

HERE = Location("edge.yaml", 3, 7)
ALL = [
    Problem("it is wrong", HERE, "make it right", "tenants[42]", "wrong"),
    Problem("no such file", Location("missing.yaml")),
    Problem("the map is full", address="vips"),
    Problem("interrupted"),
]


def test_text_shows_place_line_caret_and_hint() -> None:
    assert list(rendering.text(ALL, {HERE: "maps: {x: 1}"})) == [
        "edge.yaml:3:7: error[wrong]: it is wrong",
        "    maps: {x: 1}",
        "          ^",
        "  hint: make it right",
        "missing.yaml: error: no such file",
        "vips: error: the map is full",
        "error: interrupted",
        "4 errors",
    ]


def test_one_problem_is_not_counted() -> None:
    assert list(rendering.text(ALL[3:])) == ["error: interrupted"]


@pytest.mark.parametrize(
    ("line", "column", "drawn", "caret"),
    [
        ("\tx: 1", 2, "    x: 1", 4),
        ("名: 1", 4, "名: 1", 4),
        ("a\x1b[31mb", 7, "a?[31mb", 6),
        ("x" * 80 + "y" + "z" * 80, 81, "... " + "x" * 50 + "y" + "z" * 49 + " ...", 54),
    ],
    ids=["tab", "wide characters", "escape sequence", "long line"],
)
def test_the_caret_stands_below_its_column(line: str, column: int, drawn: str, caret: int) -> None:
    where = Location("edge.yaml", 1, column)
    lines = list(rendering.text([Problem("wrong", where)], {where: line}))
    assert lines[1:] == ["    " + drawn, " " * (4 + caret) + "^"]


def test_text_of_others_cannot_act_on_the_terminal() -> None:
    (line,) = rendering.text([Problem("a\x1b]0;title\x07b", Location("\x1bc.yaml", 1, 1))])
    assert line == r"\x1bc.yaml:1:1: error: a\x1b]0;title\x07b"


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ("::stop-commands::x", "?:stop-commands::x"),
        ("  ::error file=a,line=1::x", "  ?:error file=a,line=1::x"),
        ("a ##[set-env name=A]x", "a ?#[set-env name=A]x"),
        ("::1,2001:db8::/32", "::1,2001:db8::/32"),
        ("## [a]", "## [a]"),
    ],
)
def test_text_of_others_is_no_workflow_command(line: str, drawn: str) -> None:
    where = Location("a.csv", 1, 1)
    assert list(rendering.text([Problem("no", where)], {where: line})) == [
        "a.csv:1:1: error: no",
        f"    {drawn}",
        "    ^",
    ]
    assert list(rendering.text([Problem(f"log\n{line}")])) == ["error: log", f"    {drawn}"]


def test_colours_only_paint() -> None:
    plain, painted = (
        [on_terminal(line, style) for line in rendering.text(ALL, style=style)] for style in (Style(False), Style(True))
    )
    assert "\x1b[31merror[wrong]:\x1b[0m" in painted[0]
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in painted] == plain


def test_json_has_every_key_of_every_problem() -> None:
    document = json.loads(rendering.as_json(ALL))
    Draft202012Validator(schema_file.load(schema_file.OUTPUT_SCHEMA)).validate(document)
    assert document["errors"][0] == {
        "id": "wrong",
        "file": "edge.yaml",
        "line": 3,
        "column": 7,
        "address": "tenants[42]",
        "message": "it is wrong",
        "hint": "make it right",
    }
    assert [error["file"] for error in document["errors"][1:]] == ["missing.yaml", None, None]
    assert document["errors"][1]["line"] is None


def test_annotations_are_escaped() -> None:
    odd = Problem("100 %\nof it", Location("a,b:c.yaml", 1, 2), "fix it")
    assert list(rendering.github([odd, *ALL[1:]])) == [
        "::error file=a%2Cb%3Ac.yaml,line=1,col=2::100 %25%0Aof it%0Afix it",
        "::error file=missing.yaml::no such file",
        "::error::vips: the map is full",
        "::error::interrupted",
    ]


def test_annotations_have_no_control_characters() -> None:
    """GitHub shows a workflow command in the log too, which acts on them as a terminal does."""
    odd = Problem("no \x1b[31mfile\r", Location("a\x1b]0;title\x07\u202e.yaml", 1, 2))
    (line,) = rendering.github([odd])
    assert line.isprintable()
    assert line == "::error file=a\\x1b]0;title\\x07\\u202e.yaml,line=1,col=2::no \\x1b[31mfile\\r"
