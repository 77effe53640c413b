"""What must not end a watch: clients of its metrics, a host without fds, early signals, odd files, an upgrade."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import provisioner
from provisioner.watch.metrics_server import MOST
from tests.cli.conftest import Project
from tests.cli.support import environment, run
from tests.watch.conftest import QUICK, Watching, until
from tests.watch.test_metrics import free_port

Start = Callable[..., Watching]


@pytest.fixture
def port() -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return free_port()


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_idle_connections_use_up_neither_fds_nor_threads(project: Project, watching: Start, port: int) -> None:
    watch = watching("--metrics", str(port))
    watch.expect("applied")
    before = fds(watch.process.pid)
    with ExitStack() as held:
        for number in range(10 * MOST):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-" if number % 2 else b"")
        until(lambda: fds(watch.process.pid) <= before + MOST + 1 or None, lambda: "connections stay open")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"provisioner_applies_total" in answer.read(), "a scrape is answered meanwhile"
        project.edit("7: 70", "7: 71")
        assert watch.expect("applied")["summary"]["entries"]["update"] == 1
    assert watch.end() == 0


def test_a_pass_without_fds_fails_and_the_next_one_applies(project: Project, watching: Start) -> None:
    watch = watching("--interval", "1")
    watch.expect("applied")
    soft, hard = resource.prlimit(watch.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(watch.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    assert watch.expect("failed")["status"] == ""
    resource.prlimit(watch.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    project.edit("7: 70", "7: 71")
    assert watch.expect("applied")["summary"]["entries"]["update"] == 1
    assert watch.end() == 0


def test_a_port_in_use_ends_the_start(project: Project, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = run("watch", project.spec, "--pin-root", project.root, "--metrics", str(port))
    assert (done.status, done.out) == (5, "")
    assert done.err.startswith("error[metrics-address]: ")
    assert not project.root.exists(), "nothing was applied"


def test_a_fifo_in_place_of_a_file_is_an_error(project: Project, watching: Start) -> None:
    text = project.spec.read_text()
    os.mkfifo(project.spec.parent / "part.yaml")
    watch = watching()
    watch.expect("applied")
    project.spec.write_text(text + "include: [part.yaml]\n")
    watch.expect("broken")
    project.spec.write_text(text.replace("7: 70", "7: 71"))
    assert watch.expect("applied")["summary"]["entries"]["update"] == 1


class Process:
    """A watch as a process of its own, which imports the package from `path`."""

    def __init__(self, project: Project, log: Path, path: Path) -> None:
        self._log = log
        words = ["watch", str(project.spec), "--pin-root", str(project.root), *QUICK, "--interval", "1"]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "provisioner", *words, "--log-format", "json"],
                stdin=subprocess.DEVNULL,
                stderr=stream,
                env=environment(PYTHONPATH=str(path)),
                cwd=path,
            )

    def expect(self, event: str, times: int = 1) -> None:
        """Wait until an event happened so many times in all."""

        def happened() -> bool | None:
            assert self.process.poll() is None, self._log.read_text()
            lines = [json.loads(line) for line in self._log.read_text().splitlines(True) if line.endswith("\n")]
            return sum(line["event"] == event for line in lines) >= times or None

        until(happened, lambda: self._log.read_text())


@pytest.fixture
def process(project: Project, tmp_path: Path) -> Iterator[Callable[[Path], Process]]:
    started: list[Process] = []

    def start(path: Path) -> Process:
        started.append(Process(project, tmp_path / "log", path))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def mask(pid: int, name: str) -> int:
    """A set of signals of a process, from /proc."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(f"{name}:"))


def test_sighup_before_the_watch_is_ready_is_ignored(process: Callable[[Path], Process]) -> None:
    watch = process(Path(provisioner.__file__).parent.parent)
    bit = 1 << (signal.SIGHUP - 1)
    until(lambda: mask(watch.process.pid, "SigIgn") & bit or None, lambda: "SIGHUP ends the process")
    watch.process.send_signal(signal.SIGHUP)
    watch.expect("applied")


def test_an_upgrade_of_the_package_does_not_change_a_running_watch(
    project: Project, process: Callable[[Path], Process], tmp_path: Path
) -> None:
    package = tmp_path / "site" / "provisioner"
    shutil.copytree(Path(provisioner.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    watch = process(package.parent)
    watch.expect("applied")
    for path in package.rglob("*"):
        if path.is_file():
            path.write_text("this is another version")
    (tmp_path / "two.csv").write_text("key,value\n7,71\n")
    project.edit("entries: {7: 70}", "entries: {from: two.csv, key: key, value: value}")
    watch.expect("applied", 2)
    project.edit("max_entries: 64\n    inner", "max_entries: many\n    inner")
    watch.expect("broken")
