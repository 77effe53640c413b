"""`--log-format json`: every verb takes it, and standard error is then an object to a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.cli.verbs import VERBS
from tests.cli.conftest import Project
from tests.cli.support import run


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_it(verb: str) -> None:
    done = run(verb, "--help")
    assert (done.status, "--log-format text|json" in done.out) == (0, True)


def test_problems_are_lines_with_their_place(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("max_entries: 64", "max_entries: many"))
    done = run("validate", spec, "--log-format", "json")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert done.status == 1
    assert {(line["level"], line["event"], line["file"]) for line in lines} == {("error", "error", str(spec))}
    assert [line["line"] for line in lines] == [4, 11]


def test_an_apply_tells_what_it_plans_and_how_it_ended(project: Project) -> None:
    done = project.run("apply", "--yes", "--log-format", "json")
    planned, ended = (json.loads(line) for line in done.err.splitlines())
    assert (planned["event"], planned["summary"]["entries"]["insert"]) == ("planned", 4)
    assert (ended["event"], ended["status"], ended["project"]) == ("apply", "applied", "edge")


def test_a_usage_error_is_a_line_too() -> None:
    done = run("plan", "--nonsense", "--log-format", "json")
    assert (done.status, json.loads(done.err)["message"]) == (64, "No such option: --nonsense")
    assert run("plan", "x.yaml", "--log-format", "xml").status == 64
