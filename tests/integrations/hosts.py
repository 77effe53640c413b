"""Hosts for a test of a fleet: mount and network namespaces, each with a bpffs and an /etc/provisioner of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BEGIN: Final = """
set -e
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/provisioner-tests
mount -t tmpfs tmpfs /run/provisioner-tests
mkdir /run/provisioner-tests/etc
echo ready
exec cat
"""
"""`cat` ends when the pipe to it closes, and the host with it."""

FOLDER: Final = "/run/provisioner-tests/etc"
"""Where a host has its specs."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host by a process that lives in it."""

    name: str
    pid: int

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        inside = ("nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--")
        return subprocess.run([*inside, *words], capture_output=True, text=True)

    def path(self, path: str) -> Path:
        """A file of the host, as it is reached from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, name: str, text: str) -> None:
        self.path(f"{FOLDER}/{name}").write_text(text)


@contextmanager
def host(name: str) -> Iterator[Host]:
    """A host that is there for as long as the context is."""
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
