"""A clock that jumps by years, forth and back: what waits, and what says how long it took, counts by another one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.kernel import locking
from tests import preload
from tests.cli.conftest import Project
from tests.cli.support import COMMAND, SPEC, environment
from tests.conftest import remove_tree
from tests.promises.injection import build_clock
from tests.promises.test_two_at_once import waits

YEARS = 5 * 365 * 24 * 3600


@pytest.fixture
def project(kernel: Path, tmp_path: Path) -> Iterator[Project]:
    spec, root = tmp_path / "edge.yaml", kernel / "edge"
    spec.write_text(SPEC)
    yield Project(spec, root)
    if root.exists():
        remove_tree(root)


def start(verb: str, project: Project, *options: str | Path) -> subprocess.Popen[str]:
    """Begin a command under such a clock."""
    return subprocess.Popen(
        [*COMMAND, verb, str(project.spec), "--pin-root", str(project.root), *map(str, options)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**preload.variables(build_clock()), CLOCK_JUMP=str(YEARS)),
    )


def test_the_shim_does_move_the_clock() -> None:
    script = "import time; print(abs(time.time() - time.time()) > 1e8, abs(time.monotonic() - time.monotonic()) < 1e3)"
    done = subprocess.run(
        [COMMAND[0], "-c", script],
        capture_output=True,
        text=True,
        env=environment(**preload.variables(build_clock()), CLOCK_JUMP=str(YEARS)),
    )
    assert done.stdout == "True True\n", done.stderr


def test_a_waiter_waits_as_long_as_it_was_asked_to(project: Project) -> None:
    project.root.mkdir()
    with locking.lock(project.root):
        second = start("apply", project, "--yes", "--lock-timeout", "60")
        waits(second, project.root)
    _, err = second.communicate()
    assert second.returncode == 0, err


def test_and_no_longer(project: Project) -> None:
    project.root.mkdir()
    with locking.lock(project.root):
        started = time.monotonic()
        second = start("apply", project, "--yes", "--lock-timeout", "0.5")
        _, err = second.communicate()
        assert second.returncode == 75, err
        assert time.monotonic() - started >= 0.5


def test_what_is_reported_of_time_is_what_passed(project: Project, tmp_path: Path) -> None:
    saved = tmp_path / "edge.plan"
    planned = start("plan", project, "--out", saved)
    assert planned.communicate()[1] == ""
    assert planned.returncode == 2
    applied = start("apply", project, "--plan", saved, "--format", "json")
    out, err = applied.communicate()
    assert applied.returncode == 0, err
    result = json.loads(out)["result"]
    assert 0 < result["seconds"] < YEARS / 2
    assert 0 <= result["window_seconds"] <= result["seconds"]
    assert project.run("plan").status == 0


def test_a_snapshot_of_a_host_whose_clock_is_ahead(project: Project, tmp_path: Path) -> None:
    """Its age is what the two clocks say, and is given in words where that makes no sense."""
    taken = tmp_path / "host.snapshot"
    assert project.run("export", "--snapshot", taken).status == 0
    compared = start("plan", project, "--against", taken)
    out, err = compared.communicate()
    assert compared.returncode == 2, err
    assert "1,824 days old" in out or "1,825 days old" in out or "in the future by this host's clock" in out
