"""Before its first step, apply knows whether a live outer map takes its inner maps: by each field, in both types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from provisioner.apply import template_probe
from provisioner.kernel import bpffs, maps, objects
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from provisioner.planning.hazards import Overrides
from tests import ledger, recorder
from tests.apply import live
from tests.apply.conftest import Bench
from tests.cli.support import run
from tests.features import need_inner_locks
from tests.problems import raises

OUTER: Final = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
HASH: Final = MapShape(MapType.HASH, 4, 8, 16)
ARRAY: Final = MapShape(MapType.ARRAY, 4, 8, 16)

TEMPLATE_LINE: Final = 4

ONE: Final = "1: {entries: {1: 10}}"


@dataclass(frozen=True, slots=True)
class Theirs:
    """An outer map that another tool made, with a template of its choice, and a spec that adopts it."""

    bench: Bench
    folder: Path

    def make(self, outer: MapType, template: MapShape, *, filled: bool) -> None:
        path = self.folder / "theirs"
        with (
            maps.create(template, "template") as inner,
            maps.create(MapShape(outer, 4, 4, 8), "theirs", inner=inner) as fd,
        ):
            bpffs.pin(fd, path)
            if filled:
                maps.insert_inner(fd, bytes((5, 0, 0, 0)), inner)

    def spec(self, outer: MapType, template: str, inner_maps: str = ONE) -> str:
        return f"""inner_templates:
  one: {{{template}}}
outer_maps:
  theirs:
    {{pin: {self.folder}/theirs, type: {outer.word}, key: u32, max_entries: 8, inner: one,
     extra_inner_maps: keep, inner_maps: {{{inner_maps}}}}}
