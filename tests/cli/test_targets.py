"""--target on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Project


def test_every_report_says_that_it_is_partial(project: Project) -> None:
    said = "This plan is partial: --target limits it to tenants[2]."
    planned = project.run("plan", "--target", "tenants[2]")
    assert planned.status == 2
    assert planned.out.splitlines()[-1] == said
    document = project.run("plan", "--target", "tenants[2]", "--format", "json").document
    assert document["targets"] == ["tenants[2]"]
    assert {change["address"] for change in document["changes"]} == {"tenants", "tenants[2]", "tenants[2][7]"}
    assert "targets" not in project.run("plan", "--format", "json").document
    markdown = project.run("plan", "--target", "tenants[2]", "--format", "markdown").out
    assert "This plan is partial: `--target` limits it to `tenants[2]`." in markdown
    assert f"<p>{said}</p>" in project.run("plan", "--target", "tenants[2]", "--format", "html").out


def test_an_apply_of_a_part_says_so(project: Project) -> None:
    done = project.run("apply", "--yes", "--target", "tenants[2]")
    assert done.status == 0
    assert "A plan without --target shows all other differences" in done.out.splitlines()[-1]
    again = project.run("apply", "--yes", "--target", "tenants[2]")
    assert (again.status, again.out.splitlines()[0]) == (0, "No changes to the targets.")
    assert project.run("plan").status == 2
    assert project.run("apply", "--yes").status == 0
    assert project.run("plan").status == 0


def test_a_saved_plan_keeps_its_targets(project: Project, tmp_path: Path) -> None:
    saved = tmp_path / "edge.plan"
    project.run("plan", "--out", saved, "--target", "tenants[0x2]", "--target", "active")
    for words in ((), ("--target", "active"), ("--target", "tenants")):
        refused = project.run("apply", "--plan", saved, *words)
        assert refused.status == 4
        assert "made with --target 'active' --target 'tenants[2]'" in refused.err
    assert not project.root.exists()
    assert project.run("apply", "--plan", saved, "--target", "active", "--target", "tenants[2]").status == 0
    project.run("plan", "--out", saved)
    refused = project.run("apply", "--plan", saved, "--target", "active")
    assert (refused.status, "made without --target" in refused.err) == (4, True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("plan", "--target", "active", "--prune"), 64),
        (("apply", "--yes", "--target", "active", "--prune"), 64),
        (("plan", "--target", "active", "--destroy"), 64),
        (("plan", "--target", "nothing"), 1),
        (("apply", "--yes", "--target", "tenants[2][7]"), 1),
        (
            (
                "plan",
                "--target",
                f"tenants[[&a0 [x], {', '.join(f'&a{n} [*a{n - 1}, *a{n - 1}]' for n in range(1, 40))}]]",
            ),
            1,
        ),
        (("apply", "--yes", "--target", f"tenants[{'[' * 2000}{']' * 2000}]"), 1),
    ],
)
def test_what_is_refused_changes_nothing(project: Project, words: tuple[str, ...], status: int) -> None:
    assert project.run(*words).status == status
    assert not project.root.exists()
