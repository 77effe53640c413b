"""Live maps whose values hold fields of the kernel's own, as specs that plan to no changes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from provisioner.codec.btf_emit import btf_of
from provisioner.codec.integer import Integer
from provisioner.codec.layout import Struct, lay_out_struct
from provisioner.codec.members import Opaque
from provisioner.kernel import bpffs, maps, objects
from provisioner.kernel.fd import MapFd
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType
from provisioner.observed.snapshot_format import from_bytes, to_bytes
from provisioner.project.opening import load
from tests.adopt.conftest import Others
from tests.cli.support import run

U32 = Integer("u32", 4, False, sys.byteorder, 32)
KINDS = [("bpf_spin_lock", 4), ("bpf_timer", 16), ("bpf_wq", 16), ("kptr task_struct", 8)]


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def account(kind: str, size: int, name: str = "account") -> Struct:
    """`struct account {KIND special; u32 limit;}`."""
    return replace(lay_out_struct([("special", Opaque(kind, size, min(size, 8))), ("limit", U32)], False), name=name)


def limit(value: Struct, number: int) -> bytes:
    at = value.fields[1].offset
    return bytes(at) + u32(number) + bytes(value.size - at - 4)


@contextmanager
def accounts(value: Struct, kind: MapType = MapType.HASH) -> Iterator[MapFd]:
    """A map of such values, nowhere pinned."""
    flags = MapFlag.INNER_MAP if kind is MapType.ARRAY else MapFlag(0)
    data, key_id, value_id = btf_of(U32, value, sys.byteorder)
    with maps.load_btf(data) as btf:
        shape = MapShape(kind, 4, value.size, 4, flags, specials=value.specials)
        with maps.create(shape, "accounts", btf=btf, btf_key_type_id=key_id, btf_value_type_id=value_id) as fd:
            yield fd


def tenants(others: Others, outer: MapType, inner: MapFd, slots: int) -> Path:
    """An outer map, pinned, with `inner` in its first slots: its inner maps have no other pin."""
    with maps.create(MapShape(outer, 4, 4, 4), "tenants", inner=inner) as fd:
        bpffs.pin(fd, others.folder / "tenants")
        for slot in range(slots):
            maps.insert_inner(fd, u32(slot), inner)
    return others.folder / "tenants"


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_a_pinned_map_gives_the_type_of_its_values(others: Others, kind: str, size: int) -> None:
    value = account(kind, size)
    pin = others.folder / "accounts"
    with accounts(value) as fd:
        maps.update(fd, u32(1), limit(value, 77))
        bpffs.pin(fd, pin)
    done, spec = others.export("--pin", pin)
    assert (done.status, done.err) == (0, "")
    assert f'value: {{btf: "struct account", from: {pin}}}' in done.out
    assert "1: {limit: 77}" in done.out
    others.unchanged(spec)


def test_a_union_without_a_name_is_taken_from_the_pin(others: Others, bpf_object: Callable[[str], Path]) -> None:
    pin = others.folder / "endpoints"
    with objects.load(bpf_object("unions")) as loaded:
        bpffs.pin(loaded.maps["endpoints"], pin)
        for number in (1, 2):
            value = bytes([number] * 16) + u32(number)
            maps.update(loaded.maps["endpoints"], value, value)
    done, spec = others.export("--pin", pin)
    assert (done.status, done.err) == (0, "")
    assert f'value: {{btf: "struct endpoint", from: {pin}}}' in done.out
    others.unchanged(spec)


@pytest.mark.parametrize("inner", [MapType.HASH, MapType.ARRAY])
@pytest.mark.parametrize("outer", [MapType.HASH_OF_MAPS, MapType.ARRAY_OF_MAPS])
@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_inner_maps_give_it_by_the_pin_of_their_outer_map(
    others: Others, kind: str, size: int, outer: MapType, inner: MapType
) -> None:
    value = account(kind, size)
    with accounts(value, inner) as first_map, accounts(value, inner) as other:
        maps.update(first_map, u32(1), limit(value, 77))
        pin = tenants(others, outer, first_map, 1)
        with maps.open_pin(pin) as fd:
            maps.insert_inner(fd, u32(2), other)
    done, spec = others.export("--pin", pin)
    assert (done.status, done.err) == (0, "")
    assert f'value: {{btf: "struct account", from: {pin}}}' in done.out
    others.unchanged(spec)


def test_such_a_spec_makes_new_inner_maps_that_fit(others: Others) -> None:
    """And the type is still to be had when each inner map is one of ours."""
    value = account("bpf_spin_lock", 4)
    with accounts(value, MapType.ARRAY) as fd:
        maps.update(fd, u32(1), limit(value, 77))
        pin = tenants(others, MapType.ARRAY_OF_MAPS, fd, 1)
    _, spec = others.export("--pin", pin)
    wanted = (
        spec.read_text().replace("{limit: 77}", "{limit: 78}").replace("inner_maps:\n", "inner_maps:\n      3: {}\n")
    )
    spec.write_text(wanted.replace("    inner: ", "    update: replace\n    inner: "))
    assert run("apply", spec, "--yes").status == 0
    others.unchanged(spec)
    snapshot = from_bytes(to_bytes(load(spec).snapshot()), "snapshot")
    assert not load(spec, snapshot=snapshot).plan(against=snapshot).changed


def test_an_outer_map_that_is_to_be_pinned_gives_it_then(others: Others) -> None:
    value = account("bpf_spin_lock", 4)
    with accounts(value) as fd:
        loose = tenants(others, MapType.HASH_OF_MAPS, fd, 1)
    with maps.open_pin(loose) as outer:
        bpffs.unpin(loose)
        done, spec = others.export("--id", str(maps.info(outer).id), "--pin-root", "ignored")
        bpffs.pin(outer, loose)
    assert 'value: {btf: "struct account", from: /sys/fs/bpf/tenants}' in done.out
    spec.write_text(done.out.replace("/sys/fs/bpf", str(others.folder)) + f"pin_root: {others.folder}/adopted\n")
    others.unchanged(spec)


def test_without_an_inner_map_there_is_none_to_ask(others: Others) -> None:
    with accounts(account("bpf_spin_lock", 4)) as fd:
        pin = tenants(others, MapType.HASH_OF_MAPS, fd, 1)
    _, spec = others.export("--pin", pin)
    with maps.open_pin(pin) as outer:
        maps.delete(outer, u32(0))
    done = run("plan", spec)
    assert done.status == 1
    assert f"spec.yaml:10:13: error[btf-missing]: no inner map of {pin} has BTF" in done.err


def test_a_types_file_refines_what_btf_tells(others: Others) -> None:
    value = account("bpf_spin_lock", 4)
    with accounts(value) as fd:
        maps.update(fd, u32(1), limit(value, 0x0A000001))
        pin = tenants(others, MapType.HASH_OF_MAPS, fd, 1)
    types = others.out / "types.yaml"
    types.write_text(
        f"""
