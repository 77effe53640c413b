"""What a loader sets of maps before load: sizes, NUMA nodes, maps that are not created."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.host import possible_cpus
from provisioner.model.errors import HostError, InputError, RefusedError
from provisioner.model.uapi import MapFlag
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from tests.apply.conftest import Bench

Compile = Callable[[str], Path]

MAPS = "unsized: {max_entries: 32}, impossible: {autocreate: false}"


@pytest.fixture(autouse=True)
def anywhere(bench: Bench) -> None:
    """Compiled objects are outside the project's directory."""
    bench.allow_outside = True


def spec(file: Path, settings: str = MAPS, more: str = "", template: str = "") -> str:
    return f"""
inner_templates:
  inner: {{type: hash, key: u32, value: u32, max_entries: 8, {template}}}
objects:
  sized: {{file: {file}, maps: {{{settings}}}, programs: {{sized: {{}}}}}}
outer_maps:
  outer: {{object: sized, inner: inner, inner_maps: {{1: {{entries: {{1: 1}}}}}}}}
{more}
"""


def info(bench: Bench, name: str) -> maps.MapInfo:
    with maps.open_pin(bench.root / name) as fd:
        return maps.info(fd)


def test_a_perf_event_array_has_a_slot_for_each_cpu(bench: Bench, bpf_object: Compile) -> None:
    bench.settle(spec(bpf_object("sized")))
    assert info(bench, "events").shape.max_entries == possible_cpus()
    assert info(bench, "unsized").shape.max_entries == 32
    assert not (bench.root / "impossible").exists()


def test_settings_are_made_before_load(bench: Bench, bpf_object: Compile) -> None:
    settings = MAPS + ", events: {max_entries: 64}, scratch: {numa_node: 0, max_entries: 16}, ring: {max_entries: 8192}"
    bench.settle(spec(bpf_object("sized"), settings))
    assert info(bench, "events").shape.max_entries == 64
    scratch = info(bench, "scratch").shape
    assert (scratch.max_entries, scratch.map_flags) == (16, MapFlag.NUMA_NODE)
    assert info(bench, "ring").shape.max_entries == 8192


def test_a_declared_map_has_the_size_that_it_declares(bench: Bench, bpf_object: Compile) -> None:
    more = "maps: {unsized: {object: sized, max_entries: 4, entries: {1: 1, 2: 2}}}"
    text = spec(bpf_object("sized"), "impossible: {autocreate: false}", more)
    bench.settle(text.replace("{object: sized, inner:", "{object: sized, max_entries: 512, inner:"))
    assert info(bench, "unsized").shape.max_entries == 4
    assert info(bench, "outer").shape.max_entries == 512


@pytest.mark.parametrize(
    ("before", "after", "recreated"),
    [
        ("", "scratch: {numa_node: 0}", False),
        ("scratch: {numa_node: 0}", "", False),
        ("ring: {autocreate: false}", "", False),
        ("", "scratch: {max_entries: 16}", True),
    ],
)
def test_a_change_of_settings_is_an_upgrade(
    before: str, after: str, recreated: bool, bench: Bench, bpf_object: Compile
) -> None:
    file = bpf_object("sized")
    bench.settle(spec(file, f"{MAPS}, {before}"))
    bench.overrides = Overrides()
    text = spec(file, f"{MAPS}, {after}")
    change = bench.plan(text).objects["sized"]
    assert change.action is Action.UPDATE
    assert "maps." in change.reason
    if recreated:
        with pytest.raises(RefusedError):
            bench.apply(text)
        bench.overrides = Overrides(allow_recreate=True)
    bench.settle(text)


