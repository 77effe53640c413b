"""`migrate`: the shape of a map changes, and its entries are carried into the new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.apply import Status, merge
from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.model.desired import DesiredMap
from provisioner.model.errors import ApplyError, Problem, ProvisionerError, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action
from provisioner.planning.counts import EntryCounts
from provisioner.planning.hazards import Overrides
from provisioner.report.model import Verb
from provisioner.views.plan_report import report
from tests.apply.conftest import Bench

NO_OVERRIDES = Overrides()
AUTO = "migrate: auto"


def spec(value: str, policy: str = "", slots: str = "1: {}", *, kind: str = "hash", outer: str = "") -> str:
    return f"""
inner_templates:
  counts: {{type: {kind}, key: u32, value: {value}, max_entries: 8, contents: present{policy and ", "}{policy}}}
outer_maps:
  tenants: {{type: hash_of_maps, key: u32, max_entries: 8, inner: counts, {outer} inner_maps: {{{slots}}}}}
"""


def struct(**members: str) -> str:
    return "{struct: {" + ", ".join(f"{name}: {kind}" for name, kind in members.items()) + "}}"


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


@pytest.fixture
def tenants(bench: Bench) -> Bench:
    bench.overrides = NO_OVERRIDES
    return bench


def put(bench: Bench, slot: int, key: bytes, value: bytes) -> None:
    """Write an entry as the data plane does."""
    with maps.open_id(InnerId(bench.ids("tenants")[u32(slot)])) as fd:
        maps.update(fd, key, value)


def problems(bench: Bench, text: str) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as refused:
        bench.apply(text)
    return [(problem.id, problem.address) for problem in refused.value.problems]


def test_members_go_by_name(tenants: Bench) -> None:
    tenants.settle(
        spec(
            struct(hits="u32", port="be16", zone="u16"), slots="1: {}, 2: {entries: {5: {hits: 1, port: 80, zone: 9}}}"
        )
    )
    put(tenants, 1, u32(7), u32(1000) + b"\0\x50" + b"\x09\0")
    after = struct(zone="u32", packets="u64", port="be16", note="u8")
    policy = "migrate: {rename: {hits: packets}, set: {note: 3}}"
    slots = "1: {}, 2: {entries: {5: {packets: 2, port: 80, zone: 9, note: 4}}}"
    text = spec(after, policy, slots)
    planned = tenants.plan(text)
    node = next(node for node in report(planned).nodes if node.address == "tenants")
    assert "migrate: 2 entries, hits -> packets, set note" in node.text
    assert node.after["migrate"] == {
        "entries": 2,
        "renamed": {"hits": "packets"},
        "new": [],
        "set": ["note"],
        "dropped": [],
    }
    facts = {fact.label: fact.text for fact in tenants.load(text).explain("tenants")}
    assert "migrate: 2 entries" in facts["to do"]
    assert tenants.load(text).apply(NO_OVERRIDES, expected=planned.digest)[1].status is Status.APPLIED, "a saved plan"
    tenants.settle(text)
    assert planned.maps["tenants"].action is Action.REPLACE
    tree = tenants.tree("tenants")
    assert tree[u32(1)] == {u32(7): u32(9) + bytes(4) + u64(1000) + b"\0\x50\x03" + bytes(5)}
    assert tree[u32(2)] == {u32(5): u32(9) + bytes(4) + u64(2) + b"\0\x50\x04" + bytes(5)}


def test_without_migrate_the_loss_is_counted_and_refused(tenants: Bench) -> None:
    tenants.settle(spec("u32"))
    put(tenants, 1, u32(7), u32(1000))
    assert problems(tenants, spec("u64")) == [("recreate", "tenants")]
    plan = tenants.plan(spec("u64"))
    assert "(1 entry)" in plan.blocked[0].message
    plan, _ = tenants.settle(spec("u64", "migrate: drop"))
    assert [hazard.id for hazard in plan.hazards] == ["map-recreated"]
    assert tenants.tree("tenants") == {u32(1): {}}


def test_what_does_not_fit_is_refused_with_the_entry(tenants: Bench) -> None:
    tenants.settle(spec("u64"))
    put(tenants, 1, u32(7), u64(255))
    put(tenants, 1, u32(8), u64(256))
    before = tenants.ids("tenants")
    assert problems(tenants, spec("u8", AUTO)) == [("migrate-value", "tenants[1][8]")]
    assert tenants.ids("tenants") == before
    narrowed = spec("u8", AUTO, "1: {entries: {8: 1}}")
    tenants.settle(narrowed)
    assert tenants.tree("tenants")[u32(1)] == {u32(7): b"\xff", u32(8): b"\x01"}, (
        "the spec says the value that did not fit"
    )


def test_many_entries_that_do_not_fit_are_counted(tenants: Bench) -> None:
    roomy = spec("{struct: {a: u32, b: u32}}").replace("max_entries: 8, contents", "max_entries: 64, contents")
    tenants.settle(roomy)
    for key in range(30):
        put(tenants, 1, u32(key), u32(1 << 20) + u32(1))
    plan = tenants.plan(
        roomy.replace("{struct: {a: u32, b: u32}}", "{struct: {a: u8}}").replace("present", f"present, {AUTO}")
    )
    ids = [refusal.rule for refusal in plan.blocked]
    assert ids == ["migrate-value"] * 21 + ["migrate-loss"]
    assert "10 more entries" in plan.blocked[20].message
    assert "in 30 entries" in plan.blocked[21].message


def test_a_member_that_goes_needs_consent(tenants: Bench) -> None:
    tenants.settle(spec(struct(a="u32", b="u32")))
    put(tenants, 1, u32(7), u32(1) + u32(0))
    tenants.settle(spec(struct(a="u32"), AUTO))
    put(tenants, 1, u32(7), u32(1))
    assert problems(tenants, spec(struct(b="u64"), AUTO)) == [("migrate-loss", "tenants")]
    tenants.overrides = Overrides(allow_recreate=True)
    tenants.settle(spec(struct(b="u64"), AUTO))
    assert tenants.tree("tenants")[u32(1)] == {u32(7): u64(0)}


@pytest.mark.parametrize(
    "keep", ["extra_inner_maps: keep,", "owned_keys: 0..1,", "owned_keys: 0..1, extra_inner_maps: fail,"]
)
def test_slots_that_policy_keeps_are_carried_over(keep: str, tenants: Bench) -> None:
    tenants.settle(spec("u32", slots="1: {}, 2: {max_entries: 16}"))
    put(tenants, 2, u32(9), u32(5))
    tenants.settle(spec("u64", AUTO, outer=keep))
    assert tenants.tree("tenants") == {u32(1): {}, u32(2): {u32(9): u64(5)}}
    with maps.open_id(InnerId(tenants.ids("tenants")[u32(2)])) as fd:
        assert maps.info(fd).shape.max_entries == 16


def test_a_failure_brings_the_old_maps_back(tenants: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants.settle(spec("u32"))
    put(tenants, 1, u32(7), u32(1000))
    before, tree = tenants.ids("tenants"), tenants.tree("tenants")
    project = tenants.load(spec("u64", AUTO))
    from provisioner.project import project as module

    monkeypatch.setattr(module, "remaining", lambda *_: (Problem("differs", id="not-converged"),))
    with pytest.raises(ApplyError):
        project.apply(NO_OVERRIDES)
    monkeypatch.undo()
    assert (tenants.ids("tenants"), tenants.tree("tenants")) == (before, tree)
    tenants.settle(spec("u64", AUTO))


@pytest.mark.parametrize(
    ("before", "after"), [("hash", "lru_hash"), ("array", "hash"), ("hash", "array"), ("percpu_hash", "percpu_array")]
)
def test_the_type_of_inner_maps_changes(before: str, after: str, tenants: Bench) -> None:
    tenants.settle(spec("u32", kind=before))
    percpu = before.startswith("percpu")
    cpus = tenants.load(spec("u32")).desired.host.possible_cpus if percpu else 1
    put(tenants, 1, u32(7), b"".join(u32(cpu + 1) + (bytes(4) if percpu else b"") for cpu in range(cpus)))
    tenants.settle(spec("u64", AUTO, kind=after))
    shape_of = maps.open_id(InnerId(tenants.ids("tenants")[u32(1)]))
    with shape_of as fd:
        assert maps.info(fd).shape.map_type.word == after
        assert maps.lookup(fd, u32(7), 8 * cpus) == b"".join(u64(cpu + 1) for cpu in range(cpus))


def test_a_full_map_becomes_an_lru_that_keeps_all(tenants: Bench) -> None:
    """The entry of the spec is written once: to write it over a copy, a full LRU map would evict another one."""
    slots = "1: {entries: {0: 5}}"
    tenants.settle(spec("u32", slots=slots))
    held = {u32(key): u32(5) for key in range(8)}
    for key, value in held.items():
        put(tenants, 1, key, value)
    after = spec("u32", AUTO, slots, kind="lru_hash")
    assert problems(tenants, after.replace("max_entries: 8", "max_entries: 7", 1)) == [("lru-eviction", "tenants[1]")]
    tenants.settle(after)
    assert tenants.tree("tenants")[u32(1)] == held


def test_a_plain_map_is_migrated(tenants: Bench) -> None:
    text = """
