"""What the host is."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.kernel import host
from provisioner.model.errors import HostError
from tests.problems import raises


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-3\n", 4), ("0-3,8\n", 5), ("0,2-3,9-9\n", 4)])
def test_possible_cpus_are_counted(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "possible").write_text(text)
    assert host.possible_cpus(tmp_path / "possible") == count


@pytest.mark.parametrize("text", ["", "all\n"])
def test_what_is_no_list_of_cpus_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "possible").write_text(text)
    with raises(HostError, "host-unreadable"):
        host.possible_cpus(tmp_path / "possible")


def test_this_host() -> None:
    this_host = host.read_host()
    assert this_host.byteorder == sys.byteorder
    assert this_host.possible_cpus >= (os.cpu_count() or 1)


def test_the_soft_limit_of_files_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert host.raise_nofile_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert host.raise_nofile_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_privileges_of_root_and_of_others() -> None:
    assert host.capabilities() == {"CAP_BPF", "CAP_CHOWN", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN"}
    assert host.privilege_hint() == ""
    script = "import os; from provisioner.kernel import host; os.setuid(65534); print(host.privilege_hint())"
    environment = os.environ | {"PYTHONPATH": str(Path(host.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "this process is not root: run it as root, or give it CAP_BPF and CAP_NET_ADMIN and CAP_SYS_ADMIN\n"
    )


@pytest.mark.parametrize("group", ["4294967295", "99999999999", "9" * 5000, "\u0663"])
def test_a_number_that_no_group_can_have(group: str) -> None:
    with raises(HostError, "unknown-group"):
        host.gid(group)
    assert host.gid("4294967294") == 4294967294
