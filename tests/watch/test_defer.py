"""Interfaces that come later: the plan says so, and a watch attaches when they come."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.apply.test_objects import attached, spec, xdp_of
from tests.cli.conftest import Project
from tests.conftest import Veth
from tests.watch.conftest import Watching

LATE = Veth("veth-late", "veth-far")


@pytest.fixture
def late(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Makes the interfaces when it is called."""
    request.getfixturevalue("kernel")  # so that the ledger is read after the interfaces are gone
    yield lambda: _ip("link", "add", LATE.name, "type", "veth", "peer", "name", LATE.peer)
    subprocess.run(["ip", "link", "del", LATE.name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def test_a_deferred_attachment_is_told_and_made_when_its_interface_comes(
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
