"""The verbs on the real kernel: what they print, and every exit status there is."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import provisioner
from provisioner.kernel import bpffs, locking, maps
from provisioner.kernel.fd import MapFd
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import Command, MapType
from tests.cli.conftest import Project
from tests.cli.support import COMMAND, environment, lasting, on_terminal, parsed, run
from tests.promises.injection import Injector


def test_from_nothing_and_back(project: Project) -> None:
    planned = project.run("plan")
    assert (planned.status, planned.err) == (2, "")
    assert not project.root.exists(), "plan writes nothing"
    applied = project.run("apply", "--yes")
    assert (applied.status, applied.err) == (0, "")
    *plan, last = applied.out.splitlines()
    assert plan == planned.out.splitlines()
    did = "Applied: 1 outer map created, 2 inner maps created, 1 map created, 4 entries inserted in "
    assert re.fullmatch(did + r"\d+\.\d\d s, \d grace periods?\.", last)
    again = project.run("apply", "--yes")
    assert (again.status, again.out) == (0, "No changes. The live state matches the spec.\n")
    assert project.run("plan").status == 0
    destroyed = project.run("destroy", "--yes")
    assert destroyed.status == 0
    assert destroyed.out.splitlines()[-1].startswith(
        "Destroyed: 1 outer map deleted, 2 inner maps deleted, 1 map deleted"
    )
    assert not project.root.exists()
    again = project.run("destroy", "--yes")
    assert (again.status, again.out) == (0, f"Nothing to destroy: {project.root} does not exist.\n")


def test_an_apply_without_changes_imports_no_step(project: Project) -> None:
    project.run("apply", "--yes")
    words = ("apply", "--yes", project.spec, "--pin-root", project.root)
    again = run(*words, python=("-X", "importtime"))
    assert again.out == "No changes. The live state matches the spec.\n"
    imported = re.findall(r"\| +([\w.]+)$", again.err, re.MULTILINE)
    assert [name for name in imported if name.startswith("provisioner.apply.")] == ["provisioner.apply.outcome"]


def test_quiet_says_only_what_goes_wrong(project: Project) -> None:
    for _ in range(2):
        applied = project.run("apply", "--yes", "--quiet")
        assert (applied.status, applied.out, applied.err) == (0, "", "")
    assert project.run("apply", "--yes", "--quiet", "--format", "json").document["result"]["status"] == "unchanged"
    project.edit("key: u32\n    max_entries: 64", "key: u64\n    max_entries: 64")
    refused = project.run("apply", "--yes", "--quiet")
    assert (refused.status, refused.out) == (4, "Refused: nothing was changed.\n")
    assert "--allow-recreate" in refused.err
    destroyed = project.run("destroy", "--yes", "--quiet")
    assert (destroyed.status, destroyed.out, destroyed.err) == (0, "", "")


def test_what_destroy_would_do_is_a_plan(project: Project) -> None:
    nothing = project.run("plan", "--destroy")
    assert (nothing.status, nothing.out) == (0, f"Nothing to destroy: {project.root} does not exist.\n")
    project.run("apply", "--yes")
    planned = project.run("plan", "--destroy")
    assert planned.status == 2
    assert project.run("plan").status == 0, "nothing was destroyed"
    assert project.run("destroy", "--yes").out.startswith(planned.out)
    for words in (("--against", "empty"), ("--out", "saved")):
        assert project.run("plan", "--destroy", *words).status == 64


def test_apply_says_how_far_apart_slots_became_visible(project: Project) -> None:
    fds, window = project.run("apply", "--yes", "-v").out.splitlines()[-2:]
    assert re.fullmatch(r"Open fds: (\d+) before, \1 after\.", fds)
    assert re.fullmatch(r"All new slots became visible within \d+ ms, including the last grace period\.", window)


def test_documents_of_apply_and_destroy(project: Project) -> None:
    applied = project.run("apply", "--yes", "--format", "json").document
    assert applied["changed"] is True
    assert applied["summary"]["entries"] == {"insert": 4, "update": 0, "delete": 0, "unchanged": 0}
    assert applied["result"]["status"] == "applied"
    assert applied["result"]["fds_before"] == applied["result"]["fds_after"]
    assert 0 < applied["result"]["window_seconds"] < applied["result"]["seconds"]
    again = project.run("apply", "--yes", "--format", "json").document
    assert again["changed"] is False
    assert (again["result"]["status"], again["result"]["window_seconds"]) == ("unchanged", 0)
    assert again["summary"]["entries"]["unchanged"] == 4
    project.edit("2: {entries: {7: 70}}", "3: {entries: {7: 71}}")
    document = project.run("plan", "--format", "json").document
    actions = {change["address"]: change["action"] for change in document["changes"]}
    assert actions == {
        "tenants": "update",
        "tenants[2]": "delete",
        "tenants[3]": "create",
        "tenants[3][7]": "insert",
    }
    destroyed = project.run("destroy", "--yes", "--format", "json").document
    assert destroyed["summary"]["outer_maps"]["delete"] == 1
    assert destroyed["result"]["status"] == "applied"


def _settled(line: str) -> str:
    return re.sub(r"id \d+", "id N", re.sub(r"[\d.]+ (bytes|[KM]iB)", "SIZE", line))


def test_what_is_live_is_shown_as_one_tree(project: Project) -> None:
    assert project.run("show").out.splitlines()[0] == f"edge  pin root {project.root} (does not exist)"
    project.run("apply", "--yes")
    shown = project.run("show")
    assert shown.status == 0
    lines = [_settled(line) for line in shown.out.splitlines()]
    assert lines == [
        f"edge  pin root {project.root}",
        "",
        "  tenants                 hash_of_maps u32 -> hash rules, 2 of 64 slots, id N, SIZE",
        "    [1]                   2 entries, id N, SIZE",
        "        1                 10",
        "        2                 20",
        "    [2]                   1 entry, id N, SIZE",
        "        7                 70",
        "  active                  array u32 -> u32, 1 entry, id N, SIZE",
        "    0                     1",
        "",
        "1 outer map, 2 inner maps, 1 map, 4 entries, SIZE.",
        f"Revision {provisioner.load(project.spec).desired.revision[:19]}: this is live.",
    ]
    document = project.run("show", "--format", "json").document
    by_address = {one["address"]: one for one in document["maps"]}
    assert [slot["entries"] for slot in by_address["tenants"]["inner_maps"]] == [
        [{"key": 1, "value": 10}, {"key": 2, "value": 20}],
        [{"key": 7, "value": 70}],
    ]
    assert by_address["active"]["entries"] == [{"key": 0, "value": 1}]


def test_a_terminal_is_asked(project: Project) -> None:
    words = ("apply", project.spec, "--pin-root", project.root)
    refused = on_terminal(*words, answer="y", started=COMMAND)
    assert refused.status == 4
    assert f"Apply at {project.root}? Type 'yes' to continue:" in refused.out
    assert not project.root.exists()
    done = on_terminal(*words, answer="yes", NO_COLOR="1")
    assert done.status == 0
    assert "Applied: " in done.out
    assert "\x1b" not in lasting(done.out)


@pytest.mark.parametrize("answer", ["no", "\x04"], ids=["no", "Ctrl-D"])
def test_a_refusal_at_the_question_is_one_line(project: Project, answer: str) -> None:
    done = on_terminal("apply", project.spec, "--pin-root", project.root, answer=answer, NO_COLOR="1")
    assert done.status == 4
    _, question, end = lasting(done.out).partition(f"Apply at {project.root}? ")
    assert question
    assert end.count("nothing was changed") == 1
    if answer == "\x04":  # the terminal shows nothing for it
        assert end.splitlines()[1].startswith("error[not-confirmed]: ")
    assert not project.root.exists()


def test_a_terminal_sees_the_plan_that_a_document_is_made_of(project: Project) -> None:
    words = ("apply", project.spec, "--pin-root", project.root, "--format", "json")
    done = on_terminal(*words, answer="yes", NO_COLOR="1")
    assert done.status == 0
    out = lasting(done.out)
    question = out.index("Type 'yes' to continue:")
    assert "+ tenants" in out[:question]
    assert json.loads(out[question:].partition(": ")[2].lstrip())["result"]["status"] == "applied"


def test_a_saved_plan_is_applied_once(project: Project, tmp_path: Path) -> None:
    saved = tmp_path / "edge.plan"
    assert project.run("plan", "--out", saved).status == 2
    assert json.loads(saved.read_text()).keys() == {
        "format",
        "project",
        "pin_root",
        "digest",
        "created",
        "overrides",
        "parts",
        "recreate",
        "release",
        "used",
    }
    assert project.run("apply", "--plan", saved).status == 0
    again = project.run("apply", "--plan", saved)
    assert (again.status, again.out) == (4, "")
    assert "error[plan-used]" in again.err


def test_a_saved_plan_is_stale_once_anything_changed(project: Project, tmp_path: Path) -> None:
    saved = tmp_path / "edge.plan"
    project.run("plan", "--out", saved)
    project.edit("7: 70", "7: 71")
    done = project.run("apply", "--plan", saved, "--format", "json")
    assert done.status == 4
    assert [(error["address"], error["id"]) for error in done.errors] == [("tenants", "stale-plan")]
    assert done.document["result"]["status"] == "refused"
    assert not project.root.exists()


def test_a_stale_plan_tells_what_differs(project: Project, tmp_path: Path) -> None:
    """Of a table, of what is live, of what the spec names: each where it is, and all at once."""
    saved, table = tmp_path / "edge.plan", tmp_path / "two.csv"
    table.write_text("key,value\n7,70\n")
    project.edit("entries: {7: 70}", "entries: {from: two.csv, key: key, value: value}")
    assert project.run("apply", "--yes").status == 0
    project.edit("{0: 1}", "{0: 2}")
    assert project.run("plan", "--out", saved).status == 2
    table.write_text("key,value\n7,71\n")
    with bpffs.open_pin(project.root / "active", MapFd) as fd:
        maps.update(fd, bytes(4), (9).to_bytes(4, "little"))
    project.edit("maps:\n  active", "maps:\n  more: {type: hash, key: u32, value: u32, max_entries: 1}\n  active")
    done = project.run("apply", "--plan", saved, "--format", "json")
    assert done.status == 4
    messages = {error["address"]: error["message"] for error in done.errors}
    assert messages == {
        "active": "the live state changed after the plan was made",
        "more": "added to the spec after the plan was made",
        "tenants": "the spec, or a table or object that it reads, changed after the plan was made",
    }
    assert not json.loads(saved.read_text())["used"]


def test_a_plan_of_another_project_is_refused(project: Project, tmp_path: Path) -> None:
    saved = tmp_path / "edge.plan"
    project.run("plan", "--out", saved)
    project.edit("name: edge", "name: other")
    assert project.run("apply", "--plan", saved).status == 4


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"format": "provisioner-plan-1"}'])
def test_what_is_no_saved_plan_is_bad_input(project: Project, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "edge.plan"
    if content is not None:
        path.write_text(content)
    assert project.run("apply", "--plan", path).status == 1


def test_plan_ends_with_4_where_apply_would_refuse(project: Project) -> None:
    project.edit("{1: 10, 2: 20}", "{" + ", ".join(f"{key}: 1" for key in range(40)) + "}")
    project.run("apply", "--yes")
    project.edit(", ".join(f"{key}: 1" for key in range(40)), "0: 1")
    planned = project.run("plan", "--format", "json")
    assert planned.status == 4
    assert planned.document["blocked"][0]["override"] == "--approve-deletes"
    assert len(planned.document["changes"]) > 1
    assert project.run("plan", "--approve-deletes").status == 2
    refused = project.run("apply", "--yes")
    assert refused.status == 4
    assert refused.out.splitlines()[-1] == "Refused: nothing was changed."
    assert "hint: --approve-deletes allows it" in refused.err
    assert project.run("apply", "--yes", "--force").status == 0


def test_a_failure_in_the_middle_ends_with_3(project: Project, tmp_path: Path) -> None:
    """The last batch of writes fails, that of a map which is published after the others."""
    injector, before = Injector(tmp_path), project.spec.read_text()
    words = ("apply", project.spec, "--pin-root", project.root, "--yes")
    project.run("apply", "--yes")
    project.edit("{0: 1}", "{0: 2}")
    project.edit("2: {entries: {7: 70}}", "2: {entries: {7: 70, 8: 80}}")
    after = project.spec.read_text()
    unhurt = injector.run(*words, under=project.root)
    update = f"bpf {Command.MAP_UPDATE_BATCH:d}"
    last = max(number for number, call in enumerate(unhurt.calls, 1) if call == update)
    project.spec.write_text(before)
    project.run("apply", "--yes")
    project.spec.write_text(after)
    failed = injector.run(*words, "--format", "json", under=project.root, at=last, what=errno.EPERM)
    assert failed.status == 3
    assert parsed(failed.out)["result"]["status"] == "rolled_back"
    assert parsed(failed.out)["result"]["live"] == []
    assert [error["id"] for error in parsed(failed.err)["errors"]] == ["map-frozen"]
    left = injector.run(*words, "--no-rollback", under=project.root, at=last, what=errno.EPERM)
    assert left.status == 3
    assert "Changes that are live:" in left.out
    assert "hint:" in left.err


def test_a_path_that_is_no_bpffs_ends_with_5(project: Project, tmp_path: Path) -> None:
    for verb in ("plan", "show"):
        assert project.run(verb, "--pin-root", tmp_path / "pins").status == 5
    done = project.run("apply", "--yes", "--pin-root", tmp_path / "pins", "--format", "json")
    assert (done.status, done.out) == (5, "")
    assert done.errors[0]["hint"].startswith("mount one")


def test_the_kernel_refusing_ends_with_5(project: Project) -> None:
    project.edit("max_entries: 64\n    inner", "max_entries: 4294967295\n    inner")
    done = project.run("apply", "--yes")
    assert done.status == 5
    assert "of kernel memory, and this machine has" in done.err
    done = project.run("apply", "--yes", "--allow-overcommit")
    assert done.status == 5
    assert "BPF_MAP_CREATE" in done.err
    assert done.out.splitlines()[-1] == "Refused: nothing was changed."
    assert not project.root.exists()


def test_a_held_lock_ends_with_75(project: Project) -> None:
    project.run("apply", "--yes")
    with locking.lock(project.root):
        for verb in ("apply", "destroy"):
            done = project.run(verb, "--yes")
            assert done.status == 75
            assert "locked by process" in done.err


def test_a_signal_before_anything_is_done_ends_with_130(project: Project) -> None:
    project.run("apply", "--yes")
    with locking.lock(project.root), apply_process(project, "--lock-timeout", "60") as process:
        # It sleeps between two looks at the lock.
        wait_for(lambda: "nanosleep" in Path(f"/proc/{process.pid}/stack").read_text())
        process.send_signal(signal.SIGTERM)  # a shell that runs the tests in the background has them ignore SIGINT
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == "error[interrupted]: interrupted\n"


def test_a_signal_in_the_middle_is_taken_back(project: Project) -> None:
    """The signal comes once the pin root is claimed; many maps are still to be made by then, each a safe point."""
    template = (
        "  m{0}: {{type: hash_of_maps, key: u32, max_entries: 512, inner: rules, inner_maps: {{0..499: {{}}}}}}\n"
    )
    project.spec.write_text(project.spec.read_text() + "".join(template.format(number) for number in range(40)))
    with apply_process(project, "--format", "json") as process:
        wait_for(lambda: (project.root / "_meta").exists())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 130
    assert json.loads(err)["errors"][0]["message"] == "interrupted by SIGTERM"
    assert json.loads(out)["result"]["status"] == "interrupted"
    assert not project.root.exists()


def test_pins_of_nobody_are_left_alone_unless_pruned(project: Project) -> None:
    project.run("apply", "--yes")
    with maps.create(MapShape(MapType.HASH, 4, 4, 1), "stranger") as fd:
        bpffs.pin(fd, project.root / "stranger")
    assert "Note: 1 pin not named by the spec (stranger)" in project.run("plan").out
    planned = project.run("plan", "--prune")
    assert planned.status == 2
    assert "  - stranger              unpin" in planned.out.splitlines()
    assert project.run("apply", "--yes", "--prune").status == 0
    assert not (project.root / "stranger").exists()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds; far longer than it can take, so that a fault ends the test."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def apply_process(project: Project, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "apply", str(project.spec), "--pin-root", str(project.root), "--yes", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_show_says_where_entries_cannot_be_listed(project: Project) -> None:
    project.spec.write_text(
        "version: 1\nname: edge\n"
        "inner_templates: {waiting: {type: queue, value: u32, max_entries: 4, contents: ignore}}\n"
        "outer_maps: {queues: {type: array_of_maps, key: u32, max_entries: 2, inner: waiting, inner_maps: {0: {}}}}\n"
    )
    assert project.run("apply", "--yes", "--quiet").status == 0
    assert "entries can't be listed, id " in project.run("show").out
