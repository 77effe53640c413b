"""One writer: a second process waits for the lock or says who holds it, never in a folder that was removed."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from provisioner.kernel import locking
from provisioner.model.pins import LOCK
from provisioner.project.opening import load
from tests.cli.support import environment
from tests.command import CLIENT, for_client
from tests.conftest import remove_tree
from tests.promises.scenarios import ALL, ONE, OTHER, look

_IN_OPEN: Final = 0x20
_ATTEMPTS: Final = 10
"""More often than a process opens the directory that does not wait."""


class Project:
    """Two specs for one pin root, and commands that run beside each other."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self.one, self.other = folder / "one.yaml", folder / "other.yaml"
        self.one.write_text(ONE)
        self.other.write_text(OTHER)

    def start(self, verb: str, spec: Path, *options: str) -> subprocess.Popen[str]:
        command = [str(CLIENT), verb, str(spec), "--yes", "--force", "--pin-root", str(self.root), *options]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**for_client()),
        )

    def remains(self, spec: Path) -> int:
        """How many steps an apply of `spec` still has."""
        return len(load([spec], pin_root=str(self.root)).plan(ALL).steps)


@pytest.fixture
def project(tmp_path: Path, kernel: Path) -> Iterator[Project]:
    root = kernel / "edge"
    yield Project(tmp_path, root)
    if root.exists():
        remove_tree(root)


def waits(process: subprocess.Popen[str], root: Path) -> None:
    """Return once a process tries to get the lock: it opens the directory over and over."""
    libc, opened = ctypes.CDLL(None, use_errno=True), 0
    events = libc.inotify_init1(os.O_CLOEXEC)
    try:
        assert libc.inotify_add_watch(events, os.fsencode(root), _IN_OPEN) > 0, os.strerror(ctypes.get_errno())
        while opened < _ATTEMPTS:
            if process.poll() is not None:
                pytest.fail("it ended without waiting")
            if select.select([events], [], [], 0.05)[0]:
                os.read(events, 4096)
                opened += 1
    finally:
        os.close(events)


def test_a_second_apply_says_who_holds_the_lock(project: Project) -> None:
    project.root.mkdir()
    with locking.lock(project.root):
        second = project.start("apply", project.one)
        _, err = second.communicate()
        assert second.returncode == 75
        assert f"process {os.getpid()} (" in err
        assert Path("/proc/self/cmdline").read_text().split("\0")[0] in err
        third = project.start("destroy", project.one)
        third.communicate()
        assert third.returncode == 75
        assert os.listdir(project.root) == [LOCK]


def test_with_a_timeout_it_waits(project: Project) -> None:
    project.root.mkdir()
    with locking.lock(project.root):
        second = project.start("apply", project.one, "--lock-timeout", "60")
        waits(second, project.root)
    assert second.communicate()[1] is not None
    assert second.returncode == 0
    assert project.remains(project.one) == 0


def test_of_two_at_once_each_is_done_or_refused(project: Project) -> None:
    both = [project.start("apply", spec) for spec in (project.one, project.other)]
    for process in both:
        _, err = process.communicate()
        assert process.returncode in (0, 75), err
    assert [process.returncode for process in both] != [75, 75]
    assert 0 in (project.remains(project.one), project.remains(project.other)), "it is the one or the other, whole"


def test_one_that_waits_while_destroy_removes_the_folder_makes_it_again(project: Project) -> None:
    """The folder that it saw, and waited for, is gone: a lock on it would protect nothing."""
    first = project.start("apply", project.one)
    first.communicate()
    folder = project.root.stat().st_ino
    with locking.lock(project.root):
        second = project.start("apply", project.other, "--lock-timeout", "60")
        waits(second, project.root)
        remove_tree(project.root)  # as destroy does, under the lock
    _, err = second.communicate()
    assert second.returncode == 0, err
    assert project.root.stat().st_ino != folder
    assert project.remains(project.other) == 0


def test_apply_and_destroy_at_once(project: Project) -> None:
    """Whichever comes first, both do their work, and what is live is all or nothing."""
    seen = set()
    for turn in range(4):
        project.start("apply", project.one).communicate()
        verbs = ("destroy", "apply") if turn % 2 else ("apply", "destroy")
        both = [project.start(verb, project.one, "--lock-timeout", "60") for verb in verbs]
        for process in both:
            _, err = process.communicate()
            assert process.returncode == 0, err
        steps = project.remains(project.one)
        assert steps == 0 or not project.root.exists()
        seen.add(steps == 0)
    assert seen


def test_a_waiter_gives_up_when_its_time_is_over(project: Project) -> None:
    project.root.mkdir()
    with locking.lock(project.root):
        started = time.monotonic()
        second = project.start("apply", project.one, "--lock-timeout", "0.5")
        second.communicate()
        assert second.returncode == 75
        assert time.monotonic() - started >= 0.5
    assert look(project.root).pins == {}
