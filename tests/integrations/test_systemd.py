"""The systemd units: valid, hardened, and with all permissions that the provisioner needs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import Project, project, spec
from tests.cli.support import environment

__all__ = ["project", "spec"]

UNITS: Final = Path(__file__).parents[2] / "integrations" / "systemd"
SERVICES: Final = ("watch", "apply", "restore")
EXPOSURE: Final = 30
"""The exposure of `systemd-analyze security` in tenths, which says OK below 5.0. Root with BPF has some exposure."""


@pytest.fixture
def instances(tmp_path: Path) -> list[Path]:
    """The units as instances for the project `edge`, with a command that exists on this machine."""
    units = []
    for unit in sorted(UNITS.iterdir()):
        path = tmp_path / unit.name.replace("@", "@edge")
        path.write_text(unit.read_text().replace("/usr/bin/provisioner", "/bin/true"))
        (tmp_path / unit.name).write_text(path.read_text())
        units.append(path)
    return units


def test_all_units_are_sound(instances: list[Path]) -> None:
    assert len(instances) == 5
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *instances], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_hardened(instances: list[Path], service: str) -> None:
    path = next(path for path in instances if path.name == f"provisioner-{service}@edge.service")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_stopping_a_service_destroys_nothing(service: str) -> None:
    text = (UNITS / f"provisioner-{service}@.service").read_text()
    assert not re.search(r"^ExecStop", text, re.MULTILINE)
    assert not re.search(r"^Exec.*destroy", text, re.MULTILINE)


def allowed() -> set[str]:
    """The system calls that the filter of the units allows."""
    (rule,) = {
        line.removeprefix("SystemCallFilter=")
        for service in SERVICES
        for line in (UNITS / f"provisioner-{service}@.service").read_text().splitlines()
        if line.startswith("SystemCallFilter=")
    }
    calls: set[str] = set()
    left = rule.split()
    while left:
        name = left.pop()
        if not name.startswith("@"):
            calls.add(name)
            continue
        shown = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        left += [line.strip() for line in shown.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return calls


def test_the_filter_lets_all_through_that_an_apply_and_a_watch_call(project: Project, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace, command = ("strace", "-f", "-qq", "-o"), (sys.executable, "-m", "provisioner")
    for words in (("apply", "--yes"), ("watch", "--settle", "0", "--metrics-file", str(tmp_path / "edge.prom"))):
        process = subprocess.Popen(
            [*strace, f"{trace}-{words[0]}", *command, *words, project.spec, "--pin-root", project.root],
            env=environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        if words[0] == "watch":
            assert process.stderr is not None
            while "the live state matches the spec" not in process.stderr.readline():
                assert process.poll() is None
            # strace ignores signals while it traces a command into a file.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGTERM)
        process.communicate()
        called = set(re.findall(r"^\d+ +(\w+)\(", Path(f"{trace}-{words[0]}").read_text(), re.MULTILINE))
        assert {"bpf", "openat"} <= called
        # The interpreter tries this call and continues without it. The filter returns EPERM.
        assert called - allowed() <= {"arch_prctl"}
