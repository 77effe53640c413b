"""plan never writes, and a second apply does nothing: shown by the system calls themselves, traced by strace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Veth, remove_tree

READING: Final = {
    "BPF_OBJ_GET", "BPF_OBJ_GET_INFO_BY_FD", "BPF_MAP_GET_FD_BY_ID", "BPF_MAP_GET_NEXT_KEY", "BPF_MAP_LOOKUP_ELEM",
    "BPF_MAP_LOOKUP_BATCH", "BPF_PROG_GET_FD_BY_ID", "BPF_LINK_GET_FD_BY_ID", "BPF_BTF_GET_FD_BY_ID",
    "BPF_PROG_GET_NEXT_ID",
}  # fmt: skip
CHANGING: Final = "mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mount"

SPEC = """
version: 1
name: edge
types:
  verdict: {{enum: {{deny: 0, allow: 1}}, base: u8}}
  backend: {{struct: {{ip: ipv4, port: be16, weight: u16}}}}
inner_templates:
  acl: {{type: lpm_trie, key: cidr4, value: verdict, max_entries: 1024}}
  backends: {{type: array, key: u32, value: backend, max_entries: 64, flags: [inner_map]}}
  counters: {{type: percpu_hash, key: u32, value: u64, max_entries: 8}}
objects:
  router:
    file: {file}
    programs: {{xdp_router: {{pin: xdp_router, attach: {{xdp: {{interface: {interface}}}}}}}}}
maps:
  active: {{object: router, key: u32, value: u32, entries: {{0: 1}}}}
outer_maps:
  tenants: {{object: router, key: u32, inner: acl, inner_maps: {{1: {{entries: {{10.0.0.0/8: {verdict}}}}}}}}}
  vips:
    object: router
    inner: backends
    inner_maps: {{0: {{entries: {{0: {{ip: 192.0.2.1, port: 1, weight: 1}}}}}}}}
  own:
    {{type: hash_of_maps, key: u32, max_entries: 64, inner: counters, inner_maps: {{1..40: {{entries: {{1: 1}}}}}}}}
"""


class Traced:
    """The command line under strace."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.spec = folder / "spec.yaml"
        self.root = root
        self._trace = folder / "trace"

    def run(self, verb: str, *options: str) -> tuple[int, list[str], list[str]]:
        """The exit status, the bpf(2) commands, and the calls that change files."""
        command = [sys.executable, "-m", "provisioner", verb, str(self.spec), "--pin-root", str(self.root)]
        # Stopped at what is traced alone: at each of some 13,000 calls, an emulated guest takes minutes.
        strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "256", "-e", f"trace=bpf,{CHANGING}"]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*strace, "-o", str(self._trace), *command, "--allow-outside", *options],
            capture_output=True,
            text=True,
            env=environment,
        )
        calls = [line.split(maxsplit=1)[1] for line in self._trace.read_text().splitlines() if "resumed>" not in line]
        commands = [match[1] for call in calls if (match := re.match(r"bpf\((\w+)", call))]
        changes = [call for call in calls if not call.startswith(("bpf(", "---", "+++"))]
        assert done.returncode in (0, 2, 4), done.stderr
        return done.returncode, commands, changes


@pytest.fixture
def traced(tmp_path: Path, kernel: Path, veth: Veth, bpf_object: Callable[[str], Path]) -> Iterator[Traced]:
    root = kernel / "edge"
    cli = Traced(tmp_path, root)
    write(cli, veth, bpf_object)
    yield cli
    if root.exists():
        remove_tree(root)


def write(cli: Traced, veth: Veth, bpf_object: Callable[[str], Path], verdict: str = "deny") -> None:
    cli.spec.write_text(SPEC.format(file=bpf_object("router"), interface=veth.name, verdict=verdict))


def test_plan_makes_no_call_that_changes_anything(
    traced: Traced, veth: Veth, bpf_object: Callable[[str], Path]
) -> None:
    status, commands, changes = traced.run("plan")
    assert status == 2
    assert set(commands) <= READING
    assert changes == []
    assert not traced.root.exists()
    traced.run("apply", "--yes")
    for verdict, expected in (("deny", 0), ("allow", 2)):
        write(traced, veth, bpf_object, verdict)
        status, commands, changes = traced.run("plan")
        assert status == expected
        assert {"BPF_MAP_LOOKUP_BATCH", "BPF_OBJ_GET"} <= set(commands) <= READING
        assert changes == []


def test_a_second_apply_makes_no_call_that_changes_anything(traced: Traced) -> None:
    status, commands, _ = traced.run("apply", "--yes")
    assert status == 0
    assert {"BPF_MAP_CREATE", "BPF_PROG_LOAD", "BPF_OBJ_PIN", "BPF_LINK_CREATE", "BPF_MAP_UPDATE_BATCH"} <= set(
        commands
    )
    status, commands, changes = traced.run("apply", "--yes")
    assert status == 0
    assert set(commands) <= READING
    assert changes == []


def test_show_makes_no_call_that_changes_anything(traced: Traced) -> None:
    traced.run("apply", "--yes")
    status, commands, changes = traced.run("show")
    assert status == 0
    assert set(commands) <= READING
    assert changes == []
