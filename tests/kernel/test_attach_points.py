"""Attach points that this process may not look at: access is denied, which is not the same as missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FIND = """
import sys
from provisioner.kernel import attach_points
from provisioner.model.attachment import AttachPoint
from provisioner.model.errors import HostError
try:
    print(attach_points.find(AttachPoint(*sys.argv[1:])))
except HostError as error:
    print(error.problems[0].id)
"""


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("netns", "{closed}/ns", "access-denied"),
        ("file", "{closed}/libc.so.6", "access-denied"),
        ("netns", "/proc/{pid}/ns/net", "access-denied"),
        ("netns", "/run/netns/none-such", "None"),
        ("file", "/none-such", "None"),
        ("cgroup", "none-such", "None"),
    ],
)
def test_denied_is_not_missing(kind: str, path: str, expected: str, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 1, 1)
    bounds = "--bounding-set=-dac_override,-dac_read_search,-sys_ptrace"
    named = path.format(closed=closed, pid=os.getpid())
    done = subprocess.run(
        ["setpriv", bounds, sys.executable, "-c", FIND, kind, named], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{expected}\n"
