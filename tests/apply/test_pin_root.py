"""The pin root: only we and root can change it, and a destroy removes nothing of others, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.apply import Options
from provisioner.apply.progress import Progress
from provisioner.doctor.checks import examine
from provisioner.doctor.finding import Level
from provisioner.kernel import bpffs, maps, trust
from provisioner.kernel.bpffs import list_pins
from provisioner.model.errors import ApplyError, ProvisionerError, RefusedError
from provisioner.model.pins import LOCK
from provisioner.project.opening import load
from tests.apply.conftest import Bench
from tests.conftest import remove_tree
from tests.kernel.shapes import HASH

SPEC = """
inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 8}}
outer_maps: {outer: {type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {1: {entries: {1: 1}}}}}
"""
OTHERS = 65534


def ids(error: ProvisionerError) -> list[str]:
    return [problem.id for problem in error.problems]


def test_a_link_outside_of_the_bpffs_is_refused_by_all(bench: Bench, tmp_path: Path) -> None:
    """`plan` and `show` followed it, and then `apply` and `destroy` refused it."""
    bench.apply(SPEC)
    real, link = bench.root, tmp_path / "link"
    link.symlink_to(real)
    bench.root = link
    try:
        for act in (bench.plan, bench.apply, bench.destroy):
            with pytest.raises(RefusedError) as refused:
                act(SPEC)
            assert ids(refused.value) == ["pin-root-symlink"]
    finally:
        bench.root = real


# --- who can write it --------------------------------------------------------------------------------------------


def owned(root: Path) -> None:
    os.chown(root, OTHERS, -1)


def world_writable(root: Path) -> None:
    root.chmod(0o777)


def sticky(root: Path) -> None:
    root.chmod(0o1777)


def group_writable(root: Path) -> None:
    os.chown(root, -1, OTHERS)
    root.chmod(0o770)


def parent_owned(root: Path) -> None:
    os.chown(root.parent, OTHERS, -1)


def linked(root: Path) -> None:
    root.rename(root.with_name("real"))
    root.symlink_to("real")


def parent_linked(root: Path) -> None:
    root.parent.rename(root.parent.with_name("real"))
    root.parent.symlink_to("real")


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (owned, "pin-root-owner"),
        (parent_owned, "pin-root-owner"),
        (world_writable, "pin-root-writable"),
        (sticky, "pin-root-writable"),
        (group_writable, "pin-root-writable"),
        (linked, "pin-root-symlink"),
        (parent_linked, "pin-root-symlink"),
    ],
)
def test_a_pin_root_that_others_can_change_is_refused(
    bench: Bench, spoil: Callable[[Path], None], expected: str, is_live: bool
) -> None:
    top = bench.root
    bench.root = top / "below" / "root"
    try:
        bench.root.mkdir(parents=True, mode=0o755)
        if is_live:
            bench.apply(SPEC)
        if spoil is group_writable and is_live:
            (bench.root / "_meta").chmod(0o600)
        spoil(bench.root)
        before = sorted(os.listdir(bench.root))
        for act in (bench.plan, bench.apply, bench.destroy):
            with pytest.raises(RefusedError) as refused:
                act(SPEC)
            assert ids(refused.value) == [expected]
        assert sorted(os.listdir(bench.root)) == before, "nothing is touched"
    finally:
        for name in os.listdir(top):
            if (top / name).is_symlink():
                (top / name).unlink()
        for directory in top.glob("*/"):
            for each in directory.iterdir():
                if each.is_symlink():
                    each.unlink()
        remove_tree(top)


def test_the_mount_point_can_be_sticky_and_writable(bench: Bench, bpffs_mount: Path) -> None:
    assert bpffs_mount.stat().st_mode & 0o1777 == 0o1777, "as `mount -t bpf` makes it"
    bench.settle(SPEC)


def test_a_group_that_the_spec_lets_write_is_no_other_user(bench: Bench) -> None:
    text = f"pin_mode: '0660'\npin_group: '{OTHERS}'\n{SPEC}"
    bench.apply(text)
    bench.apply(text)
    assert bench.root.stat().st_mode & 0o777 == 0o770
    assert bench.plan(text).steps == ()


def test_doctor_reports_a_pin_root_that_others_can_change(bench: Bench) -> None:
    bench.apply(SPEC)
    before = {finding.id: finding for finding in examine()}["pin roots"]
    assert before.level is not Level.BAD
    world_writable(bench.root)
    after = {finding.id: finding for finding in examine()}["pin roots"]
    assert after.level is Level.BAD
    assert str(bench.root) in after.what
    bench.root.chmod(0o755)
    assert list(trust.problems(bench.root)) == []


# --- what a destroy meets ----------------------------------------------------------------------------------------


def subdirectory(root: Path) -> None:
    (root / "sub").mkdir()
    with maps.create(HASH) as fd:
        bpffs.pin(fd, root / "sub" / "map")


def empty_directory(root: Path) -> None:
    (root / "sub").mkdir()


def symlink(root: Path) -> None:
    (root / "link").symlink_to("outer")


def symlink_to_directory(root: Path) -> None:
    (root / "link").symlink_to(".")


def pin(root: Path) -> None:
    with maps.create(HASH) as fd:
        bpffs.pin(fd, root / "other")


@pytest.mark.parametrize(
    ("add", "expected"),
    [
        (subdirectory, "foreign-directories"),
        (empty_directory, "foreign-directories"),
        (symlink, "foreign-pins"),
        (symlink_to_directory, "foreign-pins"),
        (pin, "foreign-pins"),
    ],
)
def test_a_destroy_is_refused_before_it_removes_anything(
    bench: Bench, add: Callable[[Path], None], expected: str
) -> None:
    bench.apply(SPEC)
    add(bench.root)
    before = sorted(path.name for path in bench.root.rglob("*"))
    with pytest.raises(RefusedError) as refused:
        bench.destroy(SPEC)
    assert ids(refused.value) == [expected]
    assert sorted(path.name for path in bench.root.rglob("*")) == before
    assert bench.plan(SPEC).steps == (), "the project is as it was"
    if (bench.root / "link").is_symlink():
        (bench.root / "link").unlink()


def test_a_nested_project_keeps_the_outer_one(bench: Bench) -> None:
    bench.apply(SPEC)
    spec = bench.folder / "spec.yaml"
    nested = load([spec], pin_root=str(bench.root / "nested"))
    nested.apply(bench.overrides)
    with pytest.raises(RefusedError):
        bench.destroy(SPEC)
    assert nested.plan(bench.overrides).steps == ()
    nested.destroy(bench.overrides)
    bench.destroy(SPEC)
    assert not bench.root.exists()


def test_a_destroy_that_fails_lists_what_still_exists(bench: Bench) -> None:
    """A directory appears after the last check: all pins are gone by then, and none is called live."""
    bench.apply(SPEC)
    project = bench.load(SPEC, contents=False)

    def interrupted() -> str:
        if not list_pins(bench.root) or "outer" not in list_pins(bench.root):
            (bench.root / "late").mkdir(exist_ok=True)
        return ""

    with pytest.raises(ApplyError) as failed:
        project.destroy(bench.overrides, Options(rollback=False, interrupted=interrupted))
    assert failed.value.exit_code == 3
    assert failed.value.status == "partial"
    assert set(failed.value.live) == {"directory late", f"pin root {bench.root}"}
    assert set(os.listdir(bench.root)) <= {"late", LOCK}
    (bench.root / "late").rmdir()
    bench.destroy(SPEC)
    assert not bench.root.exists()


def test_an_exception_in_a_callback_is_taken_back(bench: Bench) -> None:
    """What a user of the library raises in `progress` ends the apply as any exception does."""
    bench.apply(SPEC)
    before = bench.tree("outer")

    def fail(_what: str, _progress: Progress) -> None:
        raise LookupError("of the caller")

    bench.options = Options(progress=fail)
    with pytest.raises(ApplyError) as failed:
        bench.apply(SPEC.replace("{1: 1}", "{1: 2}"))
    assert (failed.value.status, ids(failed.value)) == ("rolled_back", ["bug"])
    assert isinstance(failed.value.__cause__, LookupError)
    assert bench.tree("outer") == before
