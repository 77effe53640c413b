"""Types that a spec takes from the BTF of a live map, by its pin."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import provisioner
from provisioner.kernel import bpffs, maps, vmlinux
from provisioner.model.errors import InputError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.observed.snapshot_format import from_bytes, to_bytes
from tests.apply.conftest import Bench
from tests.problems import raises

THEIRS = """
types: {backend: {struct: {ip: be32, port: u16, weight: u16}}}
maps: {theirs: {type: hash, key: u32, value: backend, max_entries: 4, entries: {}}}
"""


def ours(pin: Path | str, name: str = "struct backend") -> str:
    return f"""
types: {{backend: {{btf: {name}, from: {pin}, as: {{ip: ipv4, port: be16}}}}}}
inner_templates: {{backends: {{type: hash, key: u32, value: backend, max_entries: 4}}}}
outer_maps:
  vips:
    type: hash_of_maps
    key: u32
    max_entries: 4
    inner: backends
    inner_maps: {{0: {{entries: {{1: {{ip: 192.0.2.1, port: 443, weight: 7}}}}}}}}
"""


@pytest.fixture
def theirs(bench: Bench, pin_root: Path) -> Path:
    """A map with BTF that another tool pinned."""
    bench.apply(THEIRS)
    with maps.open_pin(bench.root / "theirs") as fd:
        bpffs.pin(fd, pin_root / "theirs")
    bench.destroy(THEIRS)
    return pin_root / "theirs"


def test_a_type_comes_out_of_a_live_map(bench: Bench, theirs: Path) -> None:
    bench.settle(ours(theirs))
    assert bench.tree("vips")[bytes(4)] == {struct.pack("<I", 1): bytes([192, 0, 2, 1, 1, 187]) + struct.pack("<H", 7)}


def test_an_outer_map_gives_that_of_its_inner_maps(bench: Bench, theirs: Path) -> None:
    """Also when all that live are the provisioner's own."""
    bench.apply(ours(theirs))
    again = ours(bench.root / "vips").replace("weight: 7", "weight: 8")
    bench.settle(again)
    assert bench.tree("vips")[bytes(4)] == {struct.pack("<I", 1): bytes([192, 0, 2, 1, 1, 187]) + struct.pack("<H", 8)}
    bench.destroy(again)


def test_a_snapshot_carries_the_type(bench: Bench, theirs: Path) -> None:
    project = bench.load(ours(theirs))
    snapshot = from_bytes(to_bytes(project.snapshot()), "snapshot")
    bpffs.unpin(theirs)
    elsewhere = provisioner.load(bench.folder / "spec.yaml", pin_root=str(bench.root), snapshot=snapshot)
    assert elsewhere.plan(against=snapshot).digest == project.plan().digest
    other = bench.folder / "spec.yaml"
    other.write_text(other.read_text().replace(str(theirs), "/sys/fs/bpf/other"))
    with raises(InputError, "snapshot-mismatch") as caught:
        provisioner.load(other, pin_root=str(bench.root), snapshot=snapshot)
    assert str(caught.value.problems[0].where).endswith("spec.yaml:4:19")
    assert "/sys/fs/bpf/other" in str(caught.value)


def test_a_snapshot_carries_the_kernels_types(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the machine that plans would say of `vmlinux` does not count: here it has no BTF at all."""
    value = "{btf: struct ethhdr, from: vmlinux, as: {h_proto: be16}}"
    text = f"maps: {{m: {{type: hash, key: u32, value: {value}, max_entries: 4}}}}"
    project = bench.load(text)
    snapshot = from_bytes(to_bytes(project.snapshot()), "snapshot")
    older = bench.load("maps: {m: {type: hash, key: u32, value: 'bytes[14]', max_entries: 4}}").snapshot()
    spec = bench.folder / "spec.yaml"
    bench.load(text)
    monkeypatch.setattr(vmlinux, "_FILE", tmp_path / "none")
    elsewhere = provisioner.load(spec, pin_root=str(bench.root), snapshot=snapshot)
    assert elsewhere.plan(against=snapshot).digest == project.plan().digest
    with raises(InputError, "snapshot-mismatch", "btf-missing"):
        provisioner.load(spec, pin_root=str(bench.root), snapshot=older)
    with raises(InputError, "btf-missing", "btf-missing"):
        provisioner.load(spec, pin_root=str(bench.root))


def test_what_no_live_map_tells_is_refused_at_its_place(bench: Bench, theirs: Path, pin_root: Path) -> None:
    with (
        maps.create(MapShape(MapType.ARRAY, 4, 4, 1)) as bare,
        maps.create(MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 1), inner=bare) as outer,
    ):
        maps.insert_inner(outer, bytes(4), bare)
        bpffs.pin(bare, pin_root / "bare")
        bpffs.pin(outer, pin_root / "outer")
    bench.apply(ours(theirs))

    def refusal(text: str) -> str:
        with pytest.raises(InputError) as refused:
            bench.load(text)
        [problem] = refused.value.problems
        assert problem.where is not None
        assert problem.where.line == 4
        return f"{problem.what} ({problem.hint})"

    assert refusal(ours(pin_root / "none")).startswith(
        f"there is no pin {pin_root}/none to take BTF from (only the host"
    )
    assert refusal(ours(pin_root / "bare")).startswith(f"the map at {pin_root}/bare has no BTF (write the type out")
    why = "the kernel keeps none for outer maps themselves: write the type out, or take it elsewhere"
    assert refusal(ours(pin_root / "outer")) == f"no inner map of {pin_root}/outer has BTF ({why})"
    assert "the BTF has no type `struct backends` (did you mean `struct backend`" in refusal(
        ours(theirs, "struct backends")
    )
    bench.destroy(ours(theirs))


def test_a_path_that_is_no_pin_is_refused_at_its_place(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "none", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as refused:
            bench.load(ours(path))
        assert all(problem.where is not None and problem.where.line == 4 for problem in refused.value.problems)
