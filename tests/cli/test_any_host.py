"""A spec that is read for no host in particular: what only a host knows is known at apply, and is the same anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROVISIONER = Path(sys.executable).parent / "provisioner"
SPEC = """\
version: 1
name: edge
inner_templates:
  peers: {type: hash, key: ifindex, value: ifindex, max_entries: 8}
outer_maps:
  services:
    type: hash_of_maps
    key: cgroup_id
    max_entries: 8
    inner: peers
    inner_maps:
      no.slice/such.service: {entries: {none7: none8, none8: none7, 3: none7}}
"""


def run(spec: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROVISIONER, *arguments, spec], capture_output=True, text=True, check=False)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "edge.yaml"
    path.write_text(SPEC)
    return path


def test_names_that_this_host_lacks_are_valid(spec: Path) -> None:
    assert run(spec, "validate").returncode == 0


def test_the_plan_against_nothing_names_them(spec: Path) -> None:
    done = run(spec, "plan", "--against", "empty")
    assert (done.returncode, done.stderr) == (2, "")
    assert "[no.slice/such.service (known at apply)]" in done.stdout
    for key, value in (("none7", "none8"), ("none8", "none7")):
        assert f"+ {key} (known at apply)  {value} (known at apply)" in done.stdout
    assert "+ 3                       none7 (known at apply)" in done.stdout


def test_it_is_the_same_each_time(spec: Path) -> None:
    first, second = (json.loads(run(spec, "plan", "--against", "empty", "--format", "json").stdout) for _ in range(2))
    assert first == second
    assert "none7 (known at apply)" in [change["after"] for change in first["changes"]]


def test_a_name_that_is_there_is_not_looked_up_either(spec: Path) -> None:
    spec.write_text(SPEC.replace("none7", "lo"))
    assert "lo (known at apply)" in run(spec, "plan", "--against", "empty").stdout


def test_the_host_itself_must_know_them(spec: Path) -> None:
    done = run(spec, "plan")
    assert done.returncode == 1
    assert f"{spec}:12:7: error[unknown-value]: " in done.stderr
    assert "interface `none7`" in done.stderr


def test_files_that_are_read_and_that_are_not(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("version: 1\nname: edge\n")
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "1.yaml").write_text("outer_maps: {}\n")
    done = run(tmp_path, "validate")
    assert done.returncode == 0
    assert f"warning: {tmp_path}/tenants/1.yaml " in done.stderr
    assert f"read {tmp_path}/edge.yaml\n" in run(tmp_path, "validate", "-v").stderr
    assert run(tmp_path, "validate", "-q").stderr == ""
