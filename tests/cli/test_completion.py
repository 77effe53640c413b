"""What a shell gets to complete, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import command

PROVISIONER = Path(sys.executable).parent / "provisioner"

SPEC = """\
version: 1
name: edge
pin_root: /sys/fs/bpf/edge
inner_templates:
  prefixes: {type: lpm_trie, key: cidr4, value: u32, max_entries: 8}
maps:
  active: {type: array, key: u32, value: u32, max_entries: 4, entries: {2: 7}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 16
    inner: prefixes
    inner_maps:
      7: {entries: {10.0.0.0/8: 1, 192.0.2.0/24: 2}}
      42: {}
  telemetry:
    type: hash_of_maps
    key: mac
    max_entries: 16
    inner: prefixes
    inner_maps:
      10:20:30:40:50:59: {}
"""

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Gives the words that bash would offer at the end of a command line."""
    (tmp_path / "edge.yaml").write_text(SPEC)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites/broken.yaml").write_text("version: 1\nproject: [")

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        asked = {"_PROVISIONER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        _, out, err = command.run([], "", os.environ | asked)
        assert err == ""
        return out.split()

    monkeypatch.chdir(tmp_path)
    return ask


def test_the_installed_command_is_asked(complete: Complete, tmp_path: Path) -> None:
    """And says what the fork server says, which answers all others."""
    line = "provisioner plan edge.yaml --target tenants"
    asked = {"_PROVISIONER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "4"}
    done = subprocess.run([PROVISIONER], env=os.environ | asked, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (complete(line), "")
    assert complete(line) == ["tenants"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("provisioner pl", ["plan"]),
        ("provisioner plan --over", ["--overlay"]),
        ("provisioner plan ", ["edge.yaml", "sites/"]),
        ("provisioner plan sites/", ["sites/broken.yaml"]),
        ("provisioner plan nowhere/", []),
        ("provisioner plan edge.yaml --targ", ["--target"]),
        ("provisioner plan edge.yaml --target ", ["active", "telemetry", "tenants"]),
        ("provisioner apply edge.yaml --target tenants[4", ["tenants[42]"]),
        ("provisioner apply edge.yaml --target tenants[7][", []),
        ("provisioner plan edge.yaml --target active[", []),
        ("provisioner plan sites/broken.yaml --target te", []),
        ("provisioner plan --target te", []),
        ("provisioner show ed", ["edge.yaml"]),
        ("provisioner show edge.yaml te", ["telemetry", "tenants"]),
        ("provisioner show edge.yaml tenants[7][1", ["tenants[7][10.0.0.0/8]", "tenants[7][192.0.2.0/24]"]),
        ("provisioner explain edge.yaml te", ["telemetry", "tenants"]),
        ("provisioner explain edge.yaml tenants[", ["tenants[7]", "tenants[42]"]),
        ("provisioner explain edge.yaml tenants[4", ["tenants[42]"]),
        ("provisioner explain edge.yaml tenants[7][", ["tenants[7][10.0.0.0/8]", "tenants[7][192.0.2.0/24]"]),
        ("provisioner explain edge.yaml telemetry[", ["telemetry[10:20:30:40:50:59]"]),
        ("provisioner explain edge.yaml active[", ["active[2]"]),
        ("provisioner explain edge.yaml tenants[8][", []),
        ("provisioner explain edge.yaml nothing[", []),
        ("provisioner explain edge.yaml tenants[7][10.0.0.0/8][", []),
        ("provisioner explain edge.yaml tenants[what][", []),
        ("provisioner explain sites/broken.yaml te", []),
    ],
)
def test_a_shell_is_offered(complete: Complete, line: str, offered: list[str]) -> None:
    assert sorted(complete(line)) == sorted(offered)
