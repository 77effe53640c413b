"""`destroy --target`: a map, a slot or an object goes, and the rest of the project stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.apply import Result
from provisioner.model.errors import InputError, RefusedError
from provisioner.planning.plan import Plan
from tests.apply.conftest import Bench

MAPS = """
inner_templates: {inner: {type: hash, key: u32, value: u32, max_entries: 8}}
maps: {switch: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}}}
outer_maps:
  tenants: {type: hash_of_maps, key: u32, max_entries: 8, inner: inner, inner_maps: {1: {}, 2: {}}}
  others: {type: hash_of_maps, key: u32, max_entries: 8, inner: inner, inner_maps: {1: {}}}
"""


def destroy(bench: Bench, text: str, *targets: str) -> tuple[Plan, Result]:
    return bench.load(text, contents=False).destroy(bench.overrides, targets=targets)


def pins(bench: Bench) -> set[str]:
    return {path.name for path in bench.root.iterdir() if not path.name.startswith("_lock")}


def keys(bench: Bench, name: str) -> set[int]:
    return {int.from_bytes(key, "little") for key in bench.ids(name)}


def test_a_slot_goes_and_comes_back(bench: Bench) -> None:
    bench.settle(MAPS)
    before = bench.ids("tenants")
    plan, result = destroy(bench, MAPS, "tenants[2]")
    assert result.fds_before == result.fds_after
    assert plan.targets == ("tenants[2]",)
    assert bench.ids("tenants") == {key: number for key, number in before.items() if key[0] == 1}
    assert destroy(bench, MAPS, "tenants[2]")[0].steps == ()
    bench.settle(MAPS)
    assert keys(bench, "tenants") == {1, 2}


def test_a_map_goes_and_the_rest_stays(bench: Bench) -> None:
    bench.settle(MAPS)
    before = bench.ids("others")
    destroy(bench, MAPS, "tenants", "switch")
    assert pins(bench) == {"others", "_meta"}
    assert bench.ids("others") == before
    assert destroy(bench, MAPS, "tenants", "switch")[0].steps == ()
    assert [step.describe() for step in bench.plan(MAPS.split("maps: {switch")[0] + OTHERS).steps] == []


OTHERS = """
outer_maps:
  others: {type: hash_of_maps, key: u32, max_entries: 8, inner: inner, inner_maps: {1: {}}}
"""


def test_an_object_goes_with_its_programs_and_maps(bench: Bench, bpf_object: Callable[[str], Path]) -> None:
    bench.allow_outside = True
    own = "maps: {switch: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}}}"
    text = f"objects: {{sized: {{file: {bpf_object('globals')}, programs: {{globals: {{}}}}}}}}\n{own}"
    project = bench.load(text)
    bench.settle(text)
    made = {*project.desired.objects["sized"].maps, *project.desired.objects["sized"].pins}
    assert made <= pins(bench)
    destroy(bench, text, "sized")
    assert pins(bench) == {"switch", "_meta"}
    assert destroy(bench, text, "sized")[0].steps == ()
    bench.settle(text)


def test_what_cannot_go_alone_is_refused(bench: Bench) -> None:
    protected = MAPS.replace("tenants: {", "tenants: {prevent_destroy: true, ")
    bench.settle(protected)
    with pytest.raises(RefusedError) as refused:
        destroy(bench, protected, "tenants")
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("prevent_destroy", "tenants")]
    destroy(bench, protected, "tenants[1]")
    with pytest.raises(InputError) as unknown:
        destroy(bench, MAPS, "nothing")
    assert [problem.id for problem in unknown.value.problems] == ["unknown-reference"]


def test_a_map_of_an_object_needs_the_object(bench: Bench, bpf_object: Callable[[str], Path]) -> None:
    bench.allow_outside = True
    text = f"""
objects: {{held: {{file: {bpf_object("held")}, programs: {{}}}}}}
inner_templates: {{inner: {{type: hash, key: u32, value: {{btf: struct counter, from: held}}, max_entries: 16}}}}
outer_maps: {{hash_of_maps: {{object: held, inner: inner, inner_maps: {{}}}}}}
"""
    with pytest.raises(InputError) as refused:
        destroy(bench, text, "hash_of_maps")
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("invalid-target", "hash_of_maps")]
