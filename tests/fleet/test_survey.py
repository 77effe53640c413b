"""Plans for all hosts of an inventory: groups of equal differences, the worst status, and every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provisioner.fleet.documents import WRITERS
from provisioner.fleet.examine import Job
from provisioner.fleet.inventory import FleetHost, Layer
from provisioner.fleet.survey import Survey, survey
from provisioner.report import markdown
from tests.cli.conftest import Project, project, spec
from tests.cli.support import parsed, run

__all__ = ["project", "spec"]

SPEC = """\
version: 1
name: edge
vars: {rate: 1}
maps:
  active: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: "${rate}"}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edge.yaml").write_text(SPEC)
    for site, rate in (("ams", "1"), ("fra", "2"), ("bad", "x")):
        Path(f"{site}.yaml").write_text(f"vars: {{rate: {rate}}}\n")


def hosts(*sites: str) -> list[FleetHost]:
    return [FleetHost(f"h{at}", {"host": f"h{at}", "site": site}, {}) for at, site in enumerate(sites)]


def surveyed(*sites: str, form: str = "json", cores: int = 1, plans: bool = True) -> Survey:
    aim = Job(("edge.yaml",), (Layer.of("{site}.yaml"), Layer.of("own/{host}.yaml?")), plans, "empty")
    return survey(hosts(*sites), aim, WRITERS[form].part, cores)


def written(*sites: str, form: str = "json", **more: Any) -> str:
    result = surveyed(*sites, form=form, **more)
    try:
        return "".join(f"{line}\n" if form == "text" else line for line in WRITERS[form].whole(result))
    finally:
        result.close()


def members(document: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(group["state"], [member["host"] for member in group["hosts"]]) for group in document["groups"]]


def test_equal_differences_are_one_group_and_the_worst_comes_first() -> None:
    document = parsed(written("ams", "fra", "bad", "ams", "ams"))
    assert members(document) == [("invalid", ["h2"]), ("changes", ["h0", "h3", "h4"]), ("changes", ["h1"])]
    assert document["by_state"] == {"valid": 0, "unchanged": 0, "changes": 4, "refused": 0, "invalid": 1}
    invalid, ams, _ = document["groups"]
    assert [error["id"] for error in invalid["errors"]] == ["invalid-number"]
    assert ams["changes"][-1]["after"] == 1
    assert ams["changes"][-1]["source"] == "${rate}: {site}.yaml:1", "the pattern, which is the same for all hosts"
    revisions = {member["revision"] for member in ams["hosts"]}
    assert len(revisions) == 1 and revisions != {invalid["hosts"][0]["revision"]}


def test_the_status_is_that_of_the_worst_host() -> None:
    for sites, plans, status in ((["ams"], True, 2), (["ams", "bad"], True, 1), (["ams", "fra"], False, 0)):
        result = surveyed(*sites, plans=plans)
        assert result.status == status
        result.close()


def test_several_processes_give_the_same() -> None:
    Path("own").mkdir()
    Path("own/h11.yaml").write_text("vars: {rate: 11}\n")
    sites = ("ams", "fra", "bad") * 7
    assert parsed(written(*sites, cores=2)) == parsed(written(*sites, cores=1))


def test_each_format_names_the_hosts_and_the_differences() -> None:
    sites = ("ams",) * 10 + ("bad",)
    text = written(*sites, form="text")
    assert text.startswith("11 hosts: 1 invalid, 10 with changes.\n\nInvalid on 1 host: h10\n")
    assert "Changes on 10 hosts: h0, h1, h2, h3, h4, h5, h6, h7 and 2 more\n" in text
    assert "    + 0                   1  (${rate}: {site}.yaml:1)\n" in text
    comment = written(*sites, form="markdown")
    assert comment.startswith("<!-- provisioner hosts -->\n### 11 hosts: 1 invalid, 10 with changes\n")
    assert "**Changes on 10 hosts**: `h0`, " in comment and "error[invalid-number]" in comment
    page = written(*sites, form="html")
    assert "<h2>Changes on 10 hosts</h2>" in page and "h9" in page and page.endswith("</html>\n")
    assert written(*sites, form="github", plans=False).count("::error ") == 1


def test_a_comment_has_a_limited_length() -> None:
    for at in range(40):
        entries = ", ".join(f"{key}: {at}" for key in range(400))
        Path(f"s{at}.yaml").write_text(
            f"maps: {{m{at}: {{type: hash, key: u32, value: u32, max_entries: 512, entries: {{{entries}}}}}}}\n"
        )
    comment = written(*(f"s{at}" for at in range(40)), form="markdown")
    assert markdown.length(comment) <= markdown.LIMIT


def test_a_name_of_a_host_is_text() -> None:
    evil = FleetHost("<script>`x", {"host": "x", "site": "ams"}, {})
    aim = Job(("edge.yaml",), (), True, "empty")
    for form in ("html", "markdown"):
        result = survey([evil], aim, WRITERS[form].part)
        shown = "".join(WRITERS[form].whole(result))
        assert ("<script>" in shown) == (form == "markdown"), "inside a code span of Markdown"
        result.close()


def test_snapshots_of_hosts_and_a_rule_that_refuses(project: Project) -> None:
    many = "".join(f"      {key}: {{entries: {{1: 1}}}}\n" for key in range(10, 40))
    full = project.spec.read_text()
    project.spec.write_text(full + many)
    assert project.run("apply", "--yes").status == 0
    for name in ("a", "b"):
        assert run("export", "--snapshot", f"{name}.snapshot", project.spec, "--pin-root", project.root).status == 0
    Path("hosts.yaml").write_text("hosts: {a: , b: , c: {snapshot: none}}\nsnapshot: '{host}.snapshot'\n")
    words = (project.spec, "--pin-root", project.root, "--hosts", "hosts.yaml", "--format", "json")
    same = run("plan", *words)
    assert (same.status, members(same.document)) == (1, [("invalid", ["c"]), ("unchanged", ["a", "b"])])
    project.spec.write_text(full)
    refused = run("plan", *words, "--against", "{host}.snapshot")
    assert (refused.status, members(refused.document)) == (1, [("invalid", ["c"]), ("refused", ["a", "b"])])
    assert refused.document["groups"][1]["blocked"][0]["rule"] == "delete_percent"


def test_options_for_one_host_are_refused() -> None:
    Path("hosts.yaml").write_text("hosts: {a: }\n")
    for option in ("--out=x", "--probe", "--destroy", "--against=live", "--target=active"):
        assert run("plan", "edge.yaml", "--hosts", "hosts.yaml", option).status == 64, option
    inventory = json.dumps({"_meta": {"hostvars": {"a": {"rate": 7}}}, "all": {"hosts": ["a"]}})
    done = run("plan", "edge.yaml", "--hosts", "-", "--exit-zero", text=inventory)
    assert done.status == 0
    assert "    + 0                   7  (${rate}: Ansible variable in <stdin>)\n" in done.out
    assert run("validate", "edge.yaml", "--hosts", "hosts.yaml").out == "1 host: 1 valid.\n\nValid on 1 host: a\n"
    assert run("validate", "edge.yaml", "--hosts", "hosts.yaml", "--kernel", "5.10").status == 64
