"""What a session asks for is live and verified, by the rules of any apply; and it is what the whole spec would do."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from provisioner.apply import Status
from provisioner.kernel import maps
from provisioner.kernel.bpffs import open_pin
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.model.errors import ApplyError, InputError, LockedError, Problem, RefusedError
from provisioner.planning.hazards import Overrides
from provisioner.session import differences
from provisioner.session.session import Session
from tests.apply.conftest import ALL, Bench

SPEC = """
types:
  wide: {struct: {a: u32, b: u64}}
inner_templates:
  acl: {type: hash, key: u32, value: u32, max_entries: 16}
  table: {type: array, key: u32, value: wide, max_entries: 8}
shared_inner_maps:
  common: {inner: acl, entries: {9: 9}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: acl
    inner_maps: {1: {entries: {1: 10, 2: 20}}, 2: {entries: {1: 11}}, 7: {shared: common}, 8: {shared: common}}
  tables: {type: array_of_maps, key: u32, max_entries: 4, inner: table, inner_maps: {0: {entries: {1: {a: 1, b: 2}}}}}
maps:
  ports: {type: hash, key: be16, value: u32, max_entries: 8, entries: {80: 1, 443: 2}}
  switch: {type: array, key: u32, value: u32, max_entries: 4, entries: {0: 1}}
"""


NESTED: list[Any] = []
NESTED.append(NESTED)


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def native(part: bytes) -> int:
    return int.from_bytes(part, "little")


def tenants(bench: Bench) -> dict[int, dict[int, int]]:
    return {
        native(slot): {native(key): native(held[key]) for key in held} for slot, held in bench.tree("tenants").items()
    }


def ports(bench: Bench) -> dict[int, int]:
    return {
        int.from_bytes(key, "big"): int.from_bytes(value, "little") for key, value in bench.entries("ports").items()
    }


def record_id(bench: Bench) -> int:
    with open_pin(bench.root / "_meta", MapFd) as fd:
        return maps.info(fd).id


def opened(bench: Bench, text: str = SPEC, overrides: Overrides = ALL, **how: Any) -> Session:
    return bench.load(text).session(overrides, **how)


BEFORE = {1: {1: 10, 2: 20}, 2: {1: 11}, 7: {9: 9}, 8: {9: 9}}


def test_changes_of_all_kinds_in_one_apply(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        ids, record = bench.ids("tenants"), record_id(bench)
        session.set("tenants[1][2]", 21)
        session.set(("tenants", 1, 3), 30)
        session.delete("tenants[1][1]")
        session.set("tenants[3]", {5: 50})
        session.delete("tenants[2]")
        session.update({"ports[80]": 7, "switch[0]": 0, ("switch", 3): 4})
        session.delete("ports", [443])
        session.put("ports", {8080: 9})
        assert session.pending == 5
        result = session.apply()
        assert (result.status, session.pending) == (Status.APPLIED, 0)
        assert result.fds_before == result.fds_after
        assert tenants(bench) == {1: {2: 21, 3: 30}, 3: {5: 50}, 7: {9: 9}, 8: {9: 9}}
        assert ports(bench) == {80: 7, 8080: 9}
        assert bench.entries("switch") == {u32(0): u32(0), u32(1): u32(0), u32(2): u32(0), u32(3): u32(4)}
        assert bench.ids("tenants")[u32(1)] == ids[u32(1)], "changed in place"
        assert record_id(bench) == record, "the record is not written again"
        assert session.apply().status is Status.UNCHANGED
        assert session.compare().status is Status.UNCHANGED, "the whole is what the session made of it"


def test_a_prefix_within_another_is_deleted_and_set(bench: Bench) -> None:
    """A lookup in a trie finds the shorter prefix, where the one that was deleted was."""
    text = """
inner_templates: {acl: {type: lpm_trie, key: cidr4, value: u32, max_entries: 8, flags: [no_prealloc]}}
outer_maps:
  routes:
    {type: hash_of_maps, key: u32, max_entries: 4, inner: acl, inner_maps: {
      1: {entries: {0.0.0.0/0: 1, 10.0.0.0/8: 2}}}}
"""
    bench.apply(text)
    with opened(bench, text) as session:
        session.delete("routes[1][10.0.0.0/8]")
        assert session.apply().status is Status.APPLIED
        session.set("routes[1][10.0.0.0/8]", 1)
        assert session.apply().status is Status.APPLIED
        assert sorted(bench.tree("routes")[u32(1)]) == [u32(0) + bytes(4), u32(8) + bytes([10, 0, 0, 0])]
        assert session.compare().status is Status.UNCHANGED


def test_a_row_of_applies_is_what_the_whole_spec_would_do(bench: Bench) -> None:
    bench.apply(SPEC)
    generator = np.random.default_rng(3)
    wanted: dict[int, dict[int, int]] = {slot: dict(held) for slot, held in BEFORE.items() if slot < 7}
    with opened(bench, interval=None) as session:
        for _ in range(60):
            slot, key, value = (int(number) for number in generator.integers(1, 6, 3))
            match int(generator.integers(0, 4)):
                case 0:
                    wanted[slot] = {key: value, key + 1: value}
                    session.set(("tenants", slot), wanted[slot])
                case 1 if slot in wanted:
                    wanted[slot] |= {key: value}
                    session.set(("tenants", slot, key), value)
                case 2 if slot in wanted:
                    wanted[slot].pop(key, None)
                    session.delete(("tenants", slot), [key])
                case 3 if slot in wanted and len(wanted) > 1:
                    del wanted[slot]
                    session.delete(("tenants", slot))
            if generator.integers(0, 3):
                session.apply()
        session.apply()
        assert {slot: held for slot, held in tenants(bench).items() if slot < 7} == wanted
        assert session.compare().status is Status.UNCHANGED


def test_values_that_readers_could_see_half_written_are_replaced(bench: Bench) -> None:
    """Of an array with values of 16 bytes, the new inner map has all entries, and not just those that change."""
    bench.apply(SPEC)
    with opened(bench) as session:
        before = bench.ids("tables")
        session.set("tables[0][5]", {"a": 3, "b": 4})
        session.apply()
        assert bench.ids("tables") != before
        held = {key: value for key, value in bench.tree("tables")[u32(0)].items() if any(value)}
        assert held == {u32(1): struct.pack("=IxxxxQ", 1, 2), u32(5): struct.pack("=IxxxxQ", 3, 4)}
        assert session.compare().status is Status.UNCHANGED


def test_a_slot_with_a_shared_inner_map_gets_its_own(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        session.set("tenants[7][1]", 1)
        session.apply()
        assert tenants(bench) == BEFORE | {7: {9: 9, 1: 1}}
        assert session.compare().status is Status.UNCHANGED


def test_tables_in_the_kernels_layout(bench: Bench) -> None:
    bench.apply(SPEC)
    layout = [("outer", "u4"), ("key", "u4"), ("value", "u4")]
    with opened(bench) as session:
        session.put("tenants", np.array([(1, 2, 5), (2, 4, 6), (1, 2, 7)], layout))
        session.set(("tenants", 3), np.array([(0, 1, 1), (0, 2, 2)], layout))
        session.apply()
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 7}, 2: {1: 11, 4: 6}, 3: {1: 1, 2: 2}}
        session.set("tenants", np.array([(4, 1, 1)], layout))
        session.apply()
        assert tenants(bench) == {4: {1: 1}}


def other_writer(bench: Bench, slot: int, key: int, value: int) -> None:
    with maps.open_id(InnerId(bench.ids("tenants")[u32(slot)])) as fd:
        maps.update(fd, u32(key), u32(value))


def test_another_writer_of_a_slot_is_noticed_and_all_is_compared(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench, interval=None) as session:
        other_writer(bench, 2, 3, 3)  # an entry that no edit is about: the full comparison finds it
        with (
            open_pin(bench.root / "tenants", MapFd) as outer,
            maps.open_id(InnerId(bench.ids("tenants")[u32(2)])) as fd,
        ):
            maps.insert_inner(outer, u32(1), fd)
        session.set("tenants[1][2]", 21)
        assert session.apply().status is Status.APPLIED
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21}}


def test_what_another_writer_did_to_the_same_entry_is_overwritten_and_counted(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench, interval=None) as session:
        other_writer(bench, 1, 2, 99)
        other_writer(bench, 1, 5, 5)
        session.set("tenants[1][2]", 20)
        (change,) = session.plan().maps.values()
        assert change.slots.updates.tolist() == [1]
        session.apply()
        assert tenants(bench)[1] == {1: 10, 2: 20, 5: 5}, "what was not asked for is for the next full comparison"
        assert session.compare().status is Status.APPLIED
        assert tenants(bench) == BEFORE


def test_the_interval_brings_a_full_comparison(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench, interval=0.0) as session:
        other_writer(bench, 2, 3, 3)
        assert session.apply().status is Status.APPLIED
        assert tenants(bench) == BEFORE


def test_what_differs_at_the_start_comes_with_the_first_apply(bench: Bench) -> None:
    with opened(bench) as session:
        session.set("tenants[1][2]", 21)
        assert session.apply().status is Status.APPLIED
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21}}


@pytest.mark.parametrize(
    ("ask", "problem", "address"),
    [
        (lambda s: s.set("nobody[1]", {}), "unknown-map", "nobody[1]"),
        (lambda s: s.set("tenants[1][1][1]", 1), "invalid-address", "tenants[1][1][1]"),
        (lambda s: s.set("tenants[x]", {}), "invalid-number", "tenants[x]"),
        (lambda s: s.set("tenants[5][1]", 1), "no-inner-map", "tenants[5]"),
        (lambda s: s.delete("tenants[5]"), "no-inner-map", "tenants[5]"),
        (lambda s: s.set("tenants[1]", {1: 1, "0x1": 2}), "duplicate-key", "tenants[1]"),
        (lambda s: s.set("tenants[1]", dict.fromkeys(range(17), 1)), "too-many-entries", "tenants[1]"),
        (lambda s: s.set("tables[4]", {}), "out-of-range", "tables[4]"),
        (lambda s: s.set("tables[0][8]", {"a": 1, "b": 1}), "out-of-range", "tables[0]"),
        (lambda s: s.set("tenants[1]", 3), "wrong-type", "tenants[1]"),
        (lambda s: s.delete("ports"), "invalid-address", "ports"),
        (lambda s: s.put("ports[80]", {}), "invalid-address", "ports[80]"),
        *((lambda s, bad=bad: s.set(bad, 1), "invalid-address", "") for bad in (None, 5, (), {1}, ["ports"], (5, 1))),
        (lambda s: s.set(("ports", 10**5000), 1), "invalid-number", f"ports[{10**5000:#x}]"),
        (lambda s: s.set("ports[1]", NESTED), "limit-exceeded", "ports[1]"),
        (lambda s: s.update([("ports[1]", 1)]), "wrong-type", ""),
        (lambda s: s.delete("tenants[1]", 5), "wrong-type", "tenants[1]"),
        (lambda s: s.delete("tenants[1]", "ab"), "wrong-type", "tenants[1]"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_asked(bench: Bench, ask: Any, problem: str, address: str) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        with pytest.raises(InputError) as caught:
            ask(session)
        assert [(each.id, each.address) for each in caught.value.problems] == [(problem, address)]
        assert session.apply().status is Status.UNCHANGED


def test_nothing_to_write_or_delete_is_nothing_to_do(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        session.put("tenants[1]", {})
        session.delete("tenants[1]", [])
        assert session.pending == 0


def test_a_closed_session_changes_nothing(bench: Bench) -> None:
    bench.apply(SPEC)
    session = opened(bench)
    session.close()
    session.set("ports[80]", 9)
    for do in (session.apply, session.compare):
        with pytest.raises(InputError) as caught:
            do()
        assert [each.id for each in caught.value.problems] == ["session-closed"]
    assert ports(bench) == {80: 1, 443: 2}


def test_rules_and_limits_hold_for_what_is_live(bench: Bench) -> None:
    text = SPEC.replace("max_entries: 64", "max_entries: 64\n    limits: {delete_percent: 30, at_least: 0}")
    bench.apply(text)
    with opened(bench, text, Overrides()) as session:
        session.delete("tenants[1][1]")  # one entry of five (a shared map counts for each slot)
        assert session.apply().status is Status.APPLIED
        session.delete("tenants[1]")
        session.delete("tenants[2]")
        with pytest.raises(RefusedError) as caught:
            session.apply()
        assert [each.id for each in caught.value.problems] == ["delete_percent"]
        assert (tenants(bench)[1], session.pending) == ({2: 20}, 2)
        session.discard()
        assert session.apply().status is Status.UNCHANGED


def test_more_entries_than_there_is_room_for_are_refused(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        session.put("ports", dict.fromkeys(range(6), 1))
        session.apply()
        session.put("ports", dict.fromkeys(range(6, 8), 1))
        with pytest.raises(InputError) as caught:
            session.apply()
        assert [(each.id, each.address) for each in caught.value.problems] == [("too-many-entries", "ports")]
        session.delete("ports", [0, 1])
        session.apply()
        assert len(ports(bench)) == 8


def test_a_failed_apply_is_rolled_back_and_stays_pending(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        session.set("tenants[1][2]", 21)
        session.set("tenants[2]", {6: 6})
        session.set("tenants[3]", {7: 7})
        with monkeypatch.context() as patch:
            differs = Problem("differs", id="not-converged")
            patch.setattr(differences, "still_different", lambda *_: ([], (differs,)))
            with pytest.raises(ApplyError) as caught:
                session.apply()
        assert caught.value.status == "rolled_back"
        assert tenants(bench) == BEFORE
        assert session.apply().status is Status.APPLIED
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21}, 2: {6: 6}, 3: {7: 7}}


def test_the_lock_is_held_or_taken_for_each_apply(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench):
        with pytest.raises(LockedError):
            bench.apply(SPEC)
        with pytest.raises(LockedError):
            opened(bench)
    with opened(bench, hold=False) as session:
        bench.apply(SPEC.replace("2: {entries: {1: 11}}", "2: {entries: {1: 12}}"))
        session.set("tenants[1][2]", 21)
        session.apply()
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21}, 2: {1: 12}}
        assert session.compare().status is Status.APPLIED
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21}}
