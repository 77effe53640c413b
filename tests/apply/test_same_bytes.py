"""One spec, the same live bytes on every kernel: from nothing, through a change, to nothing; read by bpftool.

What is expected is spelled here byte by byte, in the order of the kernel's bytes and for the CPUs it has. The matrix
runs this on each of its kernels, and CI on one that is not its own.
"""

from __future__ import annotations

import socket
import struct

import pytest

from provisioner.apply import Status
from provisioner.kernel.host import possible_cpus
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench

SPEC = """
types:
  service: {{struct: {{vip: ipv4, port: be16, proto: u8}}}}
  backend: {{struct: {{up: bool, weight: u16, ip: ipv6, name: "char[8]", seen: u64}}}}
  verdict: {{enum: {{deny: -1, allow: 1}}, base: s32}}
inner_templates:
  services: {{type: hash, key: service, value: backend, max_entries: 16}}
  words: {{type: array, key: u32, value: u64, max_entries: 3}}
  acl4: {{type: lpm_trie, key: cidr4, value: verdict, max_entries: 64}}
  acl6: {{type: lpm_trie, key: cidr6, value: be32, max_entries: 64}}
  counts: {{type: percpu_hash, key: mac, value: u32, max_entries: 8}}
  sums: {{type: percpu_array, key: u32, value: s64, max_entries: 2}}
  recent: {{type: lru_hash, key: u64, value: u8, max_entries: 64, contents: present}}
  devices: {{type: devmap, key: u32, value: u32, max_entries: 3}}
shared_inner_maps: {{common: {{inner: acl4, entries: {{0.0.0.0/0: allow}}}}}}
maps:
  active: {{type: array, key: u32, value: u32, max_entries: 2, entries: {{1: {n}}}}}
  peers: {{type: hash, key: ipv6, value: {{union: {{v4: ipv4, v6: ipv6}}}}, max_entries: 8,
          entries: [{{key: "2001:db8::1", value: {{v4: 192.0.2.{n}}}}}]}}
outer_maps:
  by_service: {{{outer}, inner: services, inner_maps: {{
    0: {{entries: [{{key: {{vip: 198.51.100.1, port: 443, proto: 6}},
                  value: {{up: true, weight: {n}, ip: "2001:db8::2", name: edge, seen: 0x0102030405060708}}}}]}}}}}}
  by_index: {{{outer}, inner: words, inner_maps: {{1: {{entries: {{2: {n}}}}}}}}}
  by_v4: {{{outer}, inner: acl4, inner_maps: {{
    2: {{entries: {{10.{n}.0.0/16: deny, 0.0.0.0/0: allow}}}}, {shared}: {{shared: common}}}}}}
  by_v6: {{{outer}, inner: acl6, inner_maps: {{3: {{entries: {{"2001:db8::/32": {n}}}}}}}}}
  by_mac: {{{outer}, inner: counts, inner_maps: {{
    4: {{entries: {{10:20:30:40:50:59: {n}}}}}}}}}
  by_sum: {{{outer}, inner: sums, inner_maps: {{5: {{entries: {{1: -{n}}}}}}}}}
  by_time: {{{outer}, inner: recent, inner_maps: {{6: {{entries: {{5000000000: {n}}}}}}}}}
  by_device: {{{outer}, inner: devices, inner_maps: {{7: {{entries: {{{device}: 1}}}}}}}}
"""


def spec(outer: str, n: int, shared: str, device: int) -> str:
    return SPEC.format(outer=f"type: {outer}, key: u32, max_entries: 8", n=n, shared=shared, device=device)


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def u64(number: int) -> bytes:
    return struct.pack("=q", number)


def ipv6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


def each_cpu(value: bytes) -> bytes:
    return value * possible_cpus()


def expected(n: int, shared: tuple[int, ...]) -> dict[str, dict[bytes, dict[bytes, bytes]]]:
    """Outer map -> outer key -> key -> value. Arrays have all their indexes, padding is zero."""
    service = socket.inet_aton("198.51.100.1") + (443).to_bytes(2, "big") + b"\x06\0"
    backend = b"\1\0" + struct.pack("=H", n) + ipv6("2001:db8::2") + b"edge\0\0\0\0" + bytes(4)
    everything = {u32(0) + bytes(4): struct.pack("=i", 1)}
    return {
        "by_service": {u32(0): {service: backend + u64(0x0102030405060708)}},
        "by_index": {u32(1): {u32(0): bytes(8), u32(1): bytes(8), u32(2): u64(n)}},
        "by_v4": {
            u32(2): everything | {u32(16) + bytes((10, n, 0, 0)): struct.pack("=i", -1)},
            **{u32(slot): everything for slot in shared},
        },
        "by_v6": {u32(3): {u32(32) + ipv6("2001:db8::"): n.to_bytes(4, "big")}},
        "by_mac": {u32(4): {bytes.fromhex("102030405059"): each_cpu(u32(n))}},
        "by_sum": {u32(5): {u32(0): each_cpu(bytes(8)), u32(1): each_cpu(u64(-n))}},
        "by_time": {u32(6): {u64(5_000_000_000): bytes((n,))}},
    }


def check(bench: Bench, n: int, shared: tuple[int, ...], device: int) -> None:
    assert {name: bench.tree(name) for name in expected(n, shared)} == expected(n, shared)
    (devices,) = bench.tree("by_device").values()
    assert {key: value[:4] for key, value in devices.items() if any(value)} == {u32(device): u32(1)}
    assert bench.entries("active") == {u32(0): u32(0), u32(1): u32(n)}
    peer = socket.inet_aton(f"192.0.2.{n}") + bytes(12)
    assert bench.entries("peers") == {ipv6("2001:db8::1"): peer}


@pytest.mark.parametrize("outer", ["hash_of_maps", "array_of_maps"])
def test_one_spec_has_the_same_bytes_on_every_kernel(bench: Bench, outer: str) -> None:
    first = spec(outer, n=7, shared="3..5", device=1)
    plan, result = bench.settle(first)
    assert result.status is Status.APPLIED
    assert {change.action for change in plan.maps.values()} == {Action.CREATE}
    check(bench, 7, (3, 4, 5), 1)
    assert len(set(bench.ids("by_v4").values())) == 2, "the shared slots hold one map"
    bench.settle(spec(outer, n=9, shared="5..6", device=2))
    check(bench, 9, (5, 6), 2)
    bench.destroy(first)
    assert not bench.root.exists()
