"""Live maps whose values hold fields of the kernel's own, as specs that plan to no changes."""

from __future__ import annotations

import struct
import sys

import pytest
from msgspec.structs import replace

from provisioner.codec.btf_emit import btf_of
from provisioner.codec.integer import Integer
from provisioner.codec.layout import lay_out_struct
from provisioner.codec.members import Opaque
from provisioner.kernel import bpffs, maps
from provisioner.shape import MapShape
from provisioner.uapi import MapType
from tests.adopt.conftest import Others

U32 = Integer("u32", 4, False, sys.byteorder, 32)


@pytest.mark.parametrize(("kind", "size"), [("bpf_spin_lock", 4), ("bpf_timer", 16)])
def test_a_pinned_map_gives_the_type_of_its_values(others: Others, kind: str, size: int) -> None:
    value = lay_out_struct([("special", Opaque(kind, size, min(size, 8))), ("limit", U32)], packed=False)
    value = replace(value, name="account")
    shape = MapShape(MapType.HASH, 4, value.size, 4, specials=value.specials)
    data, key_id, value_id = btf_of(U32, value, sys.byteorder)
    written = bytearray(value.size)
    written[size : size + 4] = struct.pack("=I", 77)
    with maps.load_btf(data) as btf:
        pin = others.plain(
            "accounts", shape, {struct.pack("=I", 1): bytes(written)}, btf=btf, key_id=key_id, value_id=value_id
        )
    done, spec = others.export("--pin", pin)
    assert done.status == 0
    assert f'value: {{btf: "struct account", from: {pin}}}' in done.out
    assert "1: {limit: 77}" in done.out
    others.unchanged(spec)


def test_inner_maps_without_a_pin_are_told_of(others: Others) -> None:
    value = replace(lay_out_struct([("lock", Opaque("bpf_spin_lock", 4, 4)), ("limit", U32)], packed=False), name="a")
    shape = MapShape(MapType.HASH, 4, value.size, 4, specials=value.specials)
    data, key_id, value_id = btf_of(U32, value, sys.byteorder)
    pin = others.folder / "tenants"
    with (
        maps.load_btf(data) as btf,
        maps.create(shape, btf=btf, btf_key_type_id=key_id, btf_value_type_id=value_id) as inner,
        maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 4), "tenants", inner=inner) as outer,
    ):
        bpffs.pin(outer, pin)
        maps.insert_inner(outer, bytes(4), inner)
    done, _ = others.export("--pin", pin)
    assert done.status == 0
    assert "holds fields of the kernel's own (bpf_spin_lock at 0)" in done.err
