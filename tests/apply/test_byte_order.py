"""`migrate` of integers that get another byte order: the record has the old one, which BTF does not have."""

from __future__ import annotations

import struct

import pytest

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.host import possible_cpus
from provisioner.model.errors import RefusedError
from provisioner.planning.hazards import Overrides
from tests.apply.conftest import Bench

OLD, NEW = "{struct: {hits: u32, port: u16, tag: ipv4}}", "{struct: {hits: be32, port: u16, tag: ipv4}}"


def spec(key: str, value: str, *, outer: str = "u32", room: int = 8, policy: str = "migrate: auto") -> str:
    return f"""
types: {{counter: {value}}}
inner_templates:
  counts: {{type: hash, key: {key}, value: counter, max_entries: {room}, contents: ignore, {policy}}}
outer_maps:
  tenants: {{type: hash_of_maps, key: {outer}, max_entries: 8, inner: counts, inner_maps: {{1: {{}}, 258: {{}}}}}}
maps:
  total: {{type: hash, key: {key}, value: counter, max_entries: {room}, contents: present, {policy}}}
"""


def number(order: str, count: int) -> bytes:
    return struct.pack(f"{order}I", count)


def value(order: str, hits: int) -> bytes:
    return struct.pack(f"{order}I", hits) + struct.pack("<H2x", 80) + bytes((10, 0, 0, 1))


@pytest.fixture
def live(bench: Bench) -> Bench:
    """Maps in which another process wrote an entry each."""
    bench.overrides = Overrides()
    bench.settle(spec("u32", OLD))
    with maps.open_pin(bench.root / "total") as fd:
        maps.update(fd, number("<", 7), value("<", 1000))
    with maps.open_id(InnerId(bench.ids("tenants")[number("<", 258)])) as fd:
        maps.update(fd, number("<", 7), value("<", 1000))
    return bench


@pytest.mark.parametrize("room", [8, 16])
def test_keys_and_values_keep_their_numbers(room: int, live: Bench) -> None:
    live.settle(spec("be32", NEW, room=room))
    expected = {number(">", 7): value(">", 1000)}
    assert live.entries("total") == expected
    assert live.tree("tenants")[number("<", 258)] == expected
    live.settle(spec("u32", OLD, room=room))
    assert live.entries("total") == {number("<", 7): value("<", 1000)}


def test_outer_keys_keep_their_numbers_and_inner_maps_their_ids(live: Bench) -> None:
    before = live.ids("tenants")
    live.settle(spec("u32", OLD, outer="be32"))
    assert live.ids("tenants") == {number(">", each): before[number("<", each)] for each in (1, 258)}


@pytest.mark.parametrize("outer", ["be32", "u64"])
def test_a_slot_does_not_move_while_its_key_changes(outer: str, live: Bench) -> None:
    before = live.ids("tenants")
    moved = 'moved: [{from: "tenants[258]", to: "tenants[259]"}]\n'
    new = spec("u32", OLD, outer=outer).replace("258:", "259:") + moved
    assert [(each.rule, each.address) for each in live.plan(new).blocked] == [("moved-key-changes", "tenants[259]")]
    live.settle(spec("u32", OLD).replace("258:", "259:") + moved)
    live.settle(new)
    kept = [number("<", 1), number("<", 258)]
    assert sorted(live.ids("tenants").values()) == sorted(before[key] for key in kept)


def test_another_size_with_another_byte_order(live: Bench) -> None:
    live.settle(spec("be64", NEW.replace("be32", "be64")))
    wide = struct.pack(">QH2x", 1000, 0x5000) + bytes((10, 0, 0, 1))
    assert live.entries("total") == {struct.pack(">Q", 7): wide}


def test_types_from_a_file_have_the_byte_order(live: Bench) -> None:
    """The spec only said it wrongly, and the file corrects the record: the bytes stay."""
    (live.folder / "old.yaml").write_text(f"key: be32\nvalue: {NEW}\n")
    live.settle(spec("be32", NEW, policy="migrate: {from_types: old.yaml}"))
    assert live.entries("total") == {number("<", 7): value("<", 1000)}


def test_without_migrate_the_bytes_stay(live: Bench) -> None:
    plan = live.plan(spec("be32", NEW, policy=""))
    assert {hazard.address for hazard in plan.hazards if hazard.id == "entries-reinterpreted"} == {"tenants", "total"}
    live.settle(spec("be32", NEW, policy=""))
    assert live.entries("total") == {number("<", 7): value("<", 1000)}


def test_a_number_that_does_not_fit_is_refused(live: Bench) -> None:
    with maps.open_pin(live.root / "total") as fd:
        maps.update(fd, number("<", 8), value("<", 70000))
    with pytest.raises(RefusedError) as refused:
        live.settle(spec("u32", OLD.replace("u32", "be16")))
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("migrate-value", "total[8]")]


def test_values_of_each_cpu(live: Bench) -> None:
    text = "maps: {sums: {type: percpu_hash, key: u32, value: VALUE, max_entries: 8, contents: present, migrate: auto}}"
    live.settle(text.replace("VALUE", "u32"))
    with maps.open_pin(live.root / "sums") as fd:
        maps.update(fd, number("<", 7), b"".join(struct.pack("<Q", 1000 + cpu) for cpu in range(possible_cpus())))
    live.settle(text.replace("VALUE", "be32"))
    with maps.open_pin(live.root / "sums") as fd:
        held = maps.lookup(fd, number("<", 7), 8 * possible_cpus())
    assert held == b"".join(struct.pack(">I4x", 1000 + cpu) for cpu in range(possible_cpus()))
