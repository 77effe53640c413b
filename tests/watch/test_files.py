"""Never a half-read file: what is applied was written by one commit, whatever the moment it is read at."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from provisioner.desired.loading import SpecError
from provisioner.document.inputs import Inputs, checkout_locks
from provisioner.project import Project
from provisioner.project.opening import load
from provisioner.watch.reconcile import Aim, Loading, Reconciler
from tests.problems import raises
from tests.watch.conftest import Watching

Start = Callable[..., Watching]

MAIN = """\
version: 1
name: edge
include: [parts/*.yaml]
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 64}
"""
PART = """\
outer_maps:
  PART:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: rules, inner_maps: {1: {entries: {1: GENERATION}}}}
"""
PARTS = ("a", "b", "c")


def write(folder: Path, generation: int) -> Path:
    """A spec of several files, of which each names its generation."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "edge.yaml").write_text(MAIN)
    for part in PARTS:
        text = PART.replace("PART", part).replace("GENERATION", str(generation))
        (folder / "parts" / f"{part}.yaml").write_text(text)
    return folder


def generations(project: Project) -> set[int]:
    """Which generations a project was put together from."""
    return {int.from_bytes(map_.entries.values[0].tobytes(), "little") for map_ in project.desired.maps.values()}


def digests(*folders: Path) -> set[str]:
    return {f"sha256:{load([folder / 'edge.yaml']).document.digest}" for folder in folders}


# --- a ConfigMap: all files are links through `..data`, which is renamed over ------------------------------------


def config_map(folder: Path) -> Path:
    """A folder as kubelet mounts it."""
    write(folder / "..0", 0)
    (folder / "..data").symlink_to("..0")
    (folder / "edge.yaml").symlink_to("..data/edge.yaml")
    (folder / "parts").symlink_to("..data/parts")
    return folder / "edge.yaml"


def swap(folder: Path, generation: int) -> None:
    """What kubelet does when a ConfigMap changes: write beside it, then one rename."""
    write(folder / f"..{generation}", generation)
    temporary = folder / "..data_tmp"
    temporary.symlink_to(f"..{generation}")
    temporary.rename(folder / "..data")


@contextmanager
def swapping(folder: Path) -> Iterator[None]:
    """Swap without a pause in another thread."""
    stop = threading.Event()

    def work() -> None:
        for generation in count(1):
            if stop.is_set():
                return
            swap(folder, generation)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_no_project_is_put_together_from_two_generations(tmp_path: Path) -> None:
    spec = config_map(tmp_path)
    reconciler = Reconciler(Aim((spec,)), lambda: None, lambda: "")
    taken = torn = 0
    with swapping(tmp_path):
        while taken < 3 or torn < 3:
            before = reconciler.project
            outcome = reconciler.load()
            assert isinstance(outcome, Loading), outcome
            torn += outcome is Loading.TORN
            if outcome is Loading.TORN:
                assert reconciler.project is before
                continue
            taken += 1
            assert reconciler.project is not None
            assert len(generations(reconciler.project)) == 1


def test_a_config_map_is_followed(watching: Start, tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    spec = config_map(folder)
    watch = watching(files=(spec,))
    watch.expect("applied")
    swap(folder, 1)
    assert watch.expect("applied")["summary"]["entries"]["update"] == len(PARTS)
    (folder / "..1" / "parts" / "d.yaml").write_text(PART.replace("PART", "d").replace("GENERATION", "1"))
    assert watch.expect("applied")["summary"]["outer_maps"]["create"] == 1, "a file more that the pattern matches"


# --- Git: files are written one by one, under a lock -------------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    names = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", folder, *names, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits, `one` checked out and `two`; a checkout writes a file every 0.3 s."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    (folder / ".gitattributes").write_text("*.yaml filter=slow\n")
    for name, generation in (("one", 1), ("two", 2)):
        write(folder, generation)
        git(folder, "add", "-A")
        git(folder, "commit", "-m", name)
        git(folder, "tag", name)
    git(folder, "checkout", "one")
    git(folder, "config", "filter.slow.smudge", "sleep 0.3; cat")
    return folder


def test_a_checkout_is_taken_as_a_whole(watching: Start, repository: Path, tmp_path: Path) -> None:
    """Quiet for long enough between two files that only Git's lock tells that it goes on."""
    allowed = digests(write(tmp_path / "first", 1), write(tmp_path / "second", 2))
    watch = watching(files=(repository / "edge.yaml",))
    watch.expect("applied")
    git(repository, "checkout", "two")
    assert watch.expect("applied")["summary"]["entries"]["update"] == len(PARTS)
    assert not [line for line in watch.lines if line["level"] == "error"]
    loaded = {line["spec_digest"] for line in watch.lines if line["event"] == "loaded"}
    assert loaded == allowed


def test_a_checkout_that_was_killed_is_not_taken_for_a_commit(watching: Start, repository: Path) -> None:
    watch = watching(files=(repository / "edge.yaml",))
    watch.expect("applied")
    lock = repository / ".git" / "index.lock"
    lock.touch()
    write(repository, 3)
    assert watch.expect("held")["lock"] == str(lock)
    watch.signal(signal.SIGHUP)
    watch.expect("reload")
    lock.unlink()
    assert watch.expect("applied")["summary"]["entries"]["update"] == len(PARTS)
    assert [line["event"] for line in watch.lines].count("loaded") == 2, "not once under the lock, asked or not"


def test_the_lock_of_a_linked_work_tree_is_its_own(repository: Path, tmp_path: Path) -> None:
    """As git-sync has them: a link to a work tree, which is replaced by a rename."""
    git(repository, "worktree", "add", str(tmp_path / "tree"), "two")
    link = tmp_path / "current"
    link.symlink_to("tree")
    assert checkout_locks([link / "edge.yaml"]) == (repository / ".git/worktrees/tree/index.lock",)
    assert checkout_locks([repository / "parts" / "a.yaml"]) == (repository / ".git/index.lock",)


# --- what counts as a change -------------------------------------------------------------------------------------


def test_everything_that_a_project_is_read_from_is_noted(tmp_path: Path, bpf_object: Callable[[str], Path]) -> None:
    spec = tmp_path / "edge.yaml"
    router = tmp_path / "router.o"
    router.write_bytes(bpf_object("router").read_bytes())
    (tmp_path / "table.csv").write_text("key,value\n1,2\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.yaml").write_text(
        "maps: {m: {type: hash, key: u32, value: u32, max_entries: 8, entries: {from: ../table.csv}}}\n"
    )
    spec.write_text("version: 1\nname: edge\ninclude: ['more/*.yaml']\nobjects: {router: {file: router.o}}\n")
    overlay = tmp_path / "over.yaml"
    overlay.write_text("limits: {delete_percent: 50}\n")
    inputs = Inputs()
    with raises(SpecError, "missing-field"):  # what is broken is looked at all the same
        load([spec], overlays=[overlay], inputs=inputs)
    noted = {os.path.relpath(path, tmp_path) for path in inputs}
    assert noted == {"edge.yaml", "more", "more/one.yaml", "router.o", "table.csv", "over.yaml"}
    for path in list(inputs):
        before = inputs.now()
        if path.is_dir():
            (path / "new.yaml").touch()
        else:
            path.write_bytes(path.read_bytes())  # the same bytes: a write is a change
        assert inputs.now() != before, path


def test_a_file_that_is_missing_is_noted_too(tmp_path: Path) -> None:
    inputs = Inputs()
    inputs.note(tmp_path / "later.yaml")
    assert inputs.noted == inputs.now() == (None,)
    (tmp_path / "later.yaml").touch()
    assert inputs.now() != inputs.noted
