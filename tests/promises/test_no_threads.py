"""Where no second thread can be had, and where memory ends at any point: all is done in one thread, or nothing is."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import Project
from tests.cli.support import COMMAND, SPEC, Done, environment
from tests.conftest import remove_tree
from tests.promises.cgroup import PidsCgroup
from tests.promises.scenarios import comparable, look

SLOTS: Final = "".join(f"      {slot}: {{entries: {{{slot}: {slot}}}}}\n" for slot in range(3, 40))


COARSE: Final = 8 << 20
FINE: Final = 1 << 20


@pytest.fixture
def project(kernel: Path, tmp_path: Path) -> Iterator[Project]:
    spec, root = tmp_path / "edge.yaml", kernel / "edge"
    spec.write_text(SPEC.replace("inner: rules", "inner: rules\n    update: replace"))
    yield Project(spec, root)
    if root.exists():
        remove_tree(root)


def change(project: Project) -> None:
    """Some inner maps are replaced, and many are new."""
    project.edit("{7: 70}", "{7: 71}")
    project.spec.write_text(project.spec.read_text() + SLOTS)


def apply(project: Project, *before: str, memory: int = resource.RLIM_INFINITY) -> Done:
    """Apply in a process of its own; `before` is a shell command that runs first, `memory` its RLIMIT_AS in bytes."""
    script = "; ".join([*before, 'exec "$@"'])
    words = ("apply", project.spec, "--pin-root", project.root, "--yes", "--format", "json")
    done = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *map(str, words)],
        input="",
        capture_output=True,
        text=True,
        env=environment(OPENBLAS_NUM_THREADS="1"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_an_apply_needs_no_second_thread(project: Project, most: int) -> None:
    with PidsCgroup(f"threads-{most}") as cgroup:
        cgroup.limit(most)
        join = f"echo $$ > {cgroup.path / 'cgroup.procs'}"
        first = apply(project, join)
        assert (first.status, first.document["result"]["status"]) == (0, "applied"), first
        change(project)
        second = apply(project, join)
        assert (second.status, second.document["result"]["status"]) == (0, "applied"), second
    assert project.run("plan").status == 0


def test_memory_that_ends_anywhere_leaves_all_or_nothing(project: Project, figures: list[str]) -> None:
    """Address space from too little to begin with up to enough for all: the last step in smaller ones."""
    assert project.run("apply", "--yes").status == 0
    before, first = look(project.root), project.spec.read_text()
    change(project)
    second = project.spec.read_text()
    ends: dict[int, int] = {}

    def is_enough(memory: int) -> bool:
        done = apply(project, memory=memory)
        ends[done.status] = ends.get(done.status, 0) + 1
        if done.status != 0:
            assert comparable(look(project.root)) == comparable(before), f"{memory:,} bytes: {done}"
        return done.status == 0

    enough = next(memory for memory in range(64 << 20, 4000 << 20, COARSE) if is_enough(memory))
    for memory in range(enough - COARSE, enough + COARSE, FINE):
        project.spec.write_text(first)
        assert project.run("apply", "--yes", "--force").status == 0
        before = look(project.root)
        project.spec.write_text(second)
        is_enough(memory)
    figures.append(f"address space: {sum(ends.values())} limits; exit {ends}")
