"""A watch on the real kernel: what it applies, what it leaves, how it ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import locking, maps
from tests import pages
from tests.cli.conftest import Project
from tests.cli.support import parsed, run
from tests.watch.conftest import Watching, until

Start = Callable[..., Watching]


def test_it_applies_at_the_start_and_when_files_change(project: Project, watching: Start) -> None:
    watch = watching()
    assert watch.expect("applied")["summary"]["entries"]["insert"] == 4
    assert project.run("plan").status == 0
    project.edit("7: 70", "7: 71")
    assert watch.expect("applied")["summary"]["entries"]["update"] == 1
    assert project.run("plan").status == 0
    assert watch.end() == 0
    assert project.run("plan").status == 0, "what is live stays"
    assert watch.lines[-1]["event"] == "stopped"


def test_a_folder_as_the_guide_shows_it(project: Project, watching: Start) -> None:
    (guide,) = pages.fences(__file__, "watch.md")
    assert guide.text == "provisioner watch /etc/provisioner/edge\n"
    watch = watching(files=(project.spec.parent,))
    watch.expect("applied")
    assert watch.end() == 0


def test_drift_is_put_right(project: Project, watching: Start) -> None:
    watch = watching("--interval", "1")
    watch.expect("applied")
    (project.root / "active").unlink()
    assert watch.expect("applied")["summary"]["maps"]["create"] == 1
    assert project.run("plan").status == 0


def test_report_only_changes_nothing_and_says_it_once(project: Project, watching: Start) -> None:
    watch = watching("--interval", "1", "--report-only", "--metrics-file", project.spec.with_name("m.prom"))
    assert watch.expect("drift")["summary"]["inner_maps"]["create"] == 2
    until(lambda: _metric(project, "drift_found_total") >= 3 or None, lambda: "no further pass")
    assert [line["event"] for line in watch.lines].count("drift") == 1
    assert not project.root.exists()


def _metric(project: Project, name: str) -> float:
    lines = project.spec.with_name("m.prom").read_text().splitlines()
    values = [float(line.split()[-1]) for line in lines if line.startswith(f"provisioner_{name}{{")]
    return values[0] if values else -1


def test_what_a_rule_refuses_is_reported_and_never_done(project: Project, watching: Start) -> None:
    """Half of the inner maps would go: an apply by hand, which may override it, is what a person decides."""
    many = "".join(f"      {key}: {{entries: {{1: 1}}}}\n" for key in range(10, 40))
    text = project.spec.read_text()
    project.spec.write_text(text + many)
    watch = watching("--interval", "1")
    watch.expect("applied")
    project.spec.write_text(text)
    refused = watch.expect("refused")
    assert (refused["level"], refused["rule"], refused["address"]) == ("warning", "delete_percent", "tenants")
    assert refused["override"] == "--approve-deletes"
    assert project.run("plan").status == 4, "nothing was done"
    assert project.run("apply", "--yes", "--approve-deletes").status == 0
    watch.expect("converged")
    assert "applied" not in [line["event"] for line in watch.lines[3:]]


def test_a_broken_spec_leaves_the_one_before_in_force(project: Project, watching: Start) -> None:
    watch = watching("--interval", "1")
    watch.expect("applied")
    sound = project.spec.read_text()
    project.spec.write_text(sound.replace("max_entries: 64", "max_entries: many"))
    error = watch.expect("error")
    assert (error["file"], error["line"]) == (str(project.spec), 4)
    assert "the last valid spec stays in force" in watch.expect("broken")["message"]
    (project.root / "active").unlink()
    repaired = watch.expect("applied")
    assert (repaired["cause"], repaired["changes"][0]["address"]) == ("drift", "active")
    assert [line["event"] for line in watch.lines].count("broken") == 1, "an unchanged broken spec is reported once"
    project.spec.write_text(sound.replace("7: 70", "7: 77"))
    assert watch.expect("applied")["summary"]["entries"]["update"] == 1


def test_several_projects_in_one_process(project: Project, watching: Start) -> None:
    """One of them is broken, and the others are applied."""
    names = ("edge", "other")
    specs = [project.spec.with_name(f"{name}.yaml") for name in names]
    for spec, name, text in zip(specs, names, [project.spec.read_text()] * 2, strict=True):
        spec.write_text(text.replace("name: edge", f"name: {name}\npin_root: {project.root}-{name}"))
    broken, status = project.spec.with_name("broken.yaml"), project.spec.with_name("status.json")
    broken.write_text("version: 2\n")
    watch = watching("--each", "--status-file", status, files=(*specs, broken), pin_root=False)
    expected = [("applied", True), ("applied", True), ("failed", False)]

    def complete() -> bool | None:
        results = [(each["result"], each["ready"]) for each in parsed(status.read_text())["projects"]]
        return results == expected or None

    try:
        watch.expect("applied")
        until(complete, status.read_text)
        by_event = {
            name: [line["spec"] for line in watch.lines if line["event"] == name] for name in ("applied", "broken")
        }
        assert by_event == {"applied": [str(spec) for spec in specs], "broken": [str(broken)]}
    finally:
        assert watch.end() == 0
        assert [run("destroy", "--yes", spec).status for spec in specs] == [0, 0]


def test_a_spec_that_is_not_there_yet_is_waited_for(project: Project, watching: Start) -> None:
    text = project.spec.read_text()
    project.spec.unlink()
    watch = watching()
    assert "nothing is applied" in watch.expect("broken")["message"]
    project.spec.write_text(text)
    watch.expect("applied")


def test_another_project_in_the_files_is_not_taken_for_this_one(project: Project, watching: Start) -> None:
    watch = watching()
    watch.expect("applied")
    project.edit("name: edge", "name: other")
    assert "`edge`" in watch.expect("error")["message"]


def test_another_apply_is_waited_for(project: Project, watching: Start) -> None:
    project.run("apply", "--yes")
    with locking.lock(project.root):
        project.edit("7: 70", "7: 71")
        watch = watching()
        watch.expect("locked")
    assert watch.expect("applied")["summary"]["entries"]["update"] == 1


def test_two_watches_of_one_project_do_not_harm_each_other(project: Project, watching: Start) -> None:
    first, other = watching("--interval", "1"), watching("--interval", "1")
    for watch in (first, other):
        until(lambda lines=watch: _settled(lines), lambda: f"{first.lines} {other.lines}")  # type: ignore[misc]
    project.edit("7: 70", "7: 71")
    until(lambda: project.run("plan").status == 0 or None, lambda: f"{first.lines} {other.lines}")
    assert (first.end(), other.end()) == (0, 0)
    assert not [line for line in (*first.lines, *other.lines) if line["level"] == "error"]


def _settled(watch: Watching) -> bool | None:
    return any(line["event"] in ("applied", "converged") for line in watch.lines) or None


def test_sighup_reads_the_files_again_at_once(watching: Start) -> None:
    watch = watching()
    watch.expect("applied")
    watch.signal(signal.SIGHUP)
    watch.expect("reload")
    watch.expect("loaded")
    assert watch.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_before_anything_was_read(project: Project, watching: Start, number: signal.Signals) -> None:
    watch = watching("--settle", "600")
    watch.expect("watching")
    watch.signal(number)
    assert watch.process.wait(60) == 0
    assert watch.expect("stopped")["signal"] == number.name
    assert not project.root.exists()


def test_a_service_manager_is_reported(watching: Start, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        watch = watching(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="400000")
        messages = [manager.recv(4096).decode()]
        while "READY=1\nSTATUS=applied" not in messages or "WATCHDOG=1" not in messages:
            messages.append(manager.recv(4096).decode())  # a sign of life, while nothing is to be done
        watch.signal(signal.SIGHUP)
        while not messages[-1].startswith("RELOADING=1\nMONOTONIC_USEC="):
            messages.append(manager.recv(4096).decode())
        while messages[-1] != "READY=1\nSTATUS=converged":
            messages.append(manager.recv(4096).decode())
        assert watch.end() == 0
        while messages[-1] != "STOPPING=1":
            messages.append(manager.recv(4096).decode())


def test_standard_input_cannot_be_watched() -> None:
    done = run("watch", "-")
    assert (done.status, done.err.splitlines()[0]) == (
        64,
        "error[usage]: Invalid value for FILES: standard input cannot be watched",
    )


def test_an_entry_that_another_process_wrote_is_taken_back(project: Project, watching: Start) -> None:
    watch = watching("--interval", "1")
    watch.expect("applied")
    with maps.open_pin(project.root / "active") as live:
        maps.update(live, b"\0\0\0\0", b"\7\0\0\0")
    assert watch.expect("applied")["summary"]["entries"]["update"] == 1
    assert project.run("plan").status == 0
