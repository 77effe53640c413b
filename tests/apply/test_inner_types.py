"""Every type of map that the kernel takes as an inner map, in both types of outer map, on the real kernel."""

from __future__ import annotations

import struct

import pytest

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.host import possible_cpus
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import InputError
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from tests.apply.conftest import Bench
from tests.features import kernel_has, need, need_storage
from tests.problems import raises

OUTER = ["hash_of_maps", "array_of_maps"]

# Type -> the rest of its template, and three generations of entries.
LISTED = {
    "hash": ("key: u32, value: u64", ["1: 1, 2: 2", "1: 9, 3: 3", ""]),
    "array": ("key: u32, value: u64", ["1: 1, 2: 2", "1: 9, 3: 3", ""]),
    "percpu_hash": ("key: u32, value: u64", ["1: 1, 2: 2", "1: 9, 3: 3", ""]),
    "percpu_array": ("key: u32, value: u64", ["1: 1, 2: 2", "1: 9, 3: 3", ""]),
    "lpm_trie": ("key: cidr4, value: u8", ["10.0.0.0/8: 1, 0.0.0.0/0: 2", "10.0.0.0/8: 3", ""]),
    "devmap": ("key: u32, value: u32", ["1: 1", "2: 1", ""]),
    "devmap_hash": ("key: u32, value: u32", ["700: 1", "800: 1", ""]),
    "cpumap": ("key: u32, value: u32", ["0: 192", "0: 256", ""]),
}
SHAPES = {
    "perf_event_array": "key: u32, value: u32",
    "stack_trace": "key: u32, value: 'u64[4]'",
    "cgroup_array": "key: u32, value: u32",
    "sockmap": "key: u32, value: u32",
    "sockhash": "key: u32, value: u32",
    "xskmap": "key: u32, value: u32",
    "reuseport_sockarray": "key: u32, value: u64",
    "queue": "value: u64",
    "stack": "value: u64",
    "bloom_filter": "value: u64, map_extra: 3",
    "ringbuf": "",
    "user_ringbuf": "",
}
LRU = ["lru_hash", "lru_percpu_hash"]
STORAGE = ["sk_storage", "inode_storage", "cgrp_storage"]


def spec(kind: str, outer: str, template: str, slot: str, capacity: int = 16) -> str:
    return f"""
inner_templates: {{one: {{type: {kind}, max_entries: {capacity}, {template}}}}}
outer_maps:
  outer: {{type: {outer}, key: u32, max_entries: 8, inner: one, inner_maps: {{5: {slot}}}}}
"""


def test_no_type_is_forgotten() -> None:
    """All that `bpf_map_meta_alloc` takes, by the numbers of `enum bpf_map_type`, less the local storages."""
    known = {*LISTED, *SHAPES, *LRU}
    assert {MapType[word.upper()] for word in known} == {
        MapType(number) for number in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 20, 22, 23, 25, 27, 30, 31)
    }


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("kind", LISTED)
def test_entries_that_can_be_listed_are_read_back_changed_and_deleted(bench: Bench, kind: str, outer: str) -> None:
    template, generations = LISTED[kind]
    for entries in generations:
        plan, _ = bench.settle(spec(kind, outer, template, f"{{entries: {{{entries}}}}}"))
        assert plan.changed
    assert all(not any(value) for value in bench.tree("outer")[struct.pack("<I", 5)].values())
    bench.settle(spec(kind, outer, template, f"{{max_entries: 16, entries: {{{generations[0]}}}}}"))


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("kind", SHAPES)
def test_what_cannot_be_listed_is_managed_by_its_shape(bench: Bench, kind: str, outer: str) -> None:
    capacity = 4096 if "ringbuf" in kind else 16
    template = f"{SHAPES[kind]}, contents: ignore, on_replace: drop".lstrip(", ")
    if not kernel_has(MapType[kind.upper()]):
        with raises(KernelError, "invalid-map"):
            bench.apply(spec(kind, outer, template, "{}", capacity))
        assert not bench.root.exists()
        return
    plan, _ = bench.settle(spec(kind, outer, template, "{}", capacity))
    assert plan.maps["outer"].action is Action.CREATE
    if kind != "xskmap":
        bench.settle(spec(kind, outer, template, f"{{max_entries: {capacity * 2}}}", capacity))
        with maps.open_id(InnerId(bench.ids("outer")[struct.pack("<I", 5)])) as inner:
            assert maps.info(inner).shape.max_entries == capacity * 2
    with raises(InputError, "unsupported-by-map-type"):
        bench.load(spec(kind, outer, SHAPES[kind], "{}", capacity))


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("kind", LRU)
def test_an_lru_is_never_exact(bench: Bench, kind: str, outer: str) -> None:
    template = "key: u32, value: u64, contents: present"
    bench.settle(spec(kind, outer, template, "{entries: {1: 1}}"))
    bench.settle(spec(kind, outer, template, "{entries: {1: 2}}"))
    with raises(InputError, "unsupported-by-map-type"):
        bench.load(spec(kind, outer, "key: u32, value: u64", "{entries: {1: 1}}"))


