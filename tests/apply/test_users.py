"""Programs of others that use a map: plans that recreate, forget or destroy it name them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kernel import bpffs
from provisioner.model.errors import RefusedError
from provisioner.planning.hazards import Overrides
from tests.apply.conftest import Bench


def spec(room: int = 4, plain: str = "") -> str:
    return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: {room}, inner: one, inner_maps: {{1: {{entries: {{1: 1}}}}}}}}
{plain}
"""


@pytest.fixture
def reader(bench: Bench, bpf_object: Callable[[str], Path]) -> Iterator[Path]:
    """A program that another process loaded with the project's outer map, by its pin."""
    bench.apply(spec())
    pin = bench.root.parent / "reader"
    words = ["bpftool", "prog", "load", str(bpf_object("reader")), str(pin)]
    words += ["map", "name", "outer", "pinned", str(bench.root / "outer")]
    subprocess.run(words, check=True, capture_output=True)
    yield pin
    pin.unlink()


@pytest.mark.usefixtures("reader")
def test_a_resized_map_names_them_and_needs_an_option(bench: Bench) -> None:
    plan = bench.plan(spec(room=16))
    assert [(one.id, one.address) for one in plan.hazards] == [("map-resized", "outer")]
    assert "reader (id " in plan.hazards[0].message
    bench.overrides = Overrides()
    (refusal,) = bench.plan(spec(room=16)).blocked
    assert (refusal.rule, refusal.address) == ("recreate", "outer")
    assert "reader (id " in refusal.message


@pytest.mark.usefixtures("reader")
def test_destroy_names_them(bench: Bench) -> None:
    plan = bench.load(spec()).plan_destroy()
    assert [(one.id, one.address) for one in plan.hazards] == [("map-in-use", "outer")]
    assert "reader (id " in plan.hazards[0].message


@pytest.mark.usefixtures("reader")
def test_a_snapshot_knows_them(bench: Bench) -> None:
    snapshot = bench.load(spec()).snapshot()
    (hazard,) = bench.load(spec(room=16)).plan(bench.overrides, against=snapshot).hazards
    assert "reader (id " in hazard.message


@pytest.mark.usefixtures("reader")
def test_a_map_that_lost_its_pin_is_not_replaced_without_a_word(bench: Bench) -> None:
    live = bench.plan(spec()).observed.maps["outer"].id
    bpffs.unpin(bench.root / "outer")
    bench.overrides = Overrides()
    snapshot = bench.load(spec()).snapshot()
    for plan in (bench.plan(spec()), bench.load(spec()).plan(against=snapshot)):
        (refusal,) = plan.blocked
        assert (refusal.rule, refusal.address) == ("recreate", "outer")
        assert "reader (id " in refusal.message
        assert f"bpftool map pin id {live} {bench.root}/outer" in refusal.remedy
    with pytest.raises(RefusedError):
        bench.apply(spec())
    command = refusal.remedy.partition("`")[2].partition("`")[0]
    subprocess.run(command.split(), check=True)
    assert bench.plan(spec()).steps == ()
    bpffs.unpin(bench.root / "outer")
    bench.overrides = Overrides(allow_recreate=True)
    bench.settle(spec())
    assert bench.plan(spec()).observed.maps["outer"].id != live


def test_a_map_that_nothing_holds_is_created_again(bench: Bench) -> None:
    bench.apply(spec())
    bpffs.unpin(bench.root / "outer")
    bench.overrides = Overrides()
    bench.settle(spec())
