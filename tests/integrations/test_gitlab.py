"""The GitLab CI template: bash runs the scripts of its jobs on the examples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cli.conftest import Project

ROOT: Final = Path(__file__).parents[2]
TEMPLATE: Final = ROOT / "integrations" / "gitlab" / "provisioner.gitlab-ci.yml"
BIN: Final = Path(sys.executable).parent
EXAMPLE: Final = str(ROOT / "examples" / "standalone.yaml")


def job(name: str) -> dict[str, Any]:
    """A job with the job that it extends. Mappings are merged, as in GitLab."""
    described: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())[name]
    if "extends" not in described:
        return described
    base = job(described["extends"])
    return base | described | {"variables": base.get("variables", {}) | described.get("variables", {})}


def play(
    name: str, folder: Path, path: str = f"{BIN}:{os.environ['PATH']}", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `before_script` and `script` in one shell, with the provisioner in `path`."""
    described = job(name)
    lines = ["set -eo pipefail", *described["before_script"], *described["script"]]
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | {"PATH": path} | described["variables"] | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_validate(tmp_path: Path) -> None:
    assert play(".provisioner-validate", tmp_path, PROVISIONER_FILES=EXAMPLE).returncode == 0
    (tmp_path / "wrong.yaml").write_text("version: 1\nname: [edge]\n")
    wrong = play(".provisioner-validate", tmp_path, PROVISIONER_FILES="wrong.yaml\n")
    assert wrong.returncode == 1
    assert "wrong.yaml:2:1: error" in wrong.stderr


def test_plan(tmp_path: Path) -> None:
    planned = play(".provisioner-plan", tmp_path, PROVISIONER_FILES=EXAMPLE)
    assert planned.returncode == 0, planned.stderr
    assert "4 outer maps to create" in planned.stdout
    assert (tmp_path / "plan.md").read_text() == planned.stdout
    assert (tmp_path / "provisioner.env").read_text() == "PROVISIONER_EXITCODE=2\n"
    reports = job(".provisioner-plan")["artifacts"]
    assert (reports["paths"], reports["reports"]["dotenv"]) == (["plan.md"], "provisioner.env")
    failed = play(".provisioner-plan", tmp_path, PROVISIONER_FILES=EXAMPLE, PROVISIONER_AGAINST="no.snapshot")
    assert failed.returncode == 1


def test_plan_for_all_hosts(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: {a: , b: }\n")
    planned = play(".provisioner-plan", tmp_path, PROVISIONER_FILES=EXAMPLE, PROVISIONER_HOSTS="hosts.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "### 2 hosts: 2 with changes" in (tmp_path / "plan.md").read_text()


def test_nothing_that_is_given_is_run(tmp_path: Path) -> None:
    evil = "$(touch ran)`touch ran`; touch ran"
    for name in ("FILES", "OVERLAYS", "OPTIONS", "AGAINST"):
        variables = {"PROVISIONER_FILES": EXAMPLE, f"PROVISIONER_{name}": evil}
        assert play(".provisioner-plan", tmp_path, **variables).returncode != 0
    assert not (tmp_path / "ran").exists()


def test_apply(project: Project) -> None:
    variables = {"PROVISIONER_FILES": project.spec.name, "PROVISIONER_OPTIONS": f"--pin-root={project.root}"}
    applied = play(".provisioner-apply", project.spec.parent, **variables)
    assert applied.returncode == 0, applied.stderr
    assert project.run("plan").status == 0


def test_lines_may_be_indented_and_end_with_crlf(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text("outer_maps: {hosts_by_site: {inner_maps: {9: {entries: {}}}}}\n")
    variables = {"PROVISIONER_FILES": f"  {EXAMPLE}\r\n\r\n", "PROVISIONER_OVERLAYS": "\thost.yaml \r\n"}
    planned = play(".provisioner-plan", tmp_path, **variables)
    assert planned.returncode == 0, planned.stderr
    assert "[9]" in planned.stdout


def test_a_file_with_the_name_of_an_option_is_a_file(project: Project) -> None:
    folder = project.spec.parent
    (folder / "--help").write_text(project.spec.read_text())
    (folder / "--force").write_text("outer_maps: {tenants: {inner_maps: {}}}\n")
    variables = {"FILES": "--help", "OVERLAYS": "--force", "OPTIONS": f"--pin-root={project.root}"}
    applied = play(".provisioner-apply", folder, **{f"PROVISIONER_{name}": value for name, value in variables.items()})
    assert applied.returncode == 0, applied.stderr
    assert project.run("plan").status == 0


@pytest.mark.parametrize("name", [".provisioner-validate", ".provisioner-plan", ".provisioner-apply"])
def test_nothing_is_installed_by_name(tmp_path: Path, name: str) -> None:
    """Anybody may register a name at an index, so the command must exist if no source is set."""
    without = play(name, tmp_path, "/usr/bin:/bin", PROVISIONER_FILES=EXAMPLE)
    assert without.returncode == 1
    assert "set PROVISIONER_SOURCE" in without.stderr
    assert not (tmp_path / ".provisioner").exists()


def test_it_is_a_sound_template() -> None:
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(TEMPLATE)]
    subprocess.run([sys.executable, *check], check=True)
