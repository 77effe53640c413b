"""What keeps a pin root from being removed: the plan of a destroy foresees it, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps
from provisioner.model.errors import RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.observed.snapshot_format import from_bytes, to_bytes
from provisioner.observed.snapshot_take import take
from provisioner.planning.steps import Sweep
from provisioner.project.opening import load
from tests.apply.conftest import HEAD, Bench
from tests.conftest import remove_tree

SPEC = """
inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 8}}
outer_maps:
  outer: {type: hash_of_maps, key: u32, max_entries: 4, inner: one, inner_maps: {1: {entries: {1: 1}}}}
"""


def refused(bench: Bench) -> list[str]:
    """The ids for which a destroy is refused, by its plan as well; nothing goes."""
    before = bench.tree("outer")
    plan = bench.load(SPEC, contents=False).plan_destroy()
    with pytest.raises(RefusedError) as error:
        bench.destroy(SPEC)
    assert [one.rule for one in plan.blocked] == [problem.id for problem in error.value.problems]
    assert all(problem.hint for problem in error.value.problems)
    assert bench.tree("outer") == before
    return [one.rule for one in plan.blocked]


@pytest.mark.parametrize("names", [("sub",), ("sub", "sub/below"), ("a", "b"), ("_lock/sub",), ("_inner/outer/sub",)])
def test_directories_of_others(bench: Bench, names: tuple[str, ...]) -> None:
    bench.apply(SPEC)
    for name in names:
        (bench.root / name).mkdir(parents=True)
    assert refused(bench) == ["foreign-directories"]
    assert {type(step) for step in bench.plan(SPEC).steps} <= {Sweep}
    snapshot = from_bytes(to_bytes(take(bench.load(SPEC).desired)), "snapshot")
    assert snapshot.directories(bench.root) == bench.plan(SPEC).observed.directories
    for name in reversed(names):
        (bench.root / name).rmdir()
    bench.destroy(SPEC)
    assert not bench.root.exists()


@pytest.mark.parametrize("name", ["theirs", "_theirs", "_inner_x", "_lock/theirs", "_inner/theirs"])
def test_pins_of_others(bench: Bench, name: str) -> None:
    bench.apply(SPEC)
    path = bench.root / name
    path.parent.mkdir(exist_ok=True)
    with maps.create(MapShape(MapType.HASH, 4, 4, 8)) as fd:
        bpffs.pin(fd, path)
    assert refused(bench) == ["foreign-pins"]
    assert bench.plan(SPEC).observed.foreign_pins == (name,)
    snapshot = from_bytes(to_bytes(take(bench.load(SPEC).desired)), "snapshot")
    assert snapshot.misplaced_pins(bench.root) == bench.plan(SPEC).observed.misplaced_pins
    assert {type(step) for step in bench.plan(SPEC).steps} <= {Sweep}
    path.unlink()
    bench.destroy(SPEC)
    assert not bench.root.exists()


def test_a_project_in_the_pin_root(bench: Bench) -> None:
    bench.apply(SPEC)
    nested = bench.folder / "nested.yaml"
    nested.write_text(HEAD.replace("edge", "nested") + SPEC)
    inside = load([nested], pin_root=str(bench.root / "nested"))
    inside.apply()
    assert refused(bench) == ["foreign-directories"]
    inside.destroy()
    bench.destroy(SPEC)


def test_pins_of_inner_maps_are_no_directory_of_others(bench: Bench) -> None:
    bench.apply("pin_inner_maps: true\n" + SPEC)
    bench.destroy("pin_inner_maps: true\n" + SPEC)
    assert not bench.root.exists()


def test_a_pin_root_that_is_a_link(bench: Bench, kernel: Path) -> None:
    (kernel / "real").mkdir()
    bench.root.symlink_to("real")
    try:
        with pytest.raises(RefusedError):
            bench.plan(SPEC)
        with pytest.raises(RefusedError):
            bench.load(SPEC).plan_destroy()
    finally:
        bench.root.unlink()
        remove_tree(kernel / "real")
