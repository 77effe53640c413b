"""Programs of tests/bpf/hooks.bpf.c: where each is attached, what makes it run, and how often it ran."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from provisioner.apply import pins, programs
from provisioner.kernel import bpffs, links, maps, objects
from provisioner.kernel.cpus import running_on
from provisioner.kernel.fd import LinkFd
from provisioner.kernel.host import cgroup_path
from provisioner.model.errors import HostError, Problem
from tests import features, ledger
from tests.apply.conftest import Bench

Compile = Callable[[str], Path]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program is attached, its counter, and what makes it run."""

    program: str
    attach: str
    count: int
    run: Callable[[], object]
    updatable: bool


PERF = frozenset(
    ("on_tracepoint", "on_uprobe", "on_uretprobe", "on_kprobe", "on_kretprobe", "on_ksyscall", "on_sample")
)
"""Programs that are attached by links of perf events."""


def ping() -> None:
    """One packet out of veth-a, which veth-b receives, and one back."""
    with closing(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender:
        for name in ("veth-a", "veth-b"):
            sender.bind((name, 0))
            sender.send(b"\xff" * 12 + b"\x88\xb5" + bytes(50))


def udp() -> None:
    """A datagram to a port of this namespace, through a connected socket."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.connect(("127.0.0.1", 9))
        sender.send(b"x")


def unlink() -> None:
    """Create a file and remove it."""
    path = Path(f"/tmp/provisioner-unlink-{os.getpid()}")
    path.touch()
    path.unlink()


def libc_getppid() -> None:
    """The function of the C library, not the system call alone."""
    ctypes.CDLL(None).getppid()


def fault(cpu: int = 0) -> None:
    """Page faults on a CPU."""
    with running_on(cpu) as is_there, closing(mmap.mmap(-1, 16 * mmap.PAGESIZE)) as memory:
        assert is_there
        for page in range(16):
            memory[page * mmap.PAGESIZE] = 1


@contextmanager
def mounted_tracefs() -> Iterator[None]:
    """Tracefs where it belongs, in the mount namespace of the tests, unless the host has it there."""
    if Path("/sys/kernel/tracing/events").exists():
        yield
        return
    subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "/sys/kernel/tracing"], check=True)


def need(place: Place, hooks: Path) -> None:
    """Skip where the kernel is too old for the link of a place."""
    if "tcx" in place.attach:
        features.need_tcx()
    if place.program in PERF:
        with mounted_tracefs(), objects.load(hooks, only_programs=["on_tracepoint"]) as loaded:
            features.need_perf_links(loaded.programs["on_tracepoint"])


class own_cgroup:
    """A cgroup v2 that this process is in, for as long as it is entered; gives its path below the mount."""

    def __enter__(self) -> str:
        root = cgroup_path("")
        assert root is not None
        own = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].splitlines()[0]
        self._parent = root / own.strip("/")
        self._path = root / f"provisioner-test-{os.getpid()}"
        self._path.mkdir()
        (self._path / "cgroup.procs").write_text(str(os.getpid()))
        return self._path.name

    def __exit__(self, *_: object) -> None:
        (self._parent / "cgroup.procs").write_text(str(os.getpid()))
        self._path.rmdir()


def spec(file: Path, place: Place | None, more: str = "") -> str:
    attach = f"attach: {place.attach}{more}" if place is not None else ""
    name = place.program if place is not None else "on_xdp"
    return f"objects: {{hooks: {{file: {file}, programs: {{{name}: {{{attach}}}}}}}}}\n"


def unattached(bpf_object: Compile, place: Place) -> str:
    return f"objects: {{hooks: {{file: {bpf_object('hooks_v2')}, programs: {{{place.program}: {{}}}}}}}}\n"


def counted(bench: Bench, place: Place) -> int:
    """What the program added while it was made to run."""

    def value() -> int:
        with maps.open_pin(bench.root / "counts") as fd:
            return int.from_bytes(maps.lookup(fd, place.count.to_bytes(4, "little"), 8) or b"", "little")

    before = value()
    place.run()
    return value() - before


def comes_to(bench: Bench, place: Place, expected: range) -> bool:
    """Whether what is counted comes to be in a range, once the kernel had time to free links: after grace periods."""
    deadline = time.monotonic() + ledger.PATIENCE
    while counted(bench, place) not in expected:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def link(bench: Bench, place: Place) -> links.LinkInfo:
    with bpffs.open_pin(bench.root / f"_link_{place.program}", LinkFd) as fd:
        return links.info(fd)


def failing(monkeypatch: pytest.MonkeyPatch, step: Literal["commit", "record"] = "commit") -> None:
    """Let a step after the attachments fail: the commit of the object, or the record."""

    def fail(*_: Any) -> None:
        raise HostError(Problem("the test lets this step fail", id="test"))

    monkeypatch.setattr(programs if step == "commit" else pins, step, fail)
