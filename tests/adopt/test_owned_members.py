"""Owned members without the spec: the record of the project has them, for exports and for what is shown of pins."""

from __future__ import annotations

import io
from pathlib import Path

import provisioner
from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from tests.apply.conftest import Bench
from tests.cli.support import run

SPEC = """
types:
  rate: {struct: {burst: be16, seen: u16, history: "u8[4]"}}
  quota: {struct: {limit: u64, rate: rate, tokens: u64, secret: {type: u32, sensitive: true}}}
inner_templates:
  sums: {type: array, key: u32, value: {struct: {ours: u32, theirs: u32}}, max_entries: 4, owned_members: [ours]}
maps:
  quotas:
    type: hash
    key: u32
    value: quota
    max_entries: 8
    owned_members: [limit, rate.burst]
    set: {tokens: 500, rate: {history: [1, 0, 2, 0]}, secret: 7}
    entries: {1: {limit: 100, rate: {burst: 3}}}
outer_maps:
  tenants: {type: array_of_maps, key: u32, max_entries: 8, inner: sums, inner_maps: {5: {entries: {3: {ours: 2}}}}}
"""


def others_write(bench: Bench) -> None:
    """All members but ours get another value, and an element of the array that the spec does not list."""
    with maps.open_pin(bench.root / "quotas") as fd:
        key, value = b"\1\0\0\0", bytearray(b"\x99" * 32)
        value[0:8], value[8:10] = (100).to_bytes(8, "little"), (3).to_bytes(2, "big")
        maps.update(fd, key, bytes(value))
    with maps.open_id(InnerId(bench.ids("tenants")[b"\5\0\0\0"])) as fd:
        maps.update(fd, b"\0\0\0\0", b"\0\0\0\0\7\0\0\0")


def test_a_plan_of_the_export_has_no_changes(bench: Bench) -> None:
    bench.settle(SPEC)
    others_write(bench)
    done = run("export", "--pin", bench.root / "quotas", "--pin", bench.root / "tenants")
    assert done.status == 0
    assert "    owned_members: [limit, rate.burst]\n    set: {rate: {history: [1, 0, 2, 0]}, tokens: 500}\n" in done.out
    assert "      1: {limit: 100, rate: {burst: 3}}\n" in done.out
    assert "          0: {ours: 0}\n          3: {ours: 2}\n" in done.out
    exported = provisioner.load("-", stdin=io.StringIO(done.out))
    plan = exported.plan()
    assert (plan.steps, plan.blocked) == ((), ())


def test_a_map_with_a_pin_elsewhere_has_its_record_in_the_pin_root(bench: Bench, kernel: Path) -> None:
    place = kernel / "elsewhere" / "limits"
    own = f"    own: true\n    pin: {place}\n    type: hash"
    bench.settle(text := SPEC.replace("    type: hash", own))
    done = run("export", "--pin", place)
    assert "    owned_members: [limit, rate.burst]\n" in done.out
    bench.destroy(text)


def test_a_type_of_the_user_can_have_other_owned_members(bench: Bench, tmp_path: Path) -> None:
    bench.settle(SPEC)
    types, value = tmp_path / "types.yaml", "{struct: {a: u64, b: u64, c: 'bytes[16]'}}"
    types.write_text(f"maps: {{quotas: {{key: u32, value: {value}, owned_members: [b]}}}}")
    out = run("export", "--pin", bench.root / "quotas", "--types", types).out
    assert "    owned_members: [b]\n" in out
    types.write_text(f"maps: {{quotas: {{key: u32, value: {value}}}}}")
    done = run("export", "--pin", bench.root / "quotas", "--types", types)
    assert "owned_members:" not in done.out
    assert "`owned_members` of quotas are not written: the struct {a: u64, b: u64, c: bytes[16]} has no" in done.err


def test_what_is_pinned_shows_who_owns_a_member(bench: Bench) -> None:
    bench.settle(SPEC)
    pinned = provisioner.load_pinned(bench.root)
    nodes = {node.address: node for node in pinned.live().nodes}
    assert "owned members limit, rate.burst" in nodes["quotas"].text
    assert "owned members ours" in nodes["tenants"].text
    facts = pinned.explain("quotas")
    names = ["rate.seen", "rate.history", "tokens", "secret"]
    assert [fact.data for fact in facts if fact.label == "not owned"] == [{"not_owned": names}]
    assert "(sensitive)" in str(pinned.explain("quotas[1]"))


def test_another_owner_changes_the_record_alone(bench: Bench) -> None:
    """What is recorded is what the spec says now."""
    bench.settle(SPEC)
    bench.settle(SPEC.replace("[limit, rate.burst]", "[limit]").replace(", rate: {burst: 3}", ""))
    (node,) = (node for node in provisioner.load_pinned(bench.root).live().nodes if node.address == "quotas")
    assert "owned members limit," in node.text


def test_members_of_a_new_layout_are_seen(bench: Bench) -> None:
    """The types of a map with owned members are recorded, too: entries in another layout are a hazard."""
    bench.settle(SPEC)
    moved = SPEC.replace("burst: be16, seen: u16", "seen: u16, burst: be16")
    found = bench.load(moved).plan().hazards
    assert ("entries-reinterpreted", "quotas") in [(hazard.id, hazard.address) for hazard in found]
