"""Pins outside of the pin root: maps of other loaders that an object uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, links, maps
from provisioner.model.errors import RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action
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
