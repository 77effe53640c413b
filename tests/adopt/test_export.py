"""`export`: live maps of any maker as a spec that plans to no changes when it is given back."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import provisioner
from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.objects import load
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from tests.adopt.conftest import Others
from tests.cli.support import run

HASH = MapShape(MapType.HASH, 4, 8, 16)
OUTER = MapShape(MapType.HASH_OF_MAPS, 4, 4, 16)


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def test_maps_without_btf_are_bytes(others: Others) -> None:
    path = others.outer("tenants", OUTER, HASH, {u32(1): {u32(7): u64(70)}, u32(2): {}})
    done, spec = others.export("--pin", path)
    assert (done.status, done.err) == (0, "")
    assert '"0x01000000":' in done.out
    assert '"0x07000000": "0x4600000000000000"' in done.out
    others.unchanged(spec)


def test_a_types_file_names_what_the_maps_hold(others: Others) -> None:
    path = others.outer("tenants", OUTER, HASH, {u32(1): {u32(7): struct.pack(">HH4x", 80, 9)}})
    types = others.out / "types.yaml"
    types.write_text(
        """
types: {target: {struct: {port: be16, weight: be16, spare: u32}}}
inner_templates: {any: {key: u32, value: target}}
outer_maps: {tenants: {key: u32, inner: any}}
"""
    )
    done, spec = others.export("--pin", path, "--types", types)
    assert "7: {port: 80, weight: 9, spare: 0}" in done.out
    others.unchanged(spec)


def test_a_type_that_does_not_fit_is_reported_at_its_line(others: Others) -> None:
    path = others.plain("active", HASH, {})
    types = others.out / "types.yaml"
    types.write_text("maps:\n  active: {key: u32, value: u32}\n")
    done, _ = others.export("--pin", path, "--types", types)
    assert (done.status, done.out) == (1, "")
    assert f"{types}:2:" in done.err
    assert "error[type-size]: " in done.err


def test_types_come_from_btf(others: Others, bpf_object: Callable[[str], Path]) -> None:
    with load(bpf_object("router"), inner_templates={"vips": HASH}) as loaded:
        for name in ("vip_slots", "tenants", "active"):
            bpffs.pin(loaded.maps[name], others.folder / name)
        maps.update(loaded.maps["vip_slots"], bytes([198, 51, 100, 1, 0, 53, 17, 0]), u32(3))
    done, spec = others.export(*(word for name in ("vip_slots", "active") for word in ("--pin", others.folder / name)))
    assert "  vip: {struct: {ip: be32, port: be16, proto: u8}}" in done.out
    assert "- {key: {ip: 3325256705, port: 53, proto: 17}, value: 3}" in done.out
    others.unchanged(spec)
    done, spec = others.export("--pin", others.folder / "tenants")
    assert "does not show the template" in done.out
    assert "write the template" in done.err
    others.unchanged(spec)


def test_what_provisioner_made_comes_back_with_its_types(others: Others) -> None:
    spec = others.out / "edge.yaml"
    root = others.folder / "edge"
    spec.write_text(
        f"""
version: 1
name: edge
pin_root: {root}
types: {{backend: {{struct: {{mac: mac, weight: u16, name: "char[8]", on: bool}}}}}}
inner_templates:
  acl: {{type: lpm_trie, key: cidr4, value: u8, max_entries: 8}}
  hosts: {{type: hash, key: "u16[2]", value: backend, max_entries: 8}}
outer_maps:
  tenants:
    {{type: hash_of_maps, key: u32, max_entries: 4, inner: acl, inner_maps: {{1: {{entries: {{10.0.0.0/8: 1}}}}}}}}
  sites:
    type: array_of_maps
    key: u32
    max_entries: 4
    inner: hosts
    inner_maps:
      2: {{entries: [{{key: [1, 2], value: {{mac: 02:00:00:00:00:01, weight: 1, name: from, on: true}}}}]}}