def test_inner_maps_have_the_numa_flag_of_the_template(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("sized")
    bench.settle(spec(file))
    (number,) = bench.ids("outer").values()
    with maps.open_id(InnerId(number)) as fd:
        assert maps.info(fd).shape.map_flags & MapFlag.NUMA_NODE, "the object's template has it"
    two = spec(file).replace("inner_maps: {", "inner_maps: {2: {entries: {1: 1}}, ")
    bench.settle(two)


def test_a_standalone_template_gains_a_numa_node(bench: Bench) -> None:
    text = """
inner_templates: {inner: {type: hash, key: u32, value: u32, max_entries: 8NODE}}
outer_maps: {outer: {type: hash_of_maps, key: u32, max_entries: 8, inner: inner, inner_maps: {1: {entries: {1: 1}}}}}
"""
    bench.settle(text.replace("NODE", ""))
    plan, _ = bench.settle(text.replace("NODE", ", numa_node: 0"))
    assert plan.maps["outer"].action is Action.REPLACE, "the kernel takes no inner map with another flag"
    bench.settle(text.replace("NODE", ", numa_node: 0").replace("{1: {entries", "{2: {}, 1: {entries"))


@pytest.mark.parametrize(
    ("settings", "more", "expected"),
    [
        (MAPS + ", scrach: {max_entries: 1}", "", "unknown-map"),
        ("impossible: {autocreate: false}", "", "max-entries-missing"),
        (MAPS, "maps: {impossible: {object: sized, entries: {}}}", "map-not-created"),
        (MAPS, "maps: {unsized: {object: sized, max_entries: 16, entries: {}}}", "conflicting-settings"),
        (MAPS + ", ring: {max_entries: 5000}", "", "invalid-value"),
    ],
)
def test_what_cannot_be_set(settings: str, more: str, expected: str, bench: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as refused:
        bench.load(spec(bpf_object("sized"), settings, more))
    assert [problem.id for problem in refused.value.problems] == [expected]
    assert all(problem.where is not None for problem in refused.value.problems)


STACKS = "objects: {{stacks: {{file: {file}, maps: {{{settings}}}, programs: {{on_enter: {{}}}}}}}}\n"


def test_the_depth_of_stacks_is_set_before_load(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("stacks")
    bench.settle(STACKS.format(file=file, settings="stacks: {max_entries: 16, value_size: 80}"))
    shape = info(bench, "stacks").shape
    assert (shape.max_entries, shape.value_size) == (16, 80)
    deeper = STACKS.format(file=file, settings="stacks: {max_entries: 16, value_size: 160}")
    assert bench.plan(deeper).objects["stacks"].action is Action.UPDATE
    bench.settle(deeper)
    assert info(bench, "stacks").shape.value_size == 160


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("stacks: {max_entries: 16}", "max-entries-missing"),
        ("stacks: {value_size: 80}", "max-entries-missing"),
        ("stacks: {max_entries: 16, value_size: 81}", "invalid-value"),
        ("stacks: {max_entries: 16, value_size: 80}, counts: {value_size: 8}", "invalid-value"),
    ],
)
def test_sizes_of_stacks_that_cannot_be(settings: str, expected: str, bench: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as refused:
        bench.load(STACKS.format(file=bpf_object("stacks"), settings=settings))
    assert [problem.id for problem in refused.value.problems] == [expected]


def test_a_struct_ops_map_has_the_size_of_the_kernel_s_struct(bench: Bench, bpf_object: Compile) -> None:
    text = f"objects: {{struct_ops: {{file: {bpf_object('struct_ops')}, programs: {{begin: {{}}}}}}}}\n"
    bench.settle(text)
    assert info(bench, "mine").shape.value_size != 32
    with pytest.raises(InputError) as refused:
        bench.load(text.replace("begin: {}", ""))
    assert [problem.id for problem in refused.value.problems] == ["map-not-created"]
    bench.load(text.replace("programs: {begin: {}}", "maps: {mine: {autocreate: false}}")).plan()


def test_a_map_without_sizes_has_those_of_its_declared_types(bench: Bench, bpf_object: Compile) -> None:
    text = f"""
inner_templates:
  group: {{type: hash, key: u16, value: u64, max_entries: 8}}
objects:
  typeless: {{file: {bpf_object("typeless")}, programs: {{pass: {{}}}}}}
outer_maps:
  groups: {{object: typeless, inner: group, inner_maps: {{1: {{entries: {{7: 8}}}}}}}}
maps:
  labels: {{object: typeless, key: u64, value: "u32[3]", entries: {{1: [2, 3, 4]}}}}
"""
    bench.settle(text)
    shape = info(bench, "labels").shape
    assert (shape.key_size, shape.value_size) == (8, 12)
    wider = text.replace("key: u64", 'key: "u64[2]"').replace("{1: [", "[{key: [1, 1], value: [").replace("]}}", "]}]}")
    bench.overrides = Overrides(allow_recreate=True)
    bench.settle(wider)
    assert info(bench, "labels").shape.key_size == 16


def test_a_map_without_sizes_must_be_declared(bench: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("typeless"), "labels: {max_entries: 4}").replace("programs: {sized", "programs: {pass")
    text = text.partition("outer_maps:")[0].replace("u32, value: u32", "u16, value: u64")
    with pytest.raises(InputError) as error:
        bench.load(text + "outer_maps:\n  groups: {object: sized, inner: inner, inner_maps: {}}\n")
    assert [(each.id, each.address) for each in error.value.problems] == [("size-missing", "labels")]


@pytest.mark.parametrize(("name", "program"), [("absent_function", "call"), ("absent_member", "offset")])
def test_what_the_kernel_does_not_have(name: str, program: str, bench: Bench, bpf_object: Compile) -> None:
    with pytest.raises(HostError) as error:
        bench.apply(f"objects: {{{name}: {{file: {bpf_object(name)}, programs: {{{program}: {{}}}}}}}}\n")
    assert [each.id for each in error.value.problems] == ["object-unsupported"]
    assert not bench.root.exists()
