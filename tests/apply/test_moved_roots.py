"""A project in another pin root: the directory is renamed, with all that is in it, or the move is refused."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.apply import Options, contents
from provisioner.kernel import bpffs, links, maps
from provisioner.kernel.locking import Lock, lock
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import (
    ApplyError,
    HostError,
    InputError,
    LockedError,
    Problem,
    ProvisionerError,
    RefusedError,
)
from provisioner.model.location import Location
from provisioner.model.moved import Move, Moves
from provisioner.model.pins import LOCK
from provisioner.observed import metamap
from provisioner.planning.hazards import Overrides
from provisioner.planning.steps import MoveRoot
from provisioner.project import Project, locks
from provisioner.project.opening import load
from provisioner.report.model import Outcome
from provisioner.report.sentences import outcome
from provisioner.views.plan_report import report
from provisioner.watch.machine import Verdict
from provisioner.watch.reconcile import Aim, Loading, Reconciler
from tests.apply.conftest import HEAD, Bench
from tests.conftest import Veth, remove_tree

SPEC = """
pin_inner_maps: true
pin_mode: "0600"
inner_templates: {rules: {type: hash, key: u32, value: u32, max_entries: 8}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: rules
    inner_maps: {1: {entries: {1: 1}}, 2: {}}
maps:
  index: {type: hash, key: u32, value: u32, max_entries: 8, contents: present, entries: {7: 7}}
"""


class Moving:
    """A project that is live in one pin root, and that a spec has in another one."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.old, self.new = bench, bench.root, bench.root.with_name("edge-new")
        bench.overrides, bench.allow_outside = Overrides(), True

    def text(self, spec: str = SPEC, *, also: str = "", old: Path | None = None) -> str:
        return f"{spec}\nmoved: [{{from: {old or self.old}, to: {self.new}}}{also}]\n"

    def load(self, text: str = "") -> Project:
        spec = self.bench.folder / "moved.yaml"
        spec.write_text(HEAD + (text or self.text()))
        return load([spec], pin_root=str(self.new), allow_outside=True)

    @property
    def roots(self) -> tuple[bool, bool]:
        """Whether the old and the new pin root exist."""
        return self.old.exists(), self.new.exists()


@pytest.fixture
def moving(bench: Bench) -> Iterator[Moving]:
    made = Moving(bench)
    yield made
    if made.new.exists():
        remove_tree(made.new)


@pytest.fixture
def live(moving: Moving) -> Moving:
    """The same, with an entry that another process wrote."""
    moving.bench.settle(SPEC)
    with maps.open_pin(moving.old / "index") as fd:
        maps.update(fd, bytes(4), b"\x09\0\0\0")
    return moving


def pinned(root: Path) -> dict[str, int]:
    """The inode of all that is in a pin root, by its path in it."""
    return {str(path.relative_to(root)): path.stat().st_ino for path in root.rglob("*")}


def without_record(pins: dict[str, int]) -> dict[str, int]:
    """The record is written again by a rollback."""
    return {path: inode for path, inode in pins.items() if path != "_meta"}


def test_all_that_is_pinned_is_in_the_new_pin_root(live: Moving) -> None:
    before, project = pinned(live.old), live.load()
    plan, _ = project.apply()
    assert [step.describe() for step in plan.steps] == [f"rename the pin root {live.old} to {live.new}"]
    (node,) = report(plan).nodes
    assert (node.label, node.address) == (f"{live.old} -> {live.new}", str(live.new))
    assert list(outcome(report(plan), Outcome("applied", 0.5, 0, 1, 1))) == [
        "Applied: 1 address moved in 0.50 s, 0 grace periods."
    ]
    assert (pinned(live.new), live.roots) == (before, (False, True))
    again, _ = live.load().apply()
    assert again.steps == ()
    assert load([live.bench.folder / "spec.yaml"], pin_root=str(live.new)).plan().steps == (), "without `moved`, too"


def test_all_else_changes_in_the_new_pin_root(live: Moving) -> None:
    with maps.open_pin(live.old / "tenants") as fd:
        number = maps.info(fd).id
    renamed = SPEC.replace("tenants:", "customers:").replace("2: {}", "2: {}, 3: {}").replace("{1: 1}", "{1: 10}")
    plan, _ = live.load(live.text(renamed, also=", {from: tenants, to: customers}")).apply(
        Overrides(approve_deletes=True)
    )
    assert isinstance(plan.steps[0], MoveRoot)
    with maps.open_pin(live.new / "customers") as fd:
        assert maps.info(fd).id == number
    assert metamap.read(live.new / "_meta").pins == ("customers", "index")
    assert len(list((live.new / "_inner" / "customers").iterdir())) == 3


def test_an_attachment_stays_attached(moving: Moving, bpf_object: Callable[[str], Path], veth: Veth) -> None:
    attach = f"attach: {{xdp: {{interface: {veth.name}, mode: generic}}}}"
    programs = f"variables: {{level: -2}}, programs: {{globals: {{{attach}}}}}"
    text = f"objects: {{loader: {{file: {bpf_object('globals')}, {programs}}}}}\n"
    moving.bench.settle(text)
    before = pinned(moving.old)
    with links.open_link_pin(moving.old / "_link_globals") as link:
        number = links.info(link).id
    moving.load(moving.text(text)).apply()
    assert pinned(moving.new) == before
    with links.open_link_pin(moving.new / "_link_globals") as link:
        assert links.info(link).id == number
    assert moving.load(moving.text(text)).plan().steps == ()


@pytest.mark.parametrize("fails_at", ["the rename", "a later step", "the verification"])
def test_a_failure_brings_the_old_pin_root_back(fails_at: str, live: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    before, problem = pinned(live.old), Problem("the test lets this fail", id="test")

    def fail(*_: object) -> None:
        raise HostError(problem)

    def refuse(*_: object) -> None:
        raise KernelError("rename", errno.EPERM)

    match fails_at:
        case "the rename":
            monkeypatch.setattr(bpffs, "rename", refuse)
        case "a later step":
            monkeypatch.setattr(contents, "publish", fail)
        case _:
            monkeypatch.setattr("provisioner.project.project.remaining", lambda *_: (problem,))
    with pytest.raises(ProvisionerError) as failed:
        live.load(live.text(SPEC.replace("2: {}", "2: {}, 3: {}"))).apply()
    assert failed.value.status == ("rolled_back" if fails_at != "the rename" else HostError.status)
    assert (without_record(pinned(live.old)), live.roots) == (without_record(before), (True, False))


def test_one_that_is_not_taken_back_says_where_it_is(live: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.project.project.remaining", lambda *_: (Problem("so the test says", id="test"),))
    before = pinned(live.old)
    with pytest.raises(ApplyError) as failed:
        live.load().apply(options=Options(rollback=False))
    assert [problem.id for problem in failed.value.problems] == ["test"], "the lock was not lost"
    assert failed.value.live == (f"pin root {live.new}, which was {live.old}",)
    assert pinned(live.new) == before


@pytest.mark.parametrize("before_it", [True, False])
def test_killed_at_the_rename_the_next_apply_finishes(before_it: bool, live: Moving) -> None:
    before = pinned(live.old)
    child = os.fork()
    if not child:
        rename = bpffs.rename

        def killed(old: Path, new: Path) -> None:
            if not before_it:
                rename(old, new)
            os._exit(0)

        bpffs.rename = killed
        try:
            live.load().apply()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert live.roots == ((True, True) if before_it else (False, True))
    live.load().apply()
    assert (pinned(live.new), live.roots) == (before, (False, True))


def test_snapshots_of_both_specs_and_a_saved_plan_know_the_move(live: Moving) -> None:
    project = live.load()
    online = project.plan()
    for snapshot in (project.snapshot(), live.bench.load(SPEC).snapshot()):
        assert snapshot.header.pin_root == str(live.old)
        offline = project.plan(against=snapshot)
        assert [step.describe() for step in offline.steps] == [step.describe() for step in online.steps]
    assert offline.digest == online.digest
    project.apply(expected=online.digest)
    with pytest.raises(RefusedError) as refused:
        project.apply(expected=online.digest)
    assert [problem.id for problem in refused.value.problems] == ["stale-plan"]
    assert project.plan(against=project.snapshot()).steps == ()


def test_readers_and_sessions_find_what_is_not_moved_yet(live: Moving) -> None:
    project, before = live.load(), pinned(live.old)
    assert [(node.address, node.after is not None) for node in project.live().nodes] == [
        ("tenants", True),
        ("index", True),
    ]
    assert f"pin: {live.old / 'index'}" in project.export().spec
    assert project.explain("tenants[1]")
    with project.session() as session:
        session.apply()
    assert pinned(live.new) == before


def test_destroy_takes_it_away_where_it_is(live: Moving) -> None:
    live.load().destroy()
    assert live.roots == (False, False)
    live.load().apply()
    assert live.roots == (False, True), "on a new host, a move does nothing"


@pytest.mark.parametrize("has_lock", [False, True])
def test_destroy_leaves_no_pin_root_that_a_killed_apply_created(has_lock: bool, live: Moving) -> None:
    live.new.mkdir()
    if has_lock:
        (live.new / LOCK).mkdir(mode=0o700)
        with lock(live.new):
            live.load().destroy(targets=["index"])
            assert live.roots == (True, True)
    live.load().destroy()
    assert live.roots == (False, False)


def test_both_pin_roots_live_is_refused(live: Moving) -> None:
    live.new.mkdir()
    with maps.open_pin(live.old / "index") as fd:
        bpffs.pin(fd, live.new / "theirs")
    before = pinned(live.old)
    for verb in (live.load().apply, live.load().destroy):
        with pytest.raises(RefusedError) as refused:
            verb()
        assert "moved-both-live" in [problem.id for problem in refused.value.problems]
    assert pinned(live.old) == before


def test_what_is_not_the_projects_is_not_moved(live: Moving) -> None:
    with maps.open_pin(live.old / "index") as fd:
        bpffs.pin(fd, live.old / "theirs")
    (live.old / "nested").mkdir()
    before = pinned(live.old)
    with pytest.raises(RefusedError) as refused:
        live.load().apply(Overrides(take_over=True))
    assert [problem.id for problem in refused.value.problems] == ["foreign-pins", "foreign-directories"]
    assert (pinned(live.old), live.roots) == (before, (True, False))


def test_the_pin_root_of_another_project_takes_an_option(live: Moving) -> None:
    text = live.text()
    other = live.bench.folder / "other.yaml"
    other.write_text("version: 1\nname: other\n" + text)
    project = load([other], pin_root=str(live.new))
    with pytest.raises(RefusedError) as refused:
        project.apply()
    assert [problem.id for problem in refused.value.problems] == ["ownership"]
    assert f"{live.old}, which the spec moves, belongs to project `edge`" in refused.value.problems[0].what
    with pytest.raises(RefusedError):
        project.destroy()
    project.apply(Overrides(take_over=True))
    assert metamap.read(live.new / "_meta").project == "other"
    assert project.plan().steps == ()


def test_an_untrusted_pin_root_is_not_moved(live: Moving) -> None:
    link = live.old.with_name("edge-link")
    link.symlink_to(live.old)
    try:
        cases = (link, "pin-root-symlink"), (live.old, "pin-root-owner")
        for old, expected in cases:
            os.chown(live.old, 1234 if old == live.old else 0, -1)
            project = live.load(live.text(old=old))
            for verb in (project.plan, project.apply, project.destroy):
                with pytest.raises(RefusedError) as refused:
                    verb()
                assert [problem.id for problem in refused.value.problems] == [expected]
        assert live.roots == (True, False)
    finally:
        os.chown(live.old, 0, -1)
        link.unlink()


def test_another_bpffs_is_refused(live: Moving, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    with pytest.raises(HostError) as refused:
        live.load(live.text(old=tmp_path / "plain")).plan()
    assert [problem.id for problem in refused.value.problems] == ["not-on-bpffs"]


def test_each_of_two_pin_roots_has_one_writer(live: Moving) -> None:
    for root in (live.old, live.new):
        live.new.mkdir(exist_ok=True)
        with lock(root), pytest.raises(LockedError) as locked:
            live.load().apply()
        assert [problem.address for problem in locked.value.problems] == [str(root)]
    assert pinned(live.new) == {}


def test_a_process_that_waits_for_the_old_lock_finds_the_move_done(live: Moving) -> None:
    begin, started = os.pipe(), os.pipe()
    child = os.fork()  # before there is a lock: it would inherit that
    if not child:
        status = 1
        try:
            sleep = time.sleep

            def polling(seconds: Any) -> None:
                os.write(started[1], b".")
                sleep(seconds)

            time.sleep = polling
            os.read(begin[0], 1)
            _, result = live.load().apply(lock_timeout=60)
            status = 0 if result.status.value == "unchanged" else 2
        finally:
            os._exit(status)
    try:
        with lock(live.old):
            os.write(begin[1], b".")
            os.read(started[0], 1)
            bpffs.rename(live.old, live.new)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        for number in (*begin, *started):
            os.close(number)


@pytest.mark.parametrize(
    ("moved", "id_"),
    [
        ("{from: /sys/fs/bpf/a, to: /sys/fs/bpf/b}", "moved-unknown"),
        ("{from: /sys/fs/bpf/edge, to: /sys/fs/bpf/edge/new}", "moved-mismatch"),
        ("{from: /sys/fs/bpf/edge, to: /sys/fs/bpf/edge/}", "moved-mismatch"),
        ("{from: tenants, to: /sys/fs/bpf/edge}", "moved-mismatch"),
    ],
)
def test_a_move_that_names_no_pin_root_is_an_error_at_its_place(moved: str, id_: str, moving: Moving) -> None:
    with pytest.raises(InputError) as wrong:
        moving.load(f"{SPEC}\nmoved: [{moved}]\n")
    assert [(problem.id, problem.where is not None) for problem in wrong.value.problems] == [(id_, True)]


def test_a_running_watch_follows_the_move(live: Moving) -> None:
    spec = live.bench.folder / "watched.yaml"

    def write(root: Path, text: str) -> None:
        spec.write_text(f"{HEAD}pin_root: {root}\n{text}")

    write(live.old, SPEC)
    reconciler = Reconciler(Aim((spec,)), lambda: None, lambda: "")
    assert reconciler.load() is Loading.DONE
    assert reconciler.check().verdict is Verdict.CONVERGED
    before = pinned(live.old)
    write(live.new, SPEC)
    assert reconciler.load() is not Loading.DONE, "another project"
    write(live.new, live.text())
    assert reconciler.load() is Loading.DONE
    assert reconciler.check().verdict is Verdict.APPLIED
    assert pinned(live.new) == before


def test_paths_are_in_the_old_pin_root_until_it_is_moved() -> None:
    root, move = Path("/bpf/new"), Move("/bpf/old", "/bpf/new", Location("edge.yaml", 1, 1))
    moves = Moves(root=move)
    for path, now in (("/bpf/new/a", "/bpf/old/a"), ("/bpf/new/_inner/a/7", "/bpf/old/_inner/a/7"), ("/x/a", "/x/a")):
        assert moves.at(Path(path), root) == Path(now)
        assert replace(moves, root=None).at(Path(path), root) == Path(path)


def test_one_that_appears_after_the_locks_is_not_moved(live: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process with the old spec creates it at that moment."""
    aside = live.old.with_name("aside")
    bpffs.rename(live.old, aside)

    @contextmanager
    def locking(directory: Path, timeout: float = 0.0, *, create: bool = False) -> Iterator[Lock]:
        with lock(directory, timeout, create=create) as held:
            if directory == live.new:
                bpffs.rename(aside, live.old)
            yield held

    monkeypatch.setattr(locks, "lock", locking)
    with pytest.raises(LockedError) as locked:
        live.load().apply()
    assert [problem.address for problem in locked.value.problems] == [str(live.old)]
    assert live.roots == (True, False)
    monkeypatch.undo()
    live.load().apply()
    assert live.roots == (False, True)