@pytest.mark.parametrize("kind", STORAGE)
def test_local_storage_has_btf_and_no_size(bench: Bench, kind: str) -> None:
    """The kernel creates none without the types of its key and value (`bpf_local_storage_map_alloc_check`)."""
    need_storage(MapType[kind.upper()])
    shape = f"type: {kind}, key: u32, value: u64, contents: ignore"
    outer = "type: hash_of_maps, key: u32, max_entries: 4, inner: one"
    plain = f"maps: {{plain: {{{shape}}}}}\ninner_templates: {{one: {{{shape}}}}}\n"
    bench.settle(f"{plain}outer_maps: {{outer: {{{outer}, inner_maps: {{1: {{}}}}}}}}\n")
    before = bench.ids("outer")
    bench.settle(f"{plain}outer_maps: {{outer: {{{outer}, inner_maps: {{1: {{}}, 2: {{}}}}}}}}\n")
    assert before.items() <= bench.ids("outer").items()


@pytest.mark.parametrize("kind", LRU)
def test_what_the_kernel_rounds_up_settles(bench: Bench, kind: str) -> None:
    template = "key: u32, value: u64, contents: ignore, on_replace: drop, flags: [no_common_lru]"
    bench.settle(spec(kind, "hash_of_maps", template, "{}", capacity=1001))
    bench.settle(spec(kind, "hash_of_maps", template, "{max_entries: 2001}", capacity=1001))


@pytest.mark.parametrize("kind", ["percpu_hash", "percpu_array"])
def test_a_value_stands_for_all_cpus_or_a_list_has_one_for_each(bench: Bench, kind: str) -> None:
    cpus = possible_cpus()
    each = ", ".join(str(10 + cpu) for cpu in range(cpus))
    template = "key: u32, value: u32"
    bench.settle(spec(kind, "hash_of_maps", template, f"{{entries: {{1: 7, 2: [{each}]}}}}"))
    tree = bench.tree("outer")[struct.pack("<I", 5)]
    assert struct.unpack(f"<{cpus}I", tree[struct.pack("<I", 1)][: 4 * cpus]) == (7,) * cpus
    assert struct.unpack(f"<{cpus}I", tree[struct.pack("<I", 2)][: 4 * cpus]) == tuple(10 + cpu for cpu in range(cpus))
    with raises(InputError, "wrong-length"):
        bench.load(spec(kind, "hash_of_maps", template, f"{{entries: {{2: [{each}, 1]}}}}"))


def test_one_huge_value_comes_from_a_raw_file(bench: Bench) -> None:
    """A Maglev table in one entry, as load balancers have it."""
    words = struct.pack("<65521I", *range(65521))
    (bench.folder / "svc7.bin").write_bytes(words)
    text = """
inner_templates: {table: {type: array, key: u32, value: 'u32[65521]', max_entries: 1}}
outer_maps:
  services: {type: hash_of_maps, key: be16, max_entries: 8, inner: table, inner_maps: {7: {entries: {0: FROM}}}}
"""
    text = text.replace("FROM", "{from: svc7.bin, format: raw}")
    bench.settle(text)
    inner = bench.ids("services")[b"\0\x07"]
    with maps.open_id(InnerId(inner)) as fd:
        assert maps.lookup(fd, bytes(4), len(words)) == words
    (bench.folder / "svc7.bin").write_bytes(words[:-4] + b"\xff\xff\xff\xff")
    bench.settle(text)
    assert bench.ids("services")[b"\0\x07"] != inner, "a value that a reader could see half written is replaced"


@pytest.mark.parametrize("outer", OUTER)
def test_another_map_extra_is_of_new_inner_maps_alone(bench: Bench, outer: str) -> None:
    """The kernel does not compare it."""
    need(MapType.BLOOM_FILTER)
    text = spec("bloom_filter", outer, "value: u64, map_extra: 3, contents: ignore, on_replace: drop", "{}")
    bench.settle(text)
    before = bench.ids("outer")[struct.pack("<I", 5)]
    text = text.replace("map_extra: 3", "map_extra: 7")
    bench.overrides = Overrides()
    bench.settle(text.replace("{5: {}}", "{5: {}, 6: {}}"))
    assert bench.ids("outer")[struct.pack("<I", 5)] == before
    with maps.open_id(InnerId(bench.ids("outer")[struct.pack("<I", 6)])) as inner:
        assert maps.info(inner).shape.map_extra == 7
    bench.load(text).apply(recreate=["outer[5]"])
    with maps.open_id(InnerId(bench.ids("outer")[struct.pack("<I", 5)])) as inner:
        assert maps.info(inner).shape.map_extra == 7


def test_map_extra_is_for_maps_that_have_it(bench: Bench) -> None:
    with raises(InputError, "unsupported-by-map-type"):
        bench.load(spec("hash", "array_of_maps", "key: u32, value: u64, map_extra: 3", "{}"))
