"""bpftool, which knows nothing of us, finds exactly the bytes that the spec asks for."""

from __future__ import annotations

import socket
import struct

import pytest

from provisioner.apply import Status
from tests.apply.conftest import Bench

SPEC = """
types:
  backend: {{struct: {{ip: ipv4, port: be16, weight: u16}}}}
  verdict: {{enum: {{deny: 0, allow: 1}}, base: u8}}
inner_templates:
  acl: {{type: lpm_trie, key: cidr4, value: verdict, max_entries: 1024}}
  backends: {{type: array, key: u32, value: backend, max_entries: 4, flags: [inner_map]}}
  services: {{type: hash, key: {{struct: {{vip: ipv4, port: be16, proto: u8}}}}, value: u64, max_entries: 16}}
maps:
  active: {{type: array, key: u32, value: u32, max_entries: 2, entries: {{1: 7}}}}
  allowed: {{type: hash, key: mac, value: bool, max_entries: 8, entries: {{10:20:30:40:50:59: true}}}}
outer_maps:
  tenants:
    type: {outer}
    key: u32
    max_entries: 64
    inner: acl
    inner_maps:
      3: {{entries: {{10.0.0.0/8: deny, 0.0.0.0/0: allow}}}}
      9: {{max_entries: 4096, entries: {{203.0.113.0/24: 1}}}}
  vips:
    type: {outer}
    key: u32
    max_entries: 64
    inner: backends
    inner_maps:
      0:
        entries:
          1: {{ip: 192.0.2.10, port: 443, weight: 5}}
  index:
    type: {outer}
    key: u32
    max_entries: 64
    inner: services
    inner_maps:
      5:
        entries:
          - {{key: {{vip: 198.51.100.1, port: 53, proto: 17}}, value: 0x1F}}
"""


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def cidr(text: str) -> bytes:
    address, _, length = text.partition("/")
    return u32(int(length)) + socket.inet_aton(address)


@pytest.mark.parametrize("outer", ["hash_of_maps", "array_of_maps"])
def test_outer_slots_inner_maps_and_entries_are_the_spec_s_bytes(bench: Bench, outer: str) -> None:
    plan, result = bench.settle(SPEC.format(outer=outer))
    assert plan.changed
    assert result.status is Status.APPLIED
    assert bench.tree("tenants") == {
        u32(3): {cidr("10.0.0.0/8"): b"\0", cidr("0.0.0.0/0"): b"\1"},
        u32(9): {cidr("203.0.113.0/24"): b"\1"},
    }
    backend = socket.inet_aton("192.0.2.10") + (443).to_bytes(2, "big") + (5).to_bytes(2, "little")
    assert bench.tree("vips") == {u32(0): {u32(0): bytes(8), u32(1): backend, u32(2): bytes(8), u32(3): bytes(8)}}
    service = socket.inet_aton("198.51.100.1") + (53).to_bytes(2, "big") + b"\x11\0"
    assert bench.tree("index") == {u32(5): {service: struct.pack("<Q", 31)}}
    assert bench.entries("active") == {u32(0): u32(0), u32(1): u32(7)}
    assert bench.entries("allowed") == {bytes.fromhex("102030405059"): b"\1"}
    bench.destroy(SPEC.format(outer=outer))


def test_destroy_leaves_nothing(bench: Bench) -> None:
    """The ledger holds it to this: no map, pin or fd is left."""
    text = SPEC.format(outer="hash_of_maps")
    bench.apply(text)
    _, result = bench.destroy(text)
    assert result.status is Status.APPLIED
    assert not bench.root.exists()
    _, again = bench.destroy(text)
    assert again.status is Status.UNCHANGED


def test_destroy_reads_no_table(bench: Bench) -> None:
    """What is taken away is what is live: a table may be gone by then, or wrong."""
    text = """
inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 4}}
outer_maps:
  many:
    {type: hash_of_maps, key: u32, max_entries: 4, inner: one,
     inner_maps: {from: many.csv, outer_key: slot, key: key, value: value}}
maps:
  plain: {type: hash, key: u32, value: u32, max_entries: 4, entries: {from: plain.csv, key: key, value: value}}
"""
    (bench.folder / "many.csv").write_text("slot,key,value\n1,2,3\n4,5,6\n")
    (bench.folder / "plain.csv").write_text("key,value\n7,8\n")
    bench.apply(text)
    (bench.folder / "many.csv").write_text("slot,key,value\nno,numbers,here\n")
    (bench.folder / "plain.csv").unlink()
    plan, result = bench.destroy(text)
    assert result.status is Status.APPLIED
    assert len(plan.maps["many"].slots.keys) == 2
    assert not bench.root.exists()


@pytest.mark.parametrize("outer", ["hash_of_maps", "array_of_maps"])
def test_ten_thousand_slots_wait_for_tens_of_grace_periods(bench: Bench, outer: str) -> None:
    text = f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 4}}}}
outer_maps:
  many: {{type: {outer}, key: u32, max_entries: 10000, inner: one, inner_maps: {{0..9999: {{entries: {{1: 2}}}}}}}}
"""
    _, result = bench.settle(text)
    # A few by batches; by 256 threads, where the kernel has no batch or a dear one, 16 for each wave of 4,096.
    assert 1 <= result.grace_periods <= 50
    ids = bench.ids("many")
    assert len(ids) == 10_000
    assert len(set(ids.values())) == 10_000, "slots that are written alike are maps of their own"