maps:
  switch: {{type: hash, key: u16, value: {}, max_entries: {}, contents: present, entries: {{1: 1}}, {}}}
"""
    tenants.settle(text.format("u32", 4, ""))
    with maps.open_pin(tenants.root / "switch") as fd:
        maps.update(fd, b"\x02\0", u32(70))
    tenants.settle(text.format("u64", 8, AUTO).replace("key: u16", "key: u32"))
    assert tenants.entries("switch") == {u32(1): u64(1), u32(2): u64(70)}


@pytest.mark.parametrize(("policy", "ends"), [("new", 12), ("old", 15), ("sum", 17)])
def test_of_two_changes_of_a_plain_map_the_policy_decides(
    policy: str, ends: int, tenants: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "maps: {m: {type: hash, key: u32, value: VALUE, max_entries: 4, contents: ignore, migrate: auto, POLICY}}"
    text = text.replace("POLICY", f"on_conflict: {policy}")
    tenants.settle(text.replace("VALUE", "u32"))
    with maps.open_pin(tenants.root / "m") as fd:
        maps.update(fd, u32(7), u32(10))
    carry_over = merge.carry_over

    def meanwhile(desired: DesiredMap, targets: list[MapFd], *others: Any) -> int:
        with maps.open_pin(tenants.root / "_old_m") as old:
            maps.update(old, u32(7), u32(15))
        maps.update(targets[0], u32(7), u64(12))
        return carry_over(desired, targets, *others)

    monkeypatch.setattr(merge, "carry_over", meanwhile)
    plan, _ = tenants.settle(text.replace("VALUE", "u64"))
    assert ("differences of counters are added" in plan.hazards[0].message) is (policy == "sum")
    assert tenants.entries("m") == {u32(7): u64(ends)}


def test_outer_maps_of_another_type_keep_their_inner_maps(tenants: Bench) -> None:
    tenants.settle(spec("u32"))
    before = tenants.ids("tenants")
    tenants.settle(spec("u32").replace("hash_of_maps", "array_of_maps"))
    assert {key: number for key, number in tenants.ids("tenants").items() if number} == before
    tenants.settle(spec("u32"))
    assert tenants.ids("tenants") == before


@pytest.mark.parametrize(
    ("before", "after"), [("hash", "lpm_trie"), ("lpm_trie", "hash")], ids=["to a trie", "from a trie"]
)
def test_a_prefix_is_not_a_number(before: str, after: str, tenants: Bench) -> None:
    """Also where both keys have 8 bytes."""
    words = {
        "hash": "{type: hash, key: u64, value: u32, max_entries: 8, contents: present, POLICY}",
        "lpm_trie": "{type: lpm_trie, key: cidr4, value: u32, max_entries: 8, contents: present, POLICY}",
    }
    outer = "{tenants: {type: hash_of_maps, key: u32, max_entries: 8, inner: t, inner_maps: {1: {}}}}"
    text = f"inner_templates: {{t: TEMPLATE}}\nouter_maps: {outer}\n"
    tenants.settle(text.replace("TEMPLATE", words[before].replace(", POLICY", "")))
    assert problems(tenants, text.replace("TEMPLATE", words[after].replace("POLICY", AUTO))) == [
        ("migrate-types", "tenants")
    ]


def test_each_entry_that_does_not_fit_is_named(tenants: Bench) -> None:
    tenants.settle(spec("u32"))
    with maps.open_id(InnerId(tenants.ids("tenants")[u32(1)])) as fd:
        for key, value in ((1, 1000), (2, 2), (300, 300)):
            maps.update(fd, u32(key), u32(value))
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec("u8", AUTO))
    found = {problem.address: problem.what for problem in refused.value.problems}
    assert found == {"tenants[1][1]": "1000 does not fit u8", "tenants[1][300]": "300 does not fit u8"}
    assert problems(tenants, spec("u32", AUTO, kind="array")) == [("migrate-value", "tenants[1][300]")]


@pytest.mark.parametrize("key", ["u64", "u16"])
def test_outer_keys_of_any_width_are_converted(key: str, tenants: Bench) -> None:
    tenants.settle(spec("u32"))
    before = tenants.ids("tenants")
    tenants.settle(spec("u32", outer="migrate: auto,").replace("hash_of_maps, key: u32", f"hash_of_maps, key: {key}"))
    assert list(tenants.ids("tenants").values()) == list(before.values())


def test_a_slot_whose_key_does_not_fit_goes_if_the_spec_deletes_it(tenants: Bench) -> None:
    tenants.settle(spec("u32", slots="1: {}, 300: {}"))
    put(tenants, 300, u32(7), u32(9))
    before = tenants.ids("tenants")
    narrow = spec("u32", outer="migrate: auto,").replace("hash_of_maps, key: u32", "hash_of_maps, key: u8")
    kept = narrow.replace("migrate: auto,", "migrate: auto, extra_inner_maps: keep,")
    assert problems(tenants, kept) == [("migrate-value", "tenants[0x2c010000]")]
    plan, _ = tenants.settle(narrow)
    slot = next(iter(report(plan).nodes[0].children or ()))
    assert (slot.verb, slot.address, slot.entries) == (
        Verb.DELETE,
        "tenants[0x2c010000]",
        EntryCounts(delete=1),
    )
    assert tenants.ids("tenants") == {b"\x01": before[u32(1)]}


def test_outer_keys_are_converted(tenants: Bench) -> None:
    text = spec("u32").replace("hash_of_maps, key: u32", "hash_of_maps, key: u16")
    tenants.settle(text)
    before = tenants.ids("tenants")
    assert problems(tenants, spec("u32")) == [("recreate", "tenants")]
    tenants.settle(spec("u32", outer="migrate: auto,"))
    assert tenants.ids("tenants") == {u32(1): before[b"\x01\0"]}


@pytest.mark.parametrize("kind", ["hash", "array"])
def test_inner_maps_that_are_replaced_while_outer_keys_are_converted_keep_what_others_wrote(
    kind: str, tenants: Bench
) -> None:
    """The program took the last token of one entry, and made another."""
    quotas = f"owned_members: [limit], set: {{tokens: 5}}, on_replace: copy{', flags: [inner_map]' * (kind == 'array')}"
    slots = "1: {entries: {1: {limit: 7}}}"
    text = spec(struct(limit="u32", tokens="u32"), quotas, slots, kind=kind)
    tenants.settle(text)
    put(tenants, 1, u32(1), u32(7) + u32(0))
    put(tenants, 1, u32(3), u32(0) + u32(9))
    text = text.replace("inner_maps: {1: {", "migrate: auto, inner_maps: {1: {max_entries: 16, ")
    tenants.settle(text.replace("hash_of_maps, key: u32", "hash_of_maps, key: u16"))
    live = {key: value for key, value in tenants.tree("tenants")[b"\x01\0"].items() if key in (u32(1), u32(3))}
    assert live == {u32(1): u32(7) + u32(0), u32(3): u32(0) + u32(9)}


def test_types_of_a_map_that_is_unknown_come_from_a_file(tenants: Bench, tmp_path: Path) -> None:
    """A map that another tool made, without BTF and without a record."""
    tenants.root.mkdir()
    with maps.create(MapShape(MapType.HASH, 4, 4, 4)) as fd:
        maps.update(fd, u32(7), u32(9))
        bpffs.pin(fd, tenants.root / "switch")
    tenants.overrides = Overrides(take_over=True)
    text = "maps: {switch: {type: hash, key: u32, value: VALUE, max_entries: 4, contents: ignore, POLICY}}"
    text = text.replace("VALUE", struct(packets="u64", bytes="u64"))
    assert problems(tenants, text.replace("POLICY", AUTO)) == [("migrate-types", "switch")]
    (tmp_path / "old.yaml").write_text("value: {struct: {hits: u32}}\nkey: u32\n")
    tenants.settle(text.replace("POLICY", "migrate: {from_types: old.yaml, rename: {hits: packets}}"))
    assert tenants.entries("switch") == {u32(7): u64(9) + u64(0)}


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        ("migrate: {set: {nothing: 1}}", "unknown-field"),
        ("migrate: {rename: {a: nothing}}", "unknown-field"),
        ("migrate: {set: {a: 70000}}", "out-of-range"),
        ("migrate: {rename: {b: a, c: a}}", "duplicate-key"),
        ("migrate: {rename: {b: a}, set: {a: 1}}", "conflicting-fields"),
        ("migrate: {rename: {'': a}}", "empty-value"),
        ("migrate: {from_types: absent.yaml}", "unreadable-file"),
        ("migrate: nonsense", "invalid-name"),
        ("on_conflict: sum", "sum-without-counters"),
    ],
)
def test_invalid_policies_are_reported(policy: str, where: str, tenants: Bench) -> None:
    with pytest.raises(ProvisionerError) as refused:
        tenants.load(spec(struct(a="u16"), policy))
    assert [problem.id for problem in refused.value.problems] == [where]


@pytest.mark.parametrize(
    ("text", "id_", "hint"),
    [
        ("valeu: u32\n", "unknown-field", "did you mean `value`?"),
        ("struct old { __u32 a; };\n", "wrong-type", "write `key`, `value`, `outer_key` and `types`, as in a spec"),
        ("", "empty-file", "write `key`, `value`, `outer_key` and `types`, as in a spec"),
        ("value: u33\n", "unknown-type", "did you mean `u32`?"),
    ],
)
def test_a_file_of_types_that_is_none(text: str, id_: str, hint: str, tenants: Bench, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(text)
    with pytest.raises(ProvisionerError) as refused:
        tenants.load(spec("u32", "migrate: {from_types: old.yaml}"))
    assert [(problem.id, problem.hint) for problem in refused.value.problems] == [(id_, hint)]


def test_a_key_and_a_value_can_have_members_of_one_name(tenants: Bench) -> None:
    text = "maps: {m: {type: hash, key: KEY, value: VALUE, max_entries: 4, contents: ignore, POLICY}}"
    tenants.settle(text.replace("KEY", struct(a="u32")).replace("VALUE", struct(b="u32")).replace("POLICY", ""))
    with maps.open_pin(tenants.root / "m") as fd:
        maps.update(fd, u32(7), u32(8))
    after = text.replace("KEY", struct(x="u64")).replace("VALUE", struct(x="u64"))
    tenants.settle(after.replace("POLICY", "migrate: {rename: {a: x, b: x}}"))
    assert tenants.entries("m") == {u64(7): u64(8)}


def test_members_of_others_are_converted_in_the_entries_of_the_spec(tenants: Bench) -> None:
    """The spec sets `limit`, a program counts in `used`: what does not fit is not lost without a word."""
    ours, slots = "contents: exact, owned_members: [limit]", "1: {entries: {5: {limit: 7}}}"
    before = spec(struct(limit="u32", used="u32"), slots=slots).replace("contents: present", ours)
    after = spec(struct(limit="u32", used="u16"), AUTO, slots=slots).replace("contents: present", ours)
    tenants.settle(before)
    put(tenants, 1, u32(5), u32(7) + u32(70_000))
    assert problems(tenants, after) == [("migrate-value", "tenants[1][5]")]
    put(tenants, 1, u32(5), u32(7) + u32(60_000))
    tenants.settle(after)
    assert tenants.tree("tenants")[u32(1)] == {u32(5): u32(7) + u32(60_000)[:2] + b"\0\0"}
