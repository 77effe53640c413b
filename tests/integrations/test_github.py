"""The GitHub Action: its steps run as a runner runs them, on the examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests import pages
from tests.cli.conftest import Project
from tests.cli.support import SPEC, run
from tests.integrations import runner

ROOT: Final = Path(__file__).parents[2]
ACTION: Final = ROOT / "action.yml"
BIN: Final = Path(sys.executable).parent
COMMAND: Final = str(BIN / "provisioner")
EXAMPLE: Final = str(ROOT / "examples" / "standalone.yaml")


def act(folder: Path, **inputs: str) -> runner.Ran:
    temporary = folder / "runner"
    temporary.mkdir(exist_ok=True)
    return runner.run(ACTION, folder, temporary, **{"executable": COMMAND} | inputs)


def test_it_installs_itself_and_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What it depends on, and what builds it, are lent from here; pip reads this variable upside down.
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest.__file__).parents[1]))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")
    ran = act(tmp_path, executable="", verb="validate", files=EXAMPLE)
    assert (ran.status, ran.outputs["exitcode"]) == (0, "0"), ran.log
    assert (tmp_path / "runner" / "provisioner" / "bin" / "provisioner").exists()


def test_what_is_wrong_becomes_annotations(tmp_path: Path) -> None:
    wrong = tmp_path / "a spec, and more.yaml"
    wrong.write_text(Path(EXAMPLE).read_text().replace("vlan: 4094", "vlan: 70000"))
    ran = act(tmp_path, verb="validate", files=f"{wrong.name}\n")
    assert (ran.status, ran.outputs["exitcode"]) == (1, "1")
    assert "::error file=a spec%2C and more.yaml,line=38" in ran.log


def test_a_plan_is_a_summary_and_outputs(tmp_path: Path) -> None:
    overlay = tmp_path / "host.yaml"
    overlay.write_text("outer_maps: {hosts_by_site: {inner_maps: {9: {entries: {}}}}}\n")
    ran = act(tmp_path, verb="plan", files=EXAMPLE, overlays="host.yaml\n", options="--exit-zero\n--full")
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "0", "false"), "as the option says"
    ran = act(tmp_path, verb="plan", files=EXAMPLE, overlays="host.yaml")
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "2", "true")
    assert "4 outer maps to create" in ran.summary and "[9]" in ran.summary
    assert ran.outputs["plan"].strip() == ran.summary.strip()


def test_no_plan_no_outputs(tmp_path: Path) -> None:
    ran = act(tmp_path, verb="plan", files=EXAMPLE, against="no.snapshot")
    assert (ran.status, ran.outputs) == (1, {"exitcode": "1", "changes": "", "plan": ""})
    assert "can't read the snapshot" in ran.log and ran.summary == ""


def test_nothing_that_is_given_is_run(tmp_path: Path) -> None:
    evil = "$(touch ran)`touch ran`; touch ran; \"'${{ inputs.files }}"
    for name in ("verb", "files", "overlays", "options", "against"):
        inputs = {"verb": "plan", "files": EXAMPLE} | {name: evil}
        assert act(tmp_path, **inputs).status != 0
    assert not (tmp_path / "ran").exists()


def test_apply_does_the_plan_that_it_shows(project: Project) -> None:
    folder, root = project.spec.parent, f"--pin-root={project.root}"
    ran = act(folder, verb="apply", files=project.spec.name, options=root)
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "0", "true"), ran.log
    assert "1 outer map to create" in ran.summary and "Applied:" in ran.log
    ran = act(folder, verb="apply", files=project.spec.name, options=root)
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "0", "false")

    snapshot = folder / "host.snapshot"
    assert project.run("plan").status == 0
    project.edit("7: 70", "7: 71")
    exported = [COMMAND, "export", "--snapshot", str(snapshot), str(project.spec), root]
    subprocess.run(exported, check=True)
    ran = act(folder, verb="plan", files=project.spec.name, options=root, against=snapshot.name)
    assert (ran.outputs["exitcode"], ran.outputs["changes"]) == ("2", "true")
    assert "Entries: 1 to update" in ran.summary

    project.edit("    inner: rules", "    inner: rules\n    limits: {delete_percent: 0, at_least: 0}")
    project.edit("2: {entries: {7: 71}}", "")
    ran = act(folder, verb="apply", files=project.spec.name, options=root)
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (4, "4", "true")
    assert "--approve-deletes" in ran.summary
    ran = act(folder, verb="apply", files=project.spec.name, options=f"{root}\n--approve-deletes")
    assert (ran.status, ran.outputs["exitcode"]) == (0, "0"), ran.log


def test_the_workflow_of_the_guide(system_bpffs: Path, tmp_path: Path) -> None:
    """Its steps in a checkout that holds what it names; `gh` is one that writes down what it is told."""
    assert system_bpffs.is_dir()
    (guide,) = pages.fences(__file__, "gitops.md")
    (tmp_path / "workflow.yml").write_text(guide.text)
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(tmp_path / "workflow.yml")]
    subprocess.run([sys.executable, *check], check=True)
    checkout = tmp_path / "checkout"
    files = {
        "specs/edge.yaml": SPEC,
        "specs/sites/ams.yaml": "outer_maps: {tenants: {inner_maps: {2: {entries: {7: 71}}}}}\n",
        "specs/hosts/edge-1.yaml": "outer_maps: {tenants: {inner_maps: {3: {entries: {}}}}}\n",
    }
    for name, text in files.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    (checkout / "snapshots").mkdir()
    assert run("export", "--snapshot", checkout / "snapshots/edge-1.snapshot", checkout / "specs/edge.yaml").status == 0
    (tmp_path / "gh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$GH_TOKEN" "$@" > {tmp_path}/said\n')
    (tmp_path / "gh").chmod(0o755)
    words = {"github.token": "a-token", "github.event.number": "12"}
    ran = runner.run_job(yaml.safe_load(guide.text)["jobs"]["plan"], act, checkout, tmp_path, words)
    assert [one.status for one in ran] == [0, 0]
    said = (tmp_path / "said").read_text()
    assert said.startswith("a-token\npr\ncomment\n12\n--body\n")
    assert "Inner maps: 3 to create. Entries: 4 to insert." in said


def test_it_is_a_sound_action() -> None:
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", str(ACTION)]
    subprocess.run([sys.executable, *check], check=True)
    subprocess.run([str(BIN / "zizmor"), "--offline", "--quiet", str(ACTION)], check=True)


def test_the_guide_names_its_inputs_and_outputs() -> None:
    guide, action = (ROOT / "docs" / "gitops.md").read_text(), yaml.safe_load(ACTION.read_text())
    for name in (*action["inputs"], *action["outputs"]):
        assert f"`{name}`" in guide, name
