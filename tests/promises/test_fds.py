"""Open fds are bounded by the wave, not by the spec; and nothing grows, however often slots come and go."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from provisioner.cli import app
from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.reading import read_slots
from provisioner.kernel.reasons import KernelError
from tests import recorder
from tests.cli.support import COMMAND, environment
from tests.conftest import remove_tree
from tests.promises.cgroup import MemoryCgroup

NAME = "leak_stress"


def spec(slots: str, max_entries: int) -> str:
    return f"""
version: 1
name: edge
inner_templates: {{{NAME}: {{type: hash, key: u32, value: u32, max_entries: 2}}}}
outer_maps:
  many:
    type: hash_of_maps
    key: u32
    max_entries: {max_entries}
    inner: {NAME}
    inner_maps: {{{slots}: {{entries: {{1: 2}}}}}}
"""


@pytest.fixture
def root(kernel: Path) -> Iterator[Path]:
    path = kernel / "edge"
    yield path
    if path.exists():
        remove_tree(path)


def live_slots(root: Path) -> int:
    with maps.open_pin(root / "many") as outer:
        return len(read_slots(outer, maps.info(outer).shape)[0])


def test_ten_thousand_inner_maps_under_128_fds(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "edge.yaml"

    def run(verb: str) -> None:
        done = subprocess.run(
            [*COMMAND, verb, str(path), "--yes", "--force", "--pin-root", str(root)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
        )
        assert done.returncode == 0, done.stderr

    path.write_text(spec("0..9999", 16384))
    run("apply")
    assert live_slots(root) == 10_000
    path.write_text(spec("5000..12999", 16384))  # what is deleted is held by the stash meanwhile, not by fds
    run("apply")
    assert live_slots(root) == 8_000
    run("destroy")
    assert not root.exists()


def inner_maps(mark: int) -> Iterator[int]:
    """The bytes that each inner map takes that was created since `mark` and is alive, as fdinfo says."""
    for kind, number in recorder.alive(mark):
        try:
            if kind == "map":
                with maps.open_id(InnerId(number)) as fd:
                    if maps.info(fd).name == NAME:
                        yield maps.memory(fd)
        except KernelError:
            continue


def memlock(root: Path, mark: int) -> int:
    """Bytes that the outer map and its inner maps take, as fdinfo says."""
    with maps.open_pin(root / "many") as outer:
        return maps.memory(outer) + sum(inner_maps(mark))


def memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def settled(mark: int, expected: int) -> int:
    """The number of inner maps; the kernel frees removed ones a grace period or so later, and is waited for."""
    deadline = time.monotonic() + 10
    while (count := len(list(inner_maps(mark)))) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return count


@dataclass(frozen=True, slots=True)
class Held:
    """What is held after an apply: fds, inner maps, this process' memory, the kernel's for its cgroup.

    `memlock` is what the kernel accounts in fdinfo to the outer map and its inner maps.
    """

    fds: int
    maps: int
    memlock: int
    process: int
    kernel: int


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    with MemoryCgroup("leaks") as own:
        own.join()
        yield own


SLACK: Final = 1 << 20
"""Bytes by which kernel memory may differ between applies: slab and per-CPU pages are charged whole and freed late.

A map here takes about a kilobyte, and 20,000 come and go between the halves that are compared: one leaked in twenty
would show. The count of maps, which is exact, shows each.
"""


def test_inner_maps_that_come_and_go_leave_nothing(
    tmp_path: Path,
    root: Path,
    cgroup: MemoryCgroup,
    full_sweep: bool,
    figures: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the command line's own functions, in this process, so that what leaks can be seen in it."""
    path = tmp_path / "edge.yaml"
    slots, goal = 2000, 300_000 if full_sweep else 50_000
    changed = turn = 0
    mark = recorder.count()
    seen: list[Held] = []
    while changed < goal:
        first = turn % 2 * slots
        path.write_text(spec(f"{first}..{first + slots - 1}", 2 * slots))
        status = app.run(["apply", str(path), "--yes", "--force", "--quiet", "--pin-root", str(root)])
        capsys.readouterr()
        assert status == 0
        changed += slots if turn == 0 else 2 * slots
        fds, alive = len(os.listdir("/proc/self/fd")), settled(mark, slots)
        seen.append(Held(fds, alive, memlock(root, mark), memory(), cgroup.kernel()))
        turn += 1
    warm = seen[3:]
    assert {held.fds for held in warm} == {warm[0].fds}
    assert {held.maps for held in warm} == {slots}
    assert {held.memlock for held in warm} == {warm[0].memlock}, "the same maps take the same"
    assert warm[0].memlock > slots * 64, "and it is told at all"
    process = max(held.process for held in warm) - warm[0].process
    assert process < 16 << 20, f"{process} bytes more in {turn} applies"
    # The later half against the earlier: what leaks grows with every apply, what is merely freed late does not.
    half = len(warm) // 2
    kernel = min(held.kernel for held in warm[half:]) - min(held.kernel for held in warm[:half])
    assert kernel < SLACK, f"{kernel} bytes more of kernel memory: {[held.kernel for held in warm]}"
    figures.append(
        f"leaks: {changed:,} inserts and deletes of inner maps in {turn} applies: {warm[0].fds} fds and {slots:,} maps "
        f"of {warm[0].memlock:,} bytes (fdinfo) after each; memory of the process {warm[0].process >> 20} MB and then "
        f"{process / (1 << 20):+.1f} MB at most; of the kernel {warm[0].kernel >> 20} MB and "
        f"{kernel / (1 << 20):+.1f} MB"
    )