"""
    )
    assert run("apply", spec, "--yes").status == 0
    done, back = others.export("--pin", root / "tenants", "--pin", root / "sites")
    assert "10.0.0.0/8: 1" in done.out
    assert 'name: from, "on": true' in done.out
    others.unchanged(back)


def test_by_id_and_by_name_a_map_is_found_where_it_is_pinned(others: Others) -> None:
    path = others.plain("a_name_that_is_longer_than_the_kernels", HASH, {u32(1): u64(1)})
    with maps.open_pin(path) as fd:
        number = maps.info(fd).id
    for words in (("--id", str(number)), ("--name", path.name)):
        done, spec = others.export(*words)
        assert f"pin: {path}" in done.out
        others.unchanged(spec)


def test_a_map_that_is_pinned_nowhere_is_to_be_pinned_first(others: Others) -> None:
    with maps.create(HASH, "loose") as fd:
        number = maps.info(fd).id
        done, spec = others.export("--id", str(number), "--project", "adopted")
        assert f"`bpftool map pin id {number} /sys/fs/bpf/loose`" in done.err
        bpffs.pin(fd, others.folder / "loose")
    spec.write_text(
        done.out.replace("/sys/fs/bpf", str(others.folder)).replace("name:", f"pin_root: {others.folder}/a\nname:")
    )
    others.unchanged(spec)


def test_several_maps_of_a_name_are_distinguished_by_id(others: Others) -> None:
    with maps.create(HASH, "twice") as first_map, maps.create(HASH, "twice") as other:
        ids = sorted((maps.info(first_map).id, maps.info(other).id))
        done, _ = others.export("--name", "twice")
    assert (done.status, done.out) == (1, "")
    assert f"2 maps have this name: ids {ids[0]} (hash), {ids[1]} (hash)" in done.err


def test_an_outer_map_goes_before_inner_maps_of_its_name(others: Others) -> None:
    """The kernel cuts `cilium_lb4_maglev` and `cilium_lb4_maglev_inner` to the same name."""
    with maps.create(HASH, "cilium_lb4_maglev_inner") as inner:
        with maps.create(OUTER, "cilium_lb4_maglev", inner=inner) as outer:
            maps.insert_inner(outer, u32(1), inner)
            bpffs.pin(outer, others.folder / "cilium_lb4_maglev")
        done, spec = others.export("--name", "cilium_lb4_maglev")
    assert f"pin: {others.folder}/cilium_lb4_maglev" in done.out
    others.unchanged(spec)
    shown = run("show", spec)
    assert shown.out.count(f"at {others.folder}/cilium_lb4_maglev,") == 1
    assert "also pinned" not in shown.out


@pytest.mark.parametrize("words", [("--id", "4000000000"), ("--name", "no_such_map"), ("--pin", "/sys/fs/bpf/none")])
def test_maps_that_are_not_there(others: Others, words: tuple[str, ...]) -> None:
    done, _ = others.export(*words)
    assert (done.status, done.out) == (1, "")
    assert "error[no-such-map]: " in done.err


def test_which_maps_must_be_said(others: Others) -> None:
    done, _ = others.export()
    assert (done.status, done.out) == (64, "")
    assert "name the maps to export" in done.err


def test_an_inner_map_in_several_slots_is_a_shared_one(others: Others) -> None:
    path = others.outer("tenants", OUTER, HASH, {u32(1): {u32(7): u64(70)}, u32(2): {u32(8): u64(80)}})
    with maps.open_pin(path) as outer:
        number = int.from_bytes(maps.lookup(outer, u32(1), 4) or b"", "little")
        with maps.open_id(InnerId(number)) as inner:
            maps.insert_inner(outer, u32(5), inner)
    done, spec = others.export("--pin", path)
    assert done.out.count("shared: tenants_shared_1") == 2
    others.unchanged(spec)


def test_an_inner_map_in_two_outer_maps_is_kept(others: Others) -> None:
    """A spec cannot declare it: each of the two would get a map of its own, and programs would see two."""
    paths = [
        others.outer(name, OUTER, HASH, {u32(1): {u32(7): u64(70)}, u32(2): {u32(8): u64(80)}})
        for name in ("tenants", "backup")
    ]
    with maps.open_pin(paths[0]) as first, maps.open_pin(paths[1]) as second:
        number = int.from_bytes(maps.lookup(first, u32(1), 4) or b"", "little")
        with maps.open_id(InnerId(number)) as inner:
            maps.insert_inner(second, u32(5), inner)
    done, spec = others.export("--pin", paths[0], "--pin", paths[1])
    assert done.out.count("extra_inner_maps: keep") == 2
    assert f'# Not listed: "0x05000000". Other maps hold these inner maps too: id {number}.' in done.out
    assert '1 slot of tenants ("0x01000000") not listed, and kept' in done.err
    others.unchanged(spec)


def test_inner_maps_of_other_capacities(others: Others) -> None:
    path = others.outer("tenants", OUTER, HASH, {u32(1): {}, u32(2): {}})
    with maps.open_pin(path) as outer, maps.create(HASH.with_capacity(99)) as big:
        maps.insert_inner(outer, u32(3), big)
    done, spec = others.export("--pin", path)
    assert "max_entries: 99" in done.out
    others.unchanged(spec)


@pytest.mark.parametrize(
    "inner",
    [
        MapShape(MapType.LRU_HASH, 4, 8, 16),
        MapShape(MapType.PERCPU_HASH, 4, 8, 16),
        MapShape(MapType.PERCPU_ARRAY, 4, 12, 16),
        MapShape(MapType.QUEUE, 0, 8, 16),
        MapShape(MapType.BLOOM_FILTER, 0, 8, 16, map_extra=3),
        MapShape(MapType.RINGBUF, 0, 0, 4096),
        MapShape(MapType.ARRAY, 4, 16, 16, MapFlag.INNER_MAP | MapFlag.MMAPABLE),
        MapShape(MapType.DEVMAP_HASH, 4, 4, 16),
        MapShape(MapType.SOCKHASH, 4, 4, 16),
        MapShape(MapType.LPM_TRIE, 12, 1, 16, MapFlag.NO_PREALLOC),
        MapShape(MapType.HASH, 5, 3, 16, MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE, numa_node=0),
    ],
    ids=lambda shape: shape.map_type.word,
)
def test_inner_maps_of_all_kinds(others: Others, inner: MapShape) -> None:
    path = others.outer("tenants", OUTER, inner, {u32(1): {}, u32(9): {}})
    done, spec = others.export("--pin", path)
    assert (done.status, done.err) == (0, "")
    others.unchanged(spec)


@pytest.mark.parametrize(
    "shape",
    [
        MapShape(MapType.LRU_HASH, 4, 8, 16),
        MapShape(MapType.PERF_EVENT_ARRAY, 4, 4, 4),
        MapShape(MapType.STACK, 0, 8, 4),
        MapShape(MapType.RINGBUF, 0, 0, 4096),
        MapShape(MapType.PERCPU_ARRAY, 4, 8, 4),
    ],
    ids=lambda shape: shape.map_type.word,
)
def test_plain_maps_of_all_kinds(others: Others, shape: MapShape) -> None:
    path = others.plain("any", shape, {})
    done, spec = others.export("--pin", path)
    assert (done.status, done.err) == (0, "")
    others.unchanged(spec)


def test_long_contents_go_to_tables_beside_the_spec(others: Others) -> None:
    inner = MapShape(MapType.HASH, 4, 8, 256)
    many = {u32(number): u64(number + 1) for number in range(200)}
    first = others.outer("tenants", OUTER, inner, {u32(1): many, u32(2): many})
    second = others.outer("uneven", OUTER, inner, {u32(1): many, u32(2): {}})
    third = others.plain("active", MapShape(MapType.ARRAY, 4, 5000, 2), {u32(1): bytes(range(250)) * 20})
    folder = others.out / "adopted"
    done = run("export", "--pin", first, "--pin", second, "--pin", third, "--dir", folder)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert len(list(folder.iterdir())) == 4
    assert "outer_key: outer_key" in (folder / "adopted.yaml").read_text()
    others.unchanged(folder)
    again = run("export", "--pin", first, "--dir", folder)
    assert (again.status, "choose an empty directory" in again.err) == (1, True)


def test_from_export_to_a_change_and_back(others: Others) -> None:
    path = others.outer("tenants", OUTER, HASH, {u32(1): {u32(7): u64(70)}})
    _, spec = others.export("--pin", path)
    spec.write_text(spec.read_text().replace("0x4600", "0x4700"))
    assert run("plan", spec).status == 2
    assert run("apply", spec, "--yes").status == 0
    others.unchanged(spec)
    with open_inner(path, u32(1)) as inner:
        assert maps.lookup(inner, u32(7), 8) == u64(71)
    assert run("destroy", spec, "--yes").status == 0
    assert path.exists()


def open_inner(path: Path, key: bytes) -> MapFd:
    with maps.open_pin(path) as outer:
        return maps.open_id(InnerId(int.from_bytes(maps.lookup(outer, key, 4) or b"", "little")))


def test_what_bpftool_made(others: Others) -> None:
    path = str(others.folder / "plain")
    shape = ("type", "hash", "key", "4", "value", "4", "entries", "8", "name", "plain")
    subprocess.run(["bpftool", "map", "create", path, *shape], check=True)
    entry = ("key", "1", "0", "0", "0", "value", "9", "0", "0", "0")
    subprocess.run(["bpftool", "map", "update", "pinned", path, *entry], check=True)
    done, spec = others.export("--pin", others.folder / "plain")
    assert '"0x01000000": "0x09000000"' in done.out
    others.unchanged(spec)
    assert provisioner.load([spec]).desired.maps["plain"].adopted == str(others.folder / "plain")


def test_text_that_looks_like_a_variable_is_text(others: Others) -> None:
    path = others.plain("${pin}", MapShape(MapType.HASH, 8, 8, 8), {b"${key}\0\0": b"${value\0"})
    types = others.out / "types.yaml"
    types.write_text('maps:\n  pin_: {key: "char[8]", value: "char[8]"}\n')
    done, spec = others.export("--pin", path, "--types", types)
    assert '"$${key}": "$${value"' in done.out
    others.unchanged(spec)


def test_a_types_file_with_an_unknown_map_is_noted(others: Others) -> None:
    path = others.plain("active", MapShape(MapType.HASH, 4, 4, 8), {bytes(4): bytes(4)})
    types = others.out / "types.yaml"
    types.write_text("maps:\n  actve: {key: u32, value: u32}\n")
    done, _ = others.export("--pin", path, "--types", types)
    assert done.status == 0
    assert "`actve` (did you mean `active`?)" in done.err
    types.write_text("maps:\n  active: {key: u32, value: u32}\n")
    done, _ = others.export("--pin", path, "--types", types)
    assert (done.status, done.err) == (0, "")


def test_the_programs_of_a_prog_array_are_left_out(others: Others, bpf_object: Callable[[str], Path]) -> None:
    with load(bpf_object("jumps")) as loaded:
        bpffs.pin(loaded.maps["preset"], others.folder / "jumps")
    done, spec = others.export("--pin", others.folder / "jumps")
    assert done.status == 0
    assert "contents: ignore" in done.out
    others.unchanged(spec)


def test_maps_of_many_kinds(others: Others, bpf_object: Callable[[str], Path]) -> None:
    with load(bpf_object("odd_maps")) as loaded:
        for name, fd in loaded.maps.items():
            if not name.startswith("."):
                bpffs.pin(fd, others.folder / name)
        maps.update(loaded.maps["apart"], u32(1) + bytes(12), u32(2) + bytes(12) + u32(3) + bytes(4) + u64(4))
    pins = sorted(others.folder.iterdir())
    done, spec = others.export(*(word for pin in pins for word in ("--pin", pin)))
    assert done.status == 0, done.err
    assert "{inside: {first: 2}, second: 3, third: 4}" in done.out
    others.unchanged(spec)


def test_a_key_longer_than_yaml_takes_is_an_item(others: Others) -> None:
    wide, key = MapShape(MapType.HASH_OF_MAPS, 600, 4, 16), bytes(range(200)) * 3
    inner = MapShape(MapType.HASH, 600, 8, 16)
    done, spec = others.export("--pin", others.outer("wide", wide, inner, {key: {key: u64(1)}}))
    assert done.out.count('key: "0x') == 2
    others.unchanged(spec)
