"""Pins outside of the pin root: maps of other loaders, and maps of our own where other loaders look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.apply import contents
from provisioner.apply.transaction import Transaction
from provisioner.kernel import bpffs, links, maps
from provisioner.model.errors import ApplyError, HostError, Problem, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.steps import CreateMap
from tests.apply import live
from tests.apply.conftest import Bench

Compile = Callable[[str], Path]
INNER = MapShape(MapType.HASH, 4, 4, 8)


@pytest.fixture
def theirs(bench: Bench, pin_root: Path) -> Iterator[Path]:
    """The pin of another loader's outer map."""
    bench.allow_outside = True
    path = pin_root / "theirs"
    pin_outer(path)
    yield path
    bpffs.unpin(path)


def pin_outer(path: Path, capacity: int = 8) -> int:
    shape = MapShape(MapType.HASH_OF_MAPS, 4, 4, capacity)
    with maps.create(INNER, "dummy") as dummy, maps.create(shape, "tenants", inner=dummy) as outer:
        bpffs.pin_replace(outer, path)
        return maps.info(outer).id


def uses(bench: Bench, pin: str) -> tuple[int, ...]:
    with links.open_program_pin(bench.root / pin) as program:
        return links.program_info(program).map_ids


def verdict(bench: Bench, pin: str) -> int:
    with links.open_program_pin(bench.root / pin) as program:
        return links.run(program, bytes(64))[0]


def reusing(file: Path, pin: Path, more: str = "") -> str:
    return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
objects: {{a: {{file: {file}, programs: {{look: {{}}}}}}}}
outer_maps: {{tenants: {{object: a, pin: {pin}, inner: inner, inner_maps: {{0: {{entries: {{0: 7}}}}}}{more}}}}}
"""


def test_an_object_uses_a_map_of_another_loader(bench: Bench, theirs: Path, bpf_object: Compile) -> None:
    text = reusing(bpf_object("common_map"), theirs)
    bench.settle(text)
    with maps.open_pin(theirs) as fd:
        assert maps.info(fd).id in uses(bench, "look")
    assert verdict(bench, "look") == 7
    assert not (bench.root / "tenants").exists()
    upgraded = text.replace(str(bpf_object("common_map")), str(bpf_object("common_map_v2")))
    bench.settle(upgraded)
    assert verdict(bench, "look") == 7
    bench.destroy(upgraded)
    assert theirs.exists()
    assert not bench.root.exists()


def test_the_object_follows_when_its_owner_replaces_the_map(bench: Bench, theirs: Path, bpf_object: Compile) -> None:
    text = reusing(bpf_object("common_map"), theirs)
    bench.settle(text)
    number = pin_outer(theirs)
    plan, _ = bench.settle(text)
    assert [change.action for change in plan.objects.values()] == [Action.UPDATE]
    assert number in uses(bench, "look")
    assert verdict(bench, "look") == 7


def test_a_map_that_does_not_fit_or_is_missing_is_refused(bench: Bench, theirs: Path, bpf_object: Compile) -> None:
    text = reusing(bpf_object("common_map"), theirs)
    pin_outer(theirs, 16)
    with pytest.raises(RefusedError) as caught:
        bench.apply(text)
    assert [problem.id for problem in caught.value.problems] == ["adopted-shape"]
    bpffs.unpin(theirs)
    for targets in ((), ("a",)):
        with pytest.raises(RefusedError) as caught:
            bench.load(text).apply(targets=targets)
        assert [problem.id for problem in caught.value.problems] == ["adopted-missing"]
    assert not bench.root.exists()


def owned(pin: Path, more: str = "max_entries: 8", object_: str = "type: hash_of_maps, key: u32,") -> str:
    return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
outer_maps:
  tenants: {{pin: {pin}, own: true, {object_} inner: inner, inner_maps: {{0: {{entries: {{0: 7}}}}}}, {more}}}
"""


@pytest.fixture
def place(pin_root: Path) -> Path:
    """A path in a directory that does not exist yet, in one that does."""
    return pin_root / "globals" / "tenants"


def pinned(path: Path) -> int:
    with maps.open_pin(path) as fd:
        return maps.info(fd).id


