"""Hosts for tests of a fleet: mount and network namespaces, each with its own bpffs and directory of specs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import command

_BEGIN: Final = """
set -e
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/provisioner-tests
mount -t tmpfs tmpfs /run/provisioner-tests
mkdir /run/provisioner-tests/etc
echo ready
exec cat
"""
"""`cat` and the host end when the pipe closes."""

FOLDER: Final = "/run/provisioner-tests/etc"
"""The directory of the specs of a host."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host, by a process in its namespaces."""

    name: str
    pid: int

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        inside = ("nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--")
        # The caches of the tests are not those of the host.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run([*inside, *words], env=kept | command.for_client(), capture_output=True, text=True)

    def path(self, path: str) -> Path:
        """The path of a file of the host, outside its namespaces."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, name: str, text: str) -> None:
        self.path(f"{FOLDER}/{name}").write_text(text)


@contextmanager
def host(name: str) -> Iterator[Host]:
    """A host that exists as long as the context."""
    process = subprocess.Popen(
        ["unshare", "--mount", "--net", "sh", "-c", _BEGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield Host(name, process.pid)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
