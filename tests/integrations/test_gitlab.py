"""The GitLab CI template: bash runs the scripts of its jobs on the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests import command
from tests.cli.conftest import Project

ROOT: Final = Path(__file__).parents[2]
TEMPLATE: Final = ROOT / "integrations" / "gitlab" / "provisioner.gitlab-ci.yml"
EXAMPLE: Final = str(ROOT / "examples" / "standalone.yaml")


def job(name: str) -> dict[str, Any]:
    """A job with the job that it extends. Mappings are merged, as in GitLab."""
    described: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())[name]
    if "extends" not in described:
        return described
    base = job(described["extends"])
    return base | described | {"variables": base.get("variables", {}) | described.get("variables", {})}


def play(name: str, folder: Path, path: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `before_script` and `script` in one shell; with `path`, with the provisioner that is there."""
    shell = command.for_shells() if path is None else {"PATH": path}
    described = job(name)
    lines = ["set -eo pipefail", *described["before_script"], *described["script"]]
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | shell | described["variables"] | variables,
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


TOKEN: Final = "glpat-secret"
OWN: Final = 7
"""The user of the token."""


@dataclass
class Server:
    """The part of GitLab that has the comments of merge request 3 of project 12, in pages of two."""

    notes: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """The requests that changed something."""
    broken: bool = False

    def add(self, author: int, body: str) -> None:
        self.notes.append({"id": 100 + len(self.notes), "author": {"id": author}, "body": body})

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: str) -> tuple[int, Any, str]:
        """Status, document, number of the next page."""
        notes = "/api/v4/projects/12/merge_requests/3/notes"
        if method != "GET":
            self.calls.append(f"{method} {path.removeprefix(notes)}")
        if self.broken:
            return 403, {"message": "403 Forbidden"}, ""
        match method, path:
            case "GET", "/api/v4/user":
                return 200, {"id": OWN}, ""
            case "GET", _ if path == notes:
                page = int(query["page"][0])
                return 200, self.notes[2 * page - 2 : 2 * page], str(page + 1) if len(self.notes) > 2 * page else ""
            case "POST", _ if path == notes:
                self.add(OWN, body)
                return 201, self.notes[-1], ""
            case "PUT", _:
                (note,) = (each for each in self.notes if path == f"{notes}/{each['id']}")
                assert note["author"]["id"] == OWN, "GitLab forbids it"
                note["body"] = body
                return 200, note, ""
            case _:
                return 404, {"message": "404 Not Found"}, ""


@dataclass
class Review:
    """Pipelines of one merge request."""

    server: Server
    variables: dict[str, str]

    def plan(self, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return play(".provisioner-plan", folder, **self.variables | variables)


@pytest.fixture
def review() -> Iterator[Review]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def _serve(self) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = json.loads(sent)["body"] if sent else ""
            status, document, following = server.answer(self.command, url.path, parse_qs(url.query), body)
            if self.headers["PRIVATE-TOKEN"] != TOKEN:
                status, document = 401, {"message": "401 Unauthorized"}
            self.send_response(status)
            self.send_header("X-Next-Page", following)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        do_GET = do_POST = do_PUT = _serve

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Review(
            server,
            {
                "CI_API_V4_URL": f"http://127.0.0.1:{http.server_address[1]}/api/v4",
                "CI_MERGE_REQUEST_PROJECT_ID": "12",
                "CI_MERGE_REQUEST_IID": "3",
                "CI_JOB_NAME": "plan",
                "CI_JOB_URL": "https://gitlab.example.org/jobs/1",
                "PROVISIONER_TOKEN": TOKEN,
            },
        )
        http.shutdown()
        thread.join()


def test_one_comment_that_is_edited(project: Project, review: Review) -> None:
    """Also if a rule refuses the plan, and if there is none."""
    folder, spec, server = project.spec.parent, project.spec.read_text(), review.server
    for author in (1, 2, OWN):  # the comment is not on the first page
        server.add(
            author, "<!-- provisioner plan -->\nof another" if author != OWN else "by this token, of another tool"
        )
    given = {
        "PROVISIONER_FILES": project.spec.name,
        "PROVISIONER_OPTIONS": f"--pin-root={project.root}",
        "PROVISIONER_AGAINST": "live",
    }
    assert project.run("apply", "--yes").status == 0
    limited = spec.replace("    inner: rules", "    inner: rules\n    limits: {delete_percent: 0, at_least: 0}")
    for text, status, said, call in (
        (spec, 0, "no changes", "POST "),
        (limited.replace("1: {entries: {1: 10, 2: 20}}", ""), 4, "--approve-deletes", "PUT /103"),
        ("version: 1\n", 1, "exit status 1. The [log of the job](https://gitlab.example.org/jobs/1)", "PUT /103"),
        (spec.replace("2: 20", "2: 21"), 0, "1 to update", "PUT /103"),
    ):
        project.spec.write_text(text)
        planned = review.plan(folder, **given)
        assert planned.returncode == status, planned.stderr
        assert server.calls.pop() == call
        assert not server.calls
        body = server.notes[3]["body"]
        assert body.startswith("<!-- provisioner plan -->\n") and said in body
    assert len(server.notes) == 4
    review.plan(folder, **given, CI_JOB_NAME="plan: [edge-2]")
    assert server.calls == ["POST "], "another job has its own comment"


def test_no_comment(review: Review, tmp_path: Path) -> None:
    """Outside of merge requests, without a token, and with one that GitLab refuses: only the last fails."""
    for variables in ({"CI_MERGE_REQUEST_IID": ""}, {"PROVISIONER_TOKEN": ""}):
        planned = review.plan(tmp_path, PROVISIONER_FILES=EXAMPLE, **variables)
        assert planned.returncode == 0, planned.stderr
        assert ("PROVISIONER_TOKEN is not set" in planned.stderr) == ("PROVISIONER_TOKEN" in variables)
    assert not review.server.notes
    review.server.broken = True
    refused = review.plan(tmp_path, PROVISIONER_FILES=EXAMPLE)
    assert refused.returncode == 1
    assert "cannot be written: 403 Forbidden, http://127.0.0.1:" in refused.stderr
    nobody = review.plan(tmp_path, PROVISIONER_FILES=EXAMPLE, CI_API_V4_URL="http://127.0.0.1:1/api/v4")
    assert nobody.returncode == 1
    assert "cannot be written:" in nobody.stderr and "Connection refused" in nobody.stderr
    assert (tmp_path / "plan.md").read_text() and TOKEN not in refused.stderr + nobody.stderr


def test_a_spec_cannot_read_the_token(review: Review, tmp_path: Path) -> None:
    text = Path(EXAMPLE).read_text() + "\nvars: {stolen: {env: PROVISIONER_TOKEN, default: nothing}}\n"
    (tmp_path / "edge.yaml").write_text(text.replace("name: ", "name: ${stolen} # ", 1))
    planned = review.plan(tmp_path, PROVISIONER_FILES="edge.yaml")
    (note,) = review.server.notes
    assert "nothing" in note["body"] and TOKEN not in note["body"] + planned.stdout + planned.stderr


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
