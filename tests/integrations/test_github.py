"""The GitHub action: a small runner runs its steps on the examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests import command, pages
from tests.cli.conftest import Project
from tests.cli.support import SPEC, run
from tests.integrations import runner

ROOT: Final = Path(__file__).parents[2]
ACTION: Final = ROOT / "action.yml"
BIN: Final = Path(sys.executable).parent
COMMAND: Final = str(command.CLIENT)
EXAMPLE: Final = str(ROOT / "examples" / "standalone.yaml")
ZIZMOR: Final = ("--offline", "--quiet")


@pytest.fixture(autouse=True)
def fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in command.for_shells().items():
        monkeypatch.setenv(name, value)


def act(folder: Path, **inputs: str) -> runner.Ran:
    temporary = folder / "runner"
    temporary.mkdir(exist_ok=True)
    return runner.run(ACTION, folder, temporary, **{"executable": COMMAND} | inputs)


def test_it_installs_itself_and_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its dependencies and build tools come from this environment. pip inverts this variable.
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest.__file__).parents[1]))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")
    ran = act(tmp_path, executable="", verb="validate", files=EXAMPLE)
    assert (ran.status, ran.outputs["exitcode"]) == (0, "0"), ran.log
    assert list((tmp_path / "runner").glob("provisioner.*/venv/bin/provisioner"))


def test_what_is_wrong_becomes_annotations(tmp_path: Path) -> None:
    wrong = tmp_path / "a spec, and more.yaml"
    wrong.write_text(Path(EXAMPLE).read_text().replace("vlan: 4094", "vlan: 70000"))
    ran = act(tmp_path, verb="validate", files=f"{wrong.name}\n")
    assert (ran.status, ran.outputs["exitcode"]) == (1, "1")
    (command,) = ran.commands
    assert command.startswith("::error ") and "file=a spec%2C and more.yaml,line=38," in command


def test_a_plan_is_a_summary_and_outputs(tmp_path: Path) -> None:
    overlay = tmp_path / "host.yaml"
    overlay.write_text("outer_maps: {hosts_by_site: {inner_maps: {9: {entries: {}}}}}\n")
    ran = act(tmp_path, verb="plan", files=EXAMPLE, overlays="host.yaml\n", options="--exit-zero\n--full")
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "0", "false"), "as the option says"
    ran = act(tmp_path, verb="plan", files=EXAMPLE, overlays="host.yaml")
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "2", "true")
    assert "4 outer maps to create" in ran.summary and "[9]" in ran.summary
    assert ran.outputs["plan"].strip() == ran.summary.strip() == Path(ran.outputs["file"]).read_text().strip()


def test_two_plans_of_one_job_have_files_of_their_own(tmp_path: Path) -> None:
    first, second = (act(tmp_path, verb="plan", files=EXAMPLE).outputs["file"] for _ in range(2))
    assert first != second and Path(first).read_text() == Path(second).read_text()


def test_no_plan_no_outputs(tmp_path: Path) -> None:
    ran = act(tmp_path, verb="plan", files=EXAMPLE, against="no.snapshot")
    assert (ran.status, ran.outputs) == (1, {"exitcode": "1", "changes": "", "plan": "", "file": ""})
    assert "no.snapshot" in ran.log and ran.summary == ""


def test_lines_may_be_indented_and_end_with_crlf(tmp_path: Path) -> None:
    overlay = tmp_path / "host.yaml"
    overlay.write_text("outer_maps: {hosts_by_site: {inner_maps: {9: {entries: {}}}}}\n")
    inputs = {"files": f"  {EXAMPLE}\t\r\n\r\n", "overlays": "\t host.yaml \r\n", "options": " --full\r\n"}
    ran = act(tmp_path, verb="plan", **inputs)
    assert (ran.status, ran.outputs["exitcode"]) == (0, "2"), ran.log
    assert "[9]" in ran.summary


def test_a_file_with_the_name_of_an_option_is_a_file(project: Project) -> None:
    """Also if the option of this name would change the result."""
    folder, root = project.spec.parent, f"--pin-root={project.root}"
    (folder / "--help").write_text(project.spec.read_text())
    (folder / "--force").write_text("outer_maps: {tenants: {inner_maps: {}}}\n")
    ran = act(folder, verb="apply", files="--help", overlays="--force", options=root)
    assert (ran.status, ran.outputs["exitcode"], ran.outputs["changes"]) == (0, "0", "true"), ran.log
    assert "1 outer map to create" in ran.summary


HOSTILE = "::stop-commands::x\n  ::add-path::/evil\n##[add-mask]x\n::error file=x::y"


@pytest.mark.parametrize(
    ("verb", "own"),
    [
        ("validate", "::error "),
        ("plan", "::error::plan failed with exit status 1"),
        ("apply", "::error::plan failed with exit status 1"),
    ],
)
def test_workflow_commands_in_files_are_not_executed(tmp_path: Path, verb: str, own: str) -> None:
    """In rows of a table, which messages quote, and in names of files."""
    (tmp_path / "rows.csv").write_text("\n".join(["key,value", *HOSTILE.splitlines()]) + "\n")
    table = "{from: rows.csv, key: key, value: value}"
    map_ = f"{{type: hash, key: u32, value: u32, max_entries: 9, entries: {table}}}"
    (tmp_path / "edge.yaml").write_text(f"version: 1\nname: edge\nmaps: {{hosts: {map_}}}\n")
    for files in ("edge.yaml", HOSTILE):
        ran = act(tmp_path, verb=verb, files=files)
        assert (ran.status, ran.outputs["exitcode"]) == (1, "1")
        assert ran.commands and all(command.startswith(own) for command in ran.commands), ran.log
        assert "::error file=x::y" not in ran.commands


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


@pytest.mark.parametrize("refused", [False, True])
def test_the_workflow_of_the_guide(system_bpffs: Path, tmp_path: Path, refused: bool) -> None:
    """Run it in a checkout with the files that it names. `gh` is a script that records its arguments."""
    assert system_bpffs.is_dir()
    (guide,) = pages.fences(__file__, "gitops.md")
    (tmp_path / "workflow.yml").write_text(guide.text)
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(tmp_path / "workflow.yml")]
    subprocess.run([sys.executable, *check], check=True)
    # The guide names versions, which readers know. Its users may pin commits.
    (tmp_path / "zizmor.yml").write_text("rules: {unpinned-uses: {config: {policies: {'*': ref-pin}}}}")
    config = f"--config={tmp_path / 'zizmor.yml'}"
    subprocess.run([str(BIN / "zizmor"), *ZIZMOR, config, str(tmp_path / "workflow.yml")], check=True)
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
    spec, snapshot = checkout / "specs/edge.yaml", checkout / "snapshots/edge-1.snapshot"
    if refused:
        assert run("apply", "--yes", spec).status == 0
        limited = SPEC.replace("    inner: rules", "    inner: rules\n    limits: {delete_percent: 0, at_least: 0}")
        spec.write_text(limited.replace("1: {entries: {1: 10, 2: 20}}", ""))
    assert run("export", "--snapshot", snapshot, spec).status == 0
    (tmp_path / "gh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$GH_TOKEN" "$@" > {tmp_path}/arguments\ncat "$7" > {tmp_path}/body\n'
    )
    (tmp_path / "gh").chmod(0o755)
    words = {"github.token": "a-token", "github.event.number": "12"}
    ran = runner.run_job(yaml.safe_load(guide.text)["jobs"]["plan"], act, checkout, tmp_path, words)
    assert [each.status for each in ran] == [0, 4 if refused else 0]
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:-1] == ["a-token", "pr", "comment", "12", "--edit-last", "--create-if-none", "--body-file"]
    body = (tmp_path / "body").read_text()
    assert ("--approve-deletes" if refused else "Inner maps: 3 to create. Entries: 4 to insert.") in body


def test_one_job_and_one_comment_for_all_hosts(tmp_path: Path) -> None:
    """The workflow of the guide, also if the spec of a host is invalid."""
    (guide,) = pages.fences(__file__, "fleet.md")
    (tmp_path / "workflow.yml").write_text(guide.text)
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(tmp_path / "workflow.yml")]
    subprocess.run([sys.executable, *check], check=True)
    (tmp_path / "edge.yaml").write_text(SPEC.replace("7: 70", "7: '${rate}'"))
    (tmp_path / "gh").write_text(f'#!/bin/sh\ncat "$7" > {tmp_path}/body\n')
    (tmp_path / "gh").chmod(0o755)
    words = {"github.token": "a-token", "github.event.number": "12"}
    for rate, status, title in (("9", 0, "2 hosts: 2 with changes"), ("x", 1, "2 hosts: 1 invalid, 1 with changes")):
        (tmp_path / "hosts.yaml").write_text(f"hosts: {{a: {{vars: {{rate: 1}}}}, b: {{vars: {{rate: {rate}}}}}}}\n")
        ran = runner.run_job(yaml.safe_load(guide.text)["jobs"]["plan"], act, tmp_path, tmp_path, words)
        assert [each.status for each in ran] == [status], ran[0].log
        assert title in (tmp_path / "body").read_text()


def test_it_is_a_sound_action() -> None:
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", str(ACTION)]
    subprocess.run([sys.executable, *check], check=True)
    subprocess.run([str(BIN / "zizmor"), *ZIZMOR, str(ACTION)], check=True)


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").iterdir()), ids=lambda path: path.name)
def test_the_workflows_of_the_project_are_sound(workflow: Path) -> None:
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    subprocess.run([sys.executable, *check], check=True)
    subprocess.run([str(BIN / "zizmor"), *ZIZMOR, str(workflow)], check=True)


def test_the_guide_names_its_inputs_and_outputs() -> None:
    guide, action = (ROOT / "docs" / "gitops.md").read_text(), yaml.safe_load(ACTION.read_text())
    for name in (*action["inputs"], *action["outputs"]):
        assert f"`{name}`" in guide, name
