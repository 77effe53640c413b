"""One line in the journal for each apply that changed something, and none for one that did not."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import provisioner
from provisioner.apply import audit
from provisioner.planning.counts import Counts, EntryCounts, Summary
from tests import pages
from tests.cli.conftest import Project

NOTHING = Counts()
RECORD = audit.AuditRecord(
    "apply",
    "edge",
    "/sys/fs/bpf/edge",
    "sha256:aa",
    "sha256:bb",
    "rolled_back",
    Summary(Counts(update=1), Counts(create=2), NOTHING, EntryCounts(insert=3, unchanged=9), NOTHING),
)


def listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.setblocking(False)
    return listener


def heard(listener: socket.socket) -> list[str]:
    lines = []
    try:
        while True:
            lines.append(listener.recv(1 << 16).decode())
    except BlockingIOError:
        return lines


@pytest.fixture
def journal(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A journal of the test's own at the journal's place: /run is another one in this mount namespace."""
    request.getfixturevalue("kernel")  # /run is everybody's: tests of the kernel have their turn
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    try:
        with listen(Path(audit.JOURNAL)) as listener:
            yield listener
    finally:
        subprocess.run(["umount", "/run"], check=True)


def fields(datagram: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in datagram.splitlines())


def test_an_apply_that_changes_something_leaves_one_line(
    project: Project, journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert project.run("plan").status == 2
    assert heard(journal) == [], "a plan changes nothing"
    assert project.run("apply", "--yes").status == 0
    (line,) = map(fields, heard(journal))
    assert line["PROVISIONER_SPEC"] == f"sha256:{provisioner.load(project.spec).document.digest}"
    assert line["PROVISIONER_SUDO_USER"] == "alice"
    assert line["PROVISIONER_USER"] == "root"
    assert (line["PROVISIONER_RESULT"], line["PROVISIONER_ENTRIES_INSERT"]) == ("applied", "4")
    assert (line["SYSLOG_IDENTIFIER"], line["PRIORITY"]) == ("provisioner", "5")
    (guide,) = pages.fences(__file__, "watch.md")
    assert pages.agree(guide.text.replace("/sys/fs/bpf/edge", str(project.root)), line["MESSAGE"] + "\n")
    assert project.run("apply", "--yes").status == 0
    assert heard(journal) == [], "nothing was changed"
    assert project.run("destroy", "--yes").status == 0
    (line,) = map(fields, heard(journal))
    assert line["MESSAGE"].startswith("destroy project=edge ")
    assert line["PROVISIONER_INNER_MAPS_DELETE"] == "2"


def test_what_was_refused_leaves_no_line(project: Project, journal: socket.socket) -> None:
    project.run("apply", "--yes")
    heard(journal)
    project.edit("max_entries: 64}", "max_entries: 64, flags: [no_prealloc]}")
    assert project.run("apply", "--yes").status == 4
    assert heard(journal) == []


def test_without_a_journal_syslog_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "JOURNAL", str(tmp_path / "none"))
    monkeypatch.setattr(audit, "SYSLOG", str(tmp_path / "log"))
    with listen(tmp_path / "log") as listener:
        audit.record(RECORD)
        (line,) = heard(listener)
    assert line.startswith(f"<85>provisioner[{os.getpid()}]: apply project=edge ")
    assert line.endswith(
        "spec=sha256:aa plan=sha256:bb result=rolled_back outer_maps_update=1 inner_maps_create=2 entries_insert=3"
    )


def test_without_both_nothing_is_said_and_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "JOURNAL", str(tmp_path / "none"))
    monkeypatch.setattr(audit, "SYSLOG", str(tmp_path / "none"))
    audit.record(RECORD)


def test_no_value_can_forge_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("SUDO_USER", "alice\nPROVISIONER_RESULT=applied\x1b[2J")
    with listen(tmp_path / "journal") as listener:
        audit.record(RECORD)
        (datagram,) = heard(listener)
    assert fields(datagram)["PROVISIONER_RESULT"] == "rolled_back"
    assert datagram.count("\nPROVISIONER_RESULT=") == 1
    assert "\x1b" not in datagram
