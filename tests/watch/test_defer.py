"""Interfaces that come later: the plan says so, and a watch attaches when they come."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kernel.host import cgroup_path
from provisioner.watch.loop import Listener, PassReport, Watcher
from provisioner.watch.machine import Pace, Verdict
from provisioner.watch.reconcile import Aim, PassResult
from tests.apply.test_objects import attached, spec, xdp_of
from tests.cli.conftest import Project
from tests.conftest import Veth
from tests.watch.conftest import PATIENCE, Watching, until

LATE = Veth("veth-late", "veth-far")


@pytest.fixture
def late(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Makes the interfaces when it is called."""
    request.getfixturevalue("kernel")  # so that the ledger is read after the interfaces are gone
    yield lambda: _ip("link", "add", LATE.name, "type", "veth", "peer", "name", LATE.peer)
    subprocess.run(["ip", "link", "del", LATE.name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def test_a_deferred_attachment_is_reported_and_made_when_its_interface_comes(
    late: Callable[[], None], project: Project, watching: Callable[..., Watching], bpf_object: Callable[[str], Path]
) -> None:
    project.spec.write_text(
        "version: 1\nname: edge" + spec(bpf_object("router"), attach=attached(LATE, if_missing="defer"))
    )
    assert project.run("apply", "--yes", "--allow-outside").status == 0
    planned = project.run("plan", "--allow-outside")
    assert planned.status == 0
    assert "Note: router.xdp_router: interface veth-late does not exist yet" in planned.out
    document = project.run("plan", "--allow-outside", "--format", "json").document
    assert [(one["id"], one["severity"]) for one in document["hazards"]] == [("attachment-deferred", "notice")]
    watch = watching("--allow-outside", "--interval", "3600")
    assert watch.expect("deferred")["programs"] == ["xdp_router"]
    late()
    assert watch.expect("applied")["summary"]["programs"]["update"] == 1, "long before the interval has passed"
    assert xdp_of(LATE.name)
    assert project.run("plan", "--allow-outside").status == 0
    assert watch.end() == 0


def test_an_interface_that_comes_while_a_pass_ends_is_noticed(
    late: Callable[[], None], project: Project, bpf_object: Callable[[str], Path]
) -> None:
    """The pass did not see it, and nobody listened to the kernel yet."""
    project.spec.write_text(
        "version: 1\nname: edge" + spec(bpf_object("router"), attach=attached(LATE, if_missing="defer"))
    )
    results: list[PassResult] = []

    started = time.monotonic()

    class Late(Listener):
        def beat(self) -> None:
            if time.monotonic() > started + PATIENCE:
                os.kill(os.getpid(), signal.SIGTERM)

        def passed(self, report: PassReport) -> None:
            results.append(report.result)
            if len(results) == 1:
                late()
            else:
                os.kill(os.getpid(), signal.SIGTERM)

    aim = Aim((project.spec,), allow_outside=True, pin_root=str(project.root))
    Watcher([aim], Pace(interval=3600, poll=0.05), lambda _: None, Late()).run()
    assert [result.verdict for result in results] == [Verdict.APPLIED, Verdict.APPLIED]
    assert xdp_of(LATE.name)


def test_a_cgroup_and_a_bpffs_that_return_are_noticed(
    project: Project, watching: Callable[..., Watching], bpf_object: Callable[[str], Path], tmp_path: Path
) -> None:
    """Long before the interval has passed."""
    mounted, cgroup = tmp_path / "bpffs", cgroup_path(f"provisioner-late-{os.getpid()}")
    assert cgroup is not None
    mounted.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", mounted], check=True)
    attach = f"{{cgroup: {{path: {cgroup.name}, if_missing: defer}}}}"
    objects = f"{{hooks: {{file: {bpf_object('hooks')}, programs: {{on_connect: {{attach: {attach}}}}}}}}}"
    project.spec.write_text(f"version: 1\nname: edge\npin_root: {mounted}/edge\nobjects: {objects}\n")
    try:
        watch = watching("--allow-outside", "--interval", "3600", pin_root=False)
        assert watch.expect("deferred")["programs"] == ["on_connect"]
        watch.expect("applied")
        for _ in range(2):
            cgroup.mkdir()
            assert watch.expect("applied")["summary"]["programs"]["update"] == 1
            cgroup.rmdir()
            watch.expect("deferred")
        subprocess.run(["umount", mounted], check=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", mounted], check=True)
        until(lambda: (mounted / "edge/on_connect").exists() or None, lambda: f"not pinned again: {watch.lines}")
        assert watch.end() == 0
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)
        if cgroup.exists():
            cgroup.rmdir()
