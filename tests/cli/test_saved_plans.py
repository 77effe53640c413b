"""Saved plans as CI moves them: read-only, behind a link, through a pipe, damaged on the way."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner import InputError, RefusedError
from provisioner.cli import saved
from tests.cli.conftest import Project
from tests.cli.support import COMMAND, environment
from tests.problems import raises

ROUNDS = 2_000


@pytest.fixture
def plan(project: Project, tmp_path: Path) -> Path:
    path = tmp_path / "plans" / "edge.plan"
    path.parent.mkdir()
    assert project.run("plan", "--out", path).status == 2
    return path


@pytest.fixture
def read_only(plan: Path) -> Iterator[Path]:
    subprocess.run(["mount", "--bind", str(plan.parent), str(plan.parent)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(plan.parent)], check=True)
    yield plan
    subprocess.run(["umount", str(plan.parent)], check=True)


def test_only_its_owner_can_read_it(plan: Path) -> None:
    assert plan.stat().st_mode & 0o777 == 0o600


def test_one_in_a_read_only_directory_is_applied(project: Project, read_only: Path) -> None:
    done = project.run("apply", "--plan", read_only)
    assert (done.status, done.err) == (0, f"Note: {read_only} is read-only, so it is not marked as used.\n")
    assert project.root.is_dir()
    again = project.run("apply", "--plan", read_only)
    assert again.status == 4, "what is live is not what it was"


def test_a_link_to_one_stays_a_link(project: Project, plan: Path) -> None:
    link = plan.with_name("latest")
    link.symlink_to(plan.name)
    assert project.run("apply", "--plan", link).status == 0
    assert os.readlink(link) == plan.name
    assert json.loads(plan.read_text())["used"] is True
    assert project.run("apply", "--plan", link).status == 4


def test_a_pipe_is_refused_before_anything_is_shown(project: Project, plan: Path) -> None:
    with subprocess.Popen(["cat", str(plan)], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        command = [*COMMAND, "apply", "--plan", "/dev/stdin", str(project.spec), "--pin-root", str(project.root)]
        done = subprocess.run(
            command, stdin=source.stdout, capture_output=True, text=True, env=environment(), check=False
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert "/dev/stdin: error[unreadable-plan]: " in done.stderr
    assert not project.root.exists()


def test_standard_input_that_is_a_file_is_marked_as_used(project: Project, plan: Path) -> None:
    command = [*COMMAND, "apply", "--plan", "/dev/stdin", str(project.spec), "--pin-root", str(project.root)]
    with plan.open() as source:
        done = subprocess.run(command, stdin=source, capture_output=True, env=environment(), check=False)
    assert done.returncode == 0
    assert json.loads(plan.read_text())["used"] is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("digest", 5),
        ("used", "no"),
        ("used", 0),
        ("overrides", {"prune": 1}),
        ("overrides", []),
        ("overrides", {"more": True}),
        ("parts", {"tenants": []}),
        ("parts", {"tenants": ["a"]}),
        ("parts", {"tenants": ["a", 1]}),
        ("targets", "tenants"),
        ("more", 1),
        ("format", "provisioner-plan-2"),
    ],
)
def test_a_field_of_another_type_is_named(plan: Path, field: str, value: object) -> None:
    plan.write_text(json.dumps({**json.loads(plan.read_text()), field: value}))
    with raises(InputError, "not-a-plan") as caught:
        saved.read(plan)
    assert str(caught.value.problems[0].where) == str(plan)
    assert field in str(caught.value)


def test_no_damage_is_a_bug(plan: Path) -> None:
    """A plan changed at random, or cut: it is read or refused."""
    good = plan.read_bytes()
    saved.read(plan)
    refused = 0
    for number in range(ROUNDS):
        chance = random.Random(number)
        data = bytearray(good)
        if chance.randrange(4):
            for _ in range(chance.choice((1, 1, 8))):
                data[chance.randrange(len(data))] = chance.choice((*b'019"[]{},:', chance.randrange(256)))
        else:
            del data[chance.randrange(len(data)) :]
        plan.write_bytes(data)
        try:
            saved.read(plan)
        except InputError:
            refused += 1
    assert refused > ROUNDS // 2
    plan.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError):
        saved.read(plan)


def test_a_link_that_leads_elsewhere_by_then_is_not_followed(plan: Path) -> None:
    """Root would write over another file while it marks a plan of another user as used."""
    other = plan.with_name("other")
    other.write_text("of root")
    link = plan.with_name("latest")
    link.symlink_to(plan.name)
    bound = saved.read(link)
    link.unlink()
    link.symlink_to(other.name)
    with raises(InputError, "not-a-plan"):
        bound.use()
    assert other.read_text() == "of root"
    other.write_text(plan.read_text().replace(bound.digest, bound.digest[::-1]))
    with raises(RefusedError, "stale-plan"):
        bound.use()
