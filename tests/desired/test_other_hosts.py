"""Hosts that no test runs on: the byte order and the number of possible CPUs are parameters, from spec to plan."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from provisioner.model.desired import DesiredMap
from provisioner.model.host import Host
from provisioner.project import Project
from provisioner.project.opening import load
from provisioner.report import text
from provisioner.views import plan_report

SPEC = """
version: 1
name: edge
inner_templates:
  ports: {type: hash, key: {struct: {port: be16, zone: u16}}, value: s64, max_entries: 8}
  routes: {type: lpm_trie, key: cidr4, value: u16, max_entries: 8}
  counts: {type: percpu_array, key: u32, value: u32, max_entries: 300}
outer_maps:
  a: {type: hash_of_maps, key: u16, max_entries: 8, inner: ports, inner_maps: {
    1: {entries: [{key: {port: 443, zone: 2}, value: -2}]}, 256: {}}}
  b: {type: array_of_maps, key: u32, max_entries: 8, inner: routes, inner_maps: {7: {entries: {10.0.0.0/8: 258}}}}
  c: {type: array_of_maps, key: u32, max_entries: 8, inner: counts, inner_maps: {0: {entries: {257: 5, 2: 6}}}}
"""
HOSTS = [Host("little", 1), Host("little", 3), Host("big", 1), Host("big", 16)]


def entries(desired: DesiredMap) -> dict[bytes, bytes]:
    table = desired.entries
    return {key.tobytes(): value.tobytes() for key, value in zip(table.keys, table.values, strict=True)}


def loaded(folder: Path, host: Host) -> Project:
    spec = folder / "edge.yaml"
    spec.write_text(SPEC)
    return load([spec], host=host)


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_the_bytes_are_those_of_the_host(tmp_path: Path, host: Host) -> None:
    order = {"little": "<", "big": ">"}[host.byteorder]
    maps = loaded(tmp_path, host).desired.maps
    assert [key.tobytes() for key in maps["a"].slots.keys] == [struct.pack(f"{order}H", slot) for slot in (1, 256)]
    assert entries(maps["a"]) == {b"\x01\xbb" + struct.pack(f"{order}H", 2): struct.pack(f"{order}q", -2)}
    assert entries(maps["b"]) == {struct.pack(f"{order}I", 8) + b"\x0a\0\0\0": struct.pack(f"{order}H", 258)}
    assert entries(maps["c"]) == {
        struct.pack(f"{order}I", index): struct.pack(f"{order}I4x", count) * host.possible_cpus
        for index, count in ((2, 6), (257, 5))
    }


@pytest.mark.parametrize("host", HOSTS[1:], ids=str)
def test_people_see_the_same_of_every_host(tmp_path: Path, host: Host) -> None:
    """In the order of numbers, not of bytes."""

    def output(of: Host) -> str:
        return "\n".join(text.render(plan_report.report(loaded(tmp_path, of).plan(against="empty"))))

    assert output(host).partition("kernel memory")[0] == output(HOSTS[0]).partition("kernel memory")[0]