def test_a_map_is_created_where_another_loader_looks_for_it(bench: Bench, place: Path) -> None:
    text = owned(place)
    plan, _ = bench.settle(text)
    assert plan.steps[0].describe() == f"claim the pin root, and create {place.parent}"
    assert live.outer(place) == {bytes(4): {bytes(4): bytes([7, 0, 0, 0])}}
    assert not (bench.root / "tenants").exists()
    before = pinned(place)
    bench.settle(text.replace("0: 7", "0: 8"))
    assert pinned(place) == before
    bench.settle(owned(place, "max_entries: 16"))
    assert pinned(place) != before, "a map of another size takes the pin"
    bench.destroy(text)
    assert not place.parent.exists()
    assert not bench.root.exists()


def test_the_map_of_an_object_can_be_pinned_elsewhere(bench: Bench, place: Path, bpf_object: Compile) -> None:
    bench.allow_outside = True
    objects = f"objects: {{a: {{file: {bpf_object('common_map')}, programs: {{look: {{}}}}}}}}"
    text = owned(place, object_="object: a,") + objects
    bench.settle(text)
    before = pinned(place)
    assert verdict(bench, "look") == 7
    bench.settle(text.replace(str(bpf_object("common_map")), str(bpf_object("common_map_v2"))))
    assert (verdict(bench, "look"), pinned(place)) == (7, before)
    bench.destroy(text)
    assert not place.parent.exists()


def test_the_directory_of_others_stays(bench: Bench, place: Path) -> None:
    place.parent.mkdir()
    bench.settle(owned(place))
    bench.destroy(owned(place))
    assert place.parent.exists()
    place.parent.rmdir()
    bench.settle(owned(place))
    pin_outer(place.parent / "other")
    bench.destroy(owned(place))
    assert [path.name for path in place.parent.iterdir()] == ["other"], "it was created for the map, and is in use now"


def test_a_map_of_others_is_not_taken_for_our_own(bench: Bench, place: Path) -> None:
    place.parent.mkdir()
    number = pin_outer(place)
    for act in (bench.apply, bench.destroy):
        with pytest.raises(RefusedError) as caught:
            act(owned(place))
        assert {problem.id for problem in caught.value.problems} == {"ownership"}
        bench.root.mkdir(exist_ok=True)
    bench.root.rmdir()
    assert pinned(place) == number
    bench.overrides = Overrides(take_over=True)
    bench.settle(owned(place))
    assert pinned(place) == number
    bench.destroy(owned(place))
    assert not place.exists()


def test_a_path_that_the_spec_leaves_is_pruned(bench: Bench, place: Path) -> None:
    bench.settle(owned(place))
    without = "maps: {switch: {type: array, key: u32, value: u32, max_entries: 1}}"
    for _ in range(3):  # an apply that does not prune keeps the record of it
        plan, _ = bench.apply(without)
        assert plan.observed.other_pins == (str(place),)
    bench.overrides = Overrides(prune=True, approve_deletes=True)
    bench.settle(without)
    assert not place.exists()
    bench.destroy(without)
    assert not place.parent.exists()


def test_a_failure_leaves_no_pin_and_no_directory(bench: Bench, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = owned(place) + "maps: {switch: {type: array, key: u32, value: u32, max_entries: 1, after: [tenants]}}"
    create = contents.create

    def fails(tx: Transaction, step: CreateMap) -> None:
        if step.map == "switch":
            raise HostError(Problem("injected"))
        create(tx, step)

    monkeypatch.setattr(contents, "create", fails)
    with pytest.raises(ApplyError) as caught:
        bench.apply(text)
    assert caught.value.status == "rolled_back"
    assert not place.parent.exists()
    assert not bench.root.exists()


def test_others_must_not_be_able_to_write_the_directory(bench: Bench, place: Path) -> None:
    place.parent.mkdir()
    place.parent.chmod(0o777)
    with pytest.raises(RefusedError) as caught:
        bench.apply(owned(place))
    assert [problem.id for problem in caught.value.problems] == ["pin-root-writable"]
    with pytest.raises(HostError) as elsewhere:
        bench.apply(owned(bench.folder / "tenants"))
    assert [problem.id for problem in elsewhere.value.problems] == ["not-on-bpffs"]


def test_a_snapshot_has_the_maps_that_are_pinned_elsewhere(bench: Bench, place: Path) -> None:
    bench.settle(owned(place))
    project = bench.load(owned(place))
    assert project.plan(against=project.snapshot()).steps == ()