"""

    def refusal(self, text: str) -> str:
        with pytest.raises(RefusedError) as refused:
            self.bench.apply(text)
        (problem,) = refused.value.problems
        assert problem.where is not None
        assert problem.where.line == TEMPLATE_LINE
        assert problem.where.column == 3
        return problem.what


@pytest.fixture
def theirs(bench: Bench, pin_root: Path) -> Theirs:
    return Theirs(bench, pin_root)


HASH_SPEC: Final = "type: hash, key: u32, value: u64, max_entries: 16"
ARRAY_SPEC: Final = "type: array, key: u32, value: u64, max_entries: 16"

DIFFERENT: Final = {
    "type": (HASH, "type: lru_hash, key: u32, value: u64, max_entries: 16, contents: present", "type lru_hash in"),
    "key size": (HASH, "type: hash, key: u16, value: u64, max_entries: 16", "key_size 2 in the template, 4 live"),
    "value size": (HASH, "type: hash, key: u32, value: u32, max_entries: 16", "value_size 4 in the template, 8 live"),
    "max_entries": (ARRAY, f"{ARRAY_SPEC[:-2]}8", "max_entries 8 in the template, 16 live"),
    "program flags": (
        replace(HASH, map_flags=MapFlag.RDONLY_PROG),
        HASH_SPEC,
        "neither in the template, rdonly_prog live",
    ),
    "inner_map, there": (replace(ARRAY, map_flags=MapFlag.INNER_MAP), ARRAY_SPEC, "no inner_map in the template"),
    "inner_map, here": (ARRAY, f"{ARRAY_SPEC}, flags: [inner_map]", "inner_map in the template, no inner_map live"),
}


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_from_an_empty_map_s_template_is_refused_and_named(
    theirs: Theirs, name: str, outer: MapType
) -> None:
    template, spec, says = DIFFERENT[name]
    theirs.make(outer, template, filled=False)
    message = theirs.refusal(theirs.spec(outer, spec))
    if outer is MapType.HASH_OF_MAPS and "flags" in message:  # each flag can be tried there
        assert "map_flags 0x" in message
    else:
        assert says in message
    assert live.entries(theirs.folder / "theirs") == {}


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_from_the_live_inner_maps_is_refused_and_named(theirs: Theirs, name: str, outer: MapType) -> None:
    template, spec, says = DIFFERENT[name]
    theirs.make(outer, template, filled=True)
    message = theirs.refusal(theirs.spec(outer, spec))
    assert (says in message) or "map_flags 0x" in message
    assert " in the template, " in message


@pytest.mark.parametrize("filled", [True, False])
def test_a_flag_of_the_template_is_named_with_both_values(theirs: Theirs, filled: bool) -> None:
    theirs.make(MapType.HASH_OF_MAPS, HASH, filled=filled)
    message = theirs.refusal(theirs.spec(MapType.HASH_OF_MAPS, f"{HASH_SPEC}, flags: [no_prealloc]"))
    assert "map_flags 0x1 (no_prealloc) in the template, 0x0 live" in message


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("filled", [True, False])
def test_what_the_live_map_takes_is_applied(theirs: Theirs, outer: MapType, filled: bool) -> None:
    theirs.make(outer, HASH, filled=filled)
    theirs.bench.settle(theirs.spec(outer, HASH_SPEC))
    assert len(live.entries(theirs.folder / "theirs")) == 1 + filled


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("filled", [True, False])
def test_a_special_field_of_the_live_values_is_named(
    theirs: Theirs, bpf_object: Callable[[str], Path], outer: MapType, filled: bool
) -> None:
    need_inner_locks()
    with objects.load(bpf_object("held")) as loaded:
        bpffs.pin(loaded.maps[outer.word], theirs.folder / "theirs")
        if filled:
            maps.insert_inner(loaded.maps[outer.word], bytes((5, 0, 0, 0)), loaded.maps["locked"])
    text = theirs.spec(outer, 'type: hash, key: u32, value: "bytes[16]", max_entries: 16', "1: {}")
    # A live inner map tells all of them, the verifier's log the first.
    message = "special fields none in the template, bpf_spin_lock at 0 live"
    if not filled:
        message = "special field none in the template, bpf_spin_lock at byte 0 live"
    assert message in theirs.refusal(text)


def test_flags_that_the_kernel_does_not_tell_are_found_out_by_the_first_write(theirs: Theirs) -> None:
    """An empty ARRAY_OF_MAPS: the verifier knows nothing of no_prealloc. Nothing is changed when it is refused."""
    theirs.make(MapType.ARRAY_OF_MAPS, HASH, filled=False)
    text = theirs.spec(MapType.ARRAY_OF_MAPS, f"{HASH_SPEC}, flags: [no_prealloc]")
    plan = theirs.bench.load(text).plan(probe=True)
    assert [hazard.id for hazard in plan.hazards if hazard.address == "theirs"] == ["template-untold"]
    with raises(RefusedError, "template-mismatch"):
        theirs.bench.apply(text)
    assert live.entries(theirs.folder / "theirs") == {}
    assert not theirs.bench.root.exists()


def test_the_way_out_for_a_map_of_ours_is_replace(bench: Bench) -> None:
    """Without its record, nothing says with which template an empty ARRAY_OF_MAPS was made."""

    def text(slots: str, flags: str = "") -> str:
        return (
            f"inner_templates: {{inner: {{{HASH_SPEC}{flags}}}}}\n"
            f"outer_maps: {{tenants: {{type: array_of_maps, key: u32, max_entries: 4, inner: inner, {slots}}}}}\n"
        )

    bench.apply(text("inner_maps: {}"))
    (bench.root / "_meta").unlink()
    bench.overrides = bench.overrides | Overrides(take_over=True)
    wanted = text("inner_maps: {1: {}}", ", flags: [no_prealloc]")
    with raises(RefusedError, "template-mismatch") as refused:
        bench.apply(wanted)
    assert "`--replace tenants`" in refused.value.problems[0].hint
    bench.load(wanted).apply(bench.overrides, recreate=["tenants"])
    assert bench.load(wanted).plan(bench.overrides).steps == ()


def test_an_insert_that_is_refused_says_which_field_differs(theirs: Theirs) -> None:
    """Past the probe, as where another process changes the map meanwhile: the refusal is explained all the same."""
    theirs.make(MapType.HASH_OF_MAPS, HASH, filled=True)
    other = replace(HASH, map_flags=MapFlag.NO_PREALLOC)
    with maps.open_pin(theirs.folder / "theirs") as outer, maps.create(other) as candidate:
        with pytest.raises(KernelError) as refused:
            maps.insert_inner(outer, bytes(4), candidate)
        why = template_probe.why_refused(outer, candidate)
    assert why == "map_flags 0x1 (no_prealloc) in the template, 0x0 live"
    assert f"template: {why}" in str(refused.value.because(why))


@pytest.mark.parametrize("outer", OUTER)
def test_plan_probe_ends_as_apply_would_and_leaves_nothing(theirs: Theirs, outer: MapType) -> None:
    theirs.make(outer, HASH, filled=False)
    theirs.bench.load(theirs.spec(outer, HASH_SPEC.replace("u64", "u32")))
    words = ("plan", theirs.bench.folder / "spec.yaml", "--pin-root", theirs.bench.root)
    before = recorder.count()
    assert run(*words).status == 2
    done = run(*words, "--probe", "--format", "json")
    assert done.status == 4
    (refusal,) = done.document["blocked"]
    assert refusal["rule"] == "adopted-shape"
    assert "value_size 4 in the template, 8 live" in refusal["message"]
    assert not ledger.new_maps(before, 0)


def test_a_map_of_ours_may_be_made_again(bench: Bench) -> None:
    """What is pinned in our place is another tool's map with another template: `--allow-recreate` replaces it."""
    spec = """inner_templates: {one: {type: hash, key: u32, value: u64, max_entries: 16}}
outer_maps: {tenants: {type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {1: {entries: {1: 10}}}}}
"""
    bench.apply(spec)
    bpffs.unpin(bench.root / "tenants")
    with (
        maps.create(replace(HASH, map_flags=MapFlag.NO_PREALLOC)) as template,
        maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 8), "tenants", inner=template) as outer,
    ):
        bpffs.pin(outer, bench.root / "tenants")
    bench.overrides = Overrides()
    with raises(RefusedError, "recreate") as caught:
        bench.apply(spec)
    assert (caught.value.problems[0].address, caught.value.problems[0].hint[:16]) == ("tenants", "--allow-recreate")
    bench.overrides = Overrides(allow_recreate=True)
    bench.settle(spec)


def test_modes_of_an_fd_are_no_part_of_a_template(bench: Bench) -> None:
    """The kernel does not compare `rdonly` and `wronly`: a live map is not recreated for them."""
    text = """
inner_templates: {inner: {type: hash, key: u32, value: u32, max_entries: 8}}
outer_maps: {outer: {type: hash_of_maps, key: u32, max_entries: 8, inner: inner, inner_maps: {1: {entries: {1: 1}}}}}
"""
    bench.settle(text)
    for mode in ("rdonly", "wronly"):
        with_mode = text.replace("max_entries: 8}}", f"max_entries: 8, flags: [{mode}]}}}}", 1)
        assert bench.plan(with_mode).steps == ()
        bench.destroy(text)
        bench.settle(with_mode)
