"""Reports for people, from the command line: a comment, and a page."""

from __future__ import annotations

from tests.cli.conftest import Project


def test_a_plan_as_a_comment_and_as_a_page(project: Project) -> None:
    comment = project.run("plan", "--format", "markdown")
    assert (comment.status, comment.err) == (2, "")
    assert comment.out.startswith("<!-- provisioner plan edge -->\n### `edge`: changes\n")
    page = project.run("plan", "--format", "html")
    assert (page.status, page.err) == (2, "")
    assert page.out.startswith("<!doctype html>\n")
    assert page.out.endswith("</html>\n")


def test_an_apply_says_how_it_ended_in_either(project: Project) -> None:
    comment = project.run("apply", "--yes", "--format", "markdown")
    assert comment.status == 0
    assert "### `edge`: applied" in comment.out
    project.edit("1: 10, 2: 20", "1: 11, 2: 20")
    page = project.run("apply", "--yes", "--format", "html")
    assert page.status == 0
    assert "Applied: 1 outer map changed, 1 inner map changed, 1 entry changed" in page.out
    assert "no changes" in project.run("plan", "--format", "markdown").out


def test_a_refusal_is_reported_too(project: Project) -> None:
    project.run("apply", "--yes")
    project.edit("    inner_maps:", "    limits: {delete_percent: 0, at_least: 0}\n    inner_maps:")
    project.edit("{1: 10, 2: 20}", "{1: 10}")
    refused = project.run("apply", "--yes", "--format", "markdown")
    assert refused.status == 4
    assert "### `edge`: refused" in refused.out
    assert "[!CAUTION]" in refused.out
    assert "delete_percent" in refused.err


def test_full_is_full(project: Project) -> None:
    rows = ", ".join(f"{number}: 1" for number in range(60))
    project.edit("{1: 10, 2: 20}", f"{{{rows}}}")
    assert "... and 10 more entries" in project.run("plan", "--format", "html").out
    assert "... and" not in project.run("plan", "--format", "html", "--full").out
