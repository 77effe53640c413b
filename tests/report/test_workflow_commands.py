"""What others write is no command to the CI runner that shows the log of the job."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from provisioner.cli.console import Console
from provisioner.report.jsontext import dumps
from provisioner.report.workflow_commands import RUNNERS, harmless
from tests.cli.support import run

COMMANDS = (
    "::error::text",
    "  ::error file=a,line=1::text",
    "\t::ADD-MASK::text",
    "text ##[error]text",
    "##[Group]text",
    "text##vso[task.setvariable variable=a]b",
    "##teamcity[message text='a']",
    "##[a]##[b]",
    "::error ##[a]::##[b]",
)


def executed(line: str) -> bool:
    """Whether a runner would: what follows may be any word."""
    return re.search(r"(?i)^\s*::[^:]+::|##\w*\[", line) is not None


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_marked(line: str) -> None:
    shown = harmless(line)
    assert executed(line)
    assert not executed(shown)
    assert len(shown) == len(line)
    assert harmless(shown) == shown


@pytest.mark.parametrize("line", ["tenants[2001:db8::1]", "::1", "a ::error::", "# a", "## a", "a##b", "[::]:80"])
def test_other_text_stays(line: str) -> None:
    assert harmless(line) == line


@pytest.mark.parametrize("runner", ["", *RUNNERS])
def test_a_key_of_a_map_is_no_command_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: str) -> None:
    for name in RUNNERS:
        monkeypatch.delenv(name, raising=False)
    if runner:
        monkeypatch.setenv(runner, "true")
    spec = tmp_path / "edge.yaml"
    keys = "{'::error::x': 1, '##[error]x': 2}"
    shape = "type: hash, key: 'char[16]', value: u32, max_entries: 4"
    spec.write_text(f"version: 1\nname: edge\nmaps: {{m: {{{shape}, entries: {keys}}}}}\n")
    text = run("plan", spec, "--against", "empty").out
    assert any(map(executed, text.splitlines())) is not bool(runner)
    document = run("plan", spec, "--against", "empty", "--format", "json").out
    assert not any(map(executed, document.splitlines()))
    assert 'm["##[error]x"]' in {each["address"] for each in json.loads(document)["changes"]}


def test_messages_are_no_commands_in_a_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(RUNNERS[0], "true")
    Console("text", "never", quiet=False, verbose=False).notes(COMMANDS)
    assert not any(map(executed, capsys.readouterr().err.splitlines()))


def test_json_text_is_the_same_value() -> None:
    assert [json.loads(dumps(line)) for line in COMMANDS] == list(COMMANDS)
    assert json.loads(dumps("\\###")) == "\\###"