types: {{account: {{btf: struct account, from: {pin}, as: {{limit: le32}}}}}}
inner_templates: {{accounts: {{key: u32, value: account}}}}
outer_maps: {{tenants: {{key: u32, inner: accounts}}}}
"""
    )
    done, spec = others.export("--pin", pin, "--types", types)
    assert (done.status, done.err) == (0, "")
    assert f'  account: {{btf: "struct account", from: {pin}, as: {{limit: le32}}}}' in done.out
    others.unchanged(spec)
    types.write_text("maps: {tenants: {key: u32, value: {btf: struct a, from: /sys/fs/bpf/none}}}")
    done, _ = others.export("--pin", pin, "--types", types)
    assert (done.status, done.out) == (1, "")
    assert "types.yaml:1:" in done.err
    assert "there is no pin /sys/fs/bpf/none to take BTF from" in done.err


def test_a_struct_without_a_name_is_reported(others: Others) -> None:
    with accounts(account("bpf_spin_lock", 4, name="")) as fd:
        pin = tenants(others, MapType.HASH_OF_MAPS, fd, 1)
    done, spec = others.export("--pin", pin)
    assert done.status == 0
    fields = "have kernel fields (bpf_spin_lock at 0), which only a named BTF type can declare"
    assert f"    # Incomplete: the values {fields}.\n    value: " in done.out
    assert f"Note: the value of tenants's inner maps {fields.replace('have', 'has', 1)}: a plan will differ" in done.err
    assert run("plan", spec).status == 4
