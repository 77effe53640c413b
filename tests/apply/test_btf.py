"""Maps that we create carry BTF built from the spec's types: bpftool prints their members by name."""

from __future__ import annotations

from tests.apply import live
from tests.apply.conftest import Bench

SPEC = """
types:
  backend: {struct: {ip: be32, port: be16, weight: u16}}
  verdict: {enum: {deny: 0, allow: 1}, base: u32}
inner_templates:
  backends: {type: array, key: u32, value: backend, max_entries: 2, flags: [inner_map]}
  acl: {type: lpm_trie, key: cidr4, value: verdict, max_entries: 8}
  bare: {type: queue, value: u32, max_entries: 8, contents: ignore}
maps:
  index: {type: hash, key: {struct: {vip: be32, port: be16}}, value: backend, max_entries: 8}
outer_maps:
  vips:
    type: array_of_maps
    key: u32
    max_entries: 4
    inner: backends
    inner_maps: {0: {entries: {1: {ip: 0x0A000001, port: 80, weight: 7}}}}
  rules:
    type: hash_of_maps
    key: u32
    max_entries: 4
    inner: acl
    inner_maps: {0: {entries: {10.0.0.0/8: allow}}}
  queues: {type: hash_of_maps, key: u32, max_entries: 4, inner: bare, inner_maps: {0: {}}}
"""


def test_bpftool_prints_members_by_name(bench: Bench) -> None:
    bench.settle(SPEC)
    inner = bench.ids("vips")[bytes(4)]
    dump = live.bpftool("map", "dump", "id", str(inner))
    second = next(entry["formatted"] for entry in dump if entry["formatted"]["key"] == 1)
    assert second["value"]["weight"] == 7
    assert set(second["value"]) == {"ip", "port", "weight"}
    rules = live.bpftool("map", "dump", "id", str(bench.ids("rules")[bytes(4)]))
    assert "allow" in str(rules[0]["formatted"]["value"])


def test_plain_maps_carry_it_too(bench: Bench) -> None:
    bench.settle(SPEC)
    assert live.bpftool("map", "show", "pinned", str(bench.root / "index"))["btf_id"] > 0


def test_where_the_kernel_takes_none_the_map_is_made_without(bench: Bench) -> None:
    bench.settle(SPEC)
    assert "btf_id" not in live.bpftool("map", "show", "id", str(bench.ids("queues")[bytes(4)]))
