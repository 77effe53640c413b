"""`graph`, from the command line."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Project
from tests.cli.support import run


def test_it_draws_the_spec_without_a_kernel_and_the_live_state(project: Project) -> None:
    wanted = project.run("graph")
    assert (wanted.status, wanted.err) == (0, "")
    assert wanted.out.startswith("digraph provisioner {\n")
    assert "10.0.0.0" not in wanted.out
    assert "tenants" not in project.run("graph", "--live").out
    project.run("apply", "--yes")
    live = project.run("graph", "--live", "--format", "mermaid")
    assert live.out.startswith("flowchart LR\n")
    assert live.out.count("<br/>id ") == 4
    drawn = ElementTree.fromstring(project.run("graph", "--live", "--format", "svg").out)
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"


def test_without_graphviz_it_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = run("graph", project.spec, "--format", "svg")
    assert (done.status, done.out) == (5, "")
    assert "Graphviz's `dot` is not installed" in done.err
    assert "--format dot" in done.err
