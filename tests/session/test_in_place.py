"""Entries of maps that were judged are written without a plan: with the effects, rules and audit line of one."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from provisioner.apply import Options, Status
from provisioner.apply.audit import AuditRecord
from provisioner.kernel import batch, bpffs, map_fields, maps
from provisioner.kernel.fd import InnerId
from provisioner.kernel.programs import SWITCH
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import InputError, InterruptError, RefusedError
from provisioner.planning import counts
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from provisioner.session import differences, edited_map, in_place
from provisioner.session.differences import Knowledge
from provisioner.session.session import Session
from tests import features
from tests.apply.conftest import Bench
from tests.session.test_session import BEFORE, SPEC, opened, other_writer, ports, tenants, u32

PADDED = """
types:
  padded: {struct: {a: u64, b: u32}}
maps:
  hosts: {type: hash, key: u32, value: padded, max_entries: 64, entries: {1: {a: 1, b: 2}}}
"""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[AuditRecord]:
    """The audit lines of what is written without a plan."""
    said: list[AuditRecord] = []
    monkeypatch.setattr(in_place, "is_heard", lambda: True)
    monkeypatch.setattr(in_place, "record", said.append)
    return said


def judge(session: Session) -> None:
    """Have a plan judge all maps: it changes an entry of each, and changes it back."""
    for value in (99, 98):
        session.update({"tenants[1][2]": value, "ports[80]": value, "switch[0]": value})
        assert session.apply().status is Status.APPLIED
    session.update({"tenants[1][2]": 20, "ports[80]": 1, "switch[0]": 1})
    assert session.apply().status is Status.APPLIED


def one_entry(session: Session) -> None:
    session.set("tenants[1][2]", 21)


def several(session: Session) -> None:
    session.update({"tenants[1][3]": 1, "tenants[2][1]": 12, "ports[443]": 3, "switch[3]": 9, "ports[80]": 1})
    session.delete("tenants[1]", [1, 7])
    session.set("switch[0]", 0)


def a_table(session: Session) -> None:
    rows = [(slot, key, slot * key) for slot in (1, 2) for key in range(12)]
    session.put("tenants", np.array(rows, [("outer", "u4"), ("key", "u4"), ("value", "u4")]))
    session.put("ports", np.array([(80, 2), (80, 3), (1, 1)], [("key", ">u2"), ("value", "u4")]))


@pytest.mark.parametrize("switch", ["off", "always", "without writing"])
@pytest.mark.parametrize("ask", [one_entry, several, a_table])
def test_the_same_as_by_a_plan(
    bench: Bench,
    ask: Callable[[Session], None],
    switch: str,
    lines: list[AuditRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SWITCH, "off" if switch == "off" else "always")
    if switch == "without writing":  # where the program cannot see that a map is frozen
        monkeypatch.setattr(map_fields, "frozen_at", lambda: None)
    bench.apply(SPEC)
    with opened(bench) as session:
        judge(session)
        lines.clear()
        ask(session)
        plan = session.plan()
        with monkeypatch.context() as patch:
            patch.setattr(differences, "plan", None)
            result = session.apply()
        assert (result.status, session.pending, result.fds_before) == (Status.APPLIED, 0, result.fds_after)
        (line,) = lines
        assert (line.plan, line.summary) == (plan.digest, counts.summary(plan))
        assert (line.verb, line.project, line.result) == ("apply", "edge", "applied")
        assert session.apply().status is Status.UNCHANGED
        ask(session)
        assert session.apply().status is Status.UNCHANGED
        assert session.compare().status is Status.UNCHANGED, "the whole is what the session made of it"
        ask(session)
        assert len(lines) == 1


@pytest.mark.parametrize("switch", ["off", "always"])
def test_slots_that_are_emptied(bench: Bench, switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, switch)
    bench.apply(SPEC)
    with opened(bench) as session:
        judge(session)
        ids = bench.ids("tenants")
        for status in (Status.APPLIED, Status.UNCHANGED):
            session.update({"tenants[1]": {}, "tenants[2]": {}})
            assert session.apply().status is status
            assert (tenants(bench), bench.ids("tenants")) == (BEFORE | {1: {}, 2: {}}, ids)


def test_contents_of_slots_are_entries_and_the_number_of_them(
    bench: Bench, lines: list[AuditRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    features.need_syscall_programs()
    bench.apply(SPEC)
    with opened(bench) as session:
        judge(session)
        ids = bench.ids("tenants")
        lines.clear()
        session.set("tenants[1]", {2: 20, 4: 4, 5: 5})
        session.set("tenants[2]", {})
        session.set("ports", {80: 1, 1: 1})
        plan = session.plan()
        with monkeypatch.context() as patch:
            patch.setattr(differences, "plan", None)
            assert session.apply().status is Status.APPLIED
        assert [(line.plan, line.summary) for line in lines] == [(plan.digest, counts.summary(plan))]
        assert (tenants(bench), bench.ids("tenants")) == (BEFORE | {1: {2: 20, 4: 4, 5: 5}, 2: {}}, ids)
        assert ports(bench) == {80: 1, 1: 1}
        other_writer(bench, 1, 9, 9)
        session.set("tenants[1]", {2: 20})
        assert session.apply().status is Status.APPLIED, "by a plan, which reads what others wrote"
        assert (tenants(bench)[1], len(lines)) == ({2: 20}, 1)


def test_padding_is_no_difference(bench: Bench, lines: list[AuditRecord]) -> None:
    bench.apply(PADDED)
    with opened(bench, PADDED) as session:
        for value in range(3):
            session.set("hosts[1]", {"a": value, "b": 2})
            session.apply()
        assert len(lines) == 2, "the first one took a plan"
        row = np.array([(1, (2, 2, 7))], [("key", "u4"), ("value", [("a", "u8"), ("b", "u4"), ("rest", "u4")])])
        session.put("hosts", row)
        assert session.apply().status is Status.UNCHANGED


@pytest.mark.parametrize("type_", ["hash", "array"])
def test_padding_is_taken_back_too(bench: Bench, type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PADDED.replace("type: hash", f"type: {type_}")
    bench.apply(text)
    with opened(bench, text) as session:
        session.set("hosts[1]", {"a": 1, "b": 2})
        session.apply()
        with maps.open_pin(bench.root / "hosts") as fd:
            maps.update(fd, u32(1), u32(1) + u32(0) + u32(2) + b"\5" * 4)
            maps.update(fd, u32(2), bytes(12) + b"\5" * 4)
        before = bench.entries("hosts")
        session.update({"hosts[1]": {"a": 3, "b": 2}, "hosts[2]": {"a": 3, "b": 2}})
        monkeypatch.setattr(edited_map.OpenMap, "verify", lambda *_: False)
        monkeypatch.setattr(differences, "plan", None)
        with pytest.raises(TypeError):  # it is for a plan, and there is none
            session.apply()
    assert bench.entries("hosts") == before


def test_limits_and_room_are_judged_each_time(bench: Bench, lines: list[AuditRecord]) -> None:
    text = SPEC.replace("max_entries: 8, entries: {80", "max_entries: 8, limits: {at_least: 0}, entries: {80")
    bench.apply(text)
    with opened(bench, text, Overrides()) as session:
        judge(session)
        session.delete("ports[80]")  # one entry of two
        with pytest.raises(RefusedError) as refused:
            session.apply()
        assert [each.id for each in refused.value.problems] == ["delete_percent"]
        session.discard()
        session.put("ports", dict.fromkeys(range(6), 1))
        session.apply()
        session.delete("ports[80]")  # one of eight
        session.apply()
        assert len(lines) == 4
        session.put("ports", dict.fromkeys(range(10, 12), 1))
        with pytest.raises(InputError) as full:
            session.apply()
        assert [each.id for each in full.value.problems] == ["too-many-entries"]
        assert len(ports(bench)) == 7


@pytest.mark.parametrize("switch", ["off", "always"])
def test_a_frozen_inner_map_is_replaced_by_a_plan(
    bench: Bench, switch: str, lines: list[AuditRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, switch)
    bench.apply(SPEC)
    seen: list[object] = []
    with opened(bench) as session:
        judge(session)
        lines.clear()
        before = bench.ids("tenants")
        with maps.open_id(InnerId(before[u32(2)])) as fd:
            maps.freeze(fd)
        planned = differences.plan

        def plan(knows: Knowledge, overrides: Overrides, revision: str) -> Plan:
            seen.append(tenants(bench))
            return planned(knows, overrides, revision)

        monkeypatch.setattr(differences, "plan", plan)
        session.update({"tenants[2][1]": 12, "tenants[1][2]": 21, "tenants[1][3]": 5})
        assert session.apply().status is Status.APPLIED
        assert (seen, lines) == ([BEFORE] if switch == "always" else [], []), "nothing was written, or all is compared"
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21, 3: 5}, 2: {1: 12}}
        assert bench.ids("tenants")[u32(2)] != before[u32(2)]


def test_many_applies_of_one_entry_take_a_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    features.need_syscall_programs()
    monkeypatch.setattr(edited_map, "_MANY_APPLIES", 3)
    bench.apply(SPEC)
    pin = bench.root / "ports"
    with opened(bench) as session:
        judge(session)
        for value in range(5):
            session.set("ports[80]", 10 + value)
            with monkeypatch.context() as patch:
                if value > 2:
                    for room in ("batch", "maps", "lookups"):  # nothing is opened, no entry has a call of its own
                        patch.setattr(edited_map, room, None)
                assert session.apply().status is Status.APPLIED
            assert ports(bench)[80] == 10 + value
        with maps.open_pin(pin) as fd:
            pin.unlink()
            bpffs.pin(fd, pin)
            session.set("ports[80]", 2)
            assert session.apply().status is Status.APPLIED
            with maps.create(maps.info(fd).shape, "other") as other:
                pin.unlink()
                bpffs.pin(other, pin)
            session.set("ports[80]", 3)
            assert session.apply().status is Status.APPLIED
            assert maps.lookup(fd, struct.pack(">H", 80), 4) == u32(2), "a map that is not at the pin is not written"
    assert ports(bench) == {80: 3, 443: 2}


def test_a_slot_with_another_map_is_noticed(bench: Bench) -> None:
    bench.apply(SPEC)
    with opened(bench, interval=None) as session:
        judge(session)
        other_writer(bench, 2, 3, 3)  # an entry that no edit is about: the full comparison finds it
        ids = bench.ids("tenants")
        with (
            maps.open_pin(bench.root / "tenants") as outer,
            maps.open_id(InnerId(ids[u32(2)])) as fd,
        ):
            maps.insert_inner(outer, u32(1), fd)
        session.set("tenants[1][2]", 21)
        assert session.apply().status is Status.APPLIED
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21}}


@pytest.mark.parametrize("failing", ["second write", "verification"])
def test_what_fails_is_taken_back_and_left_to_a_plan(
    bench: Bench, failing: str, lines: list[AuditRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        judge(session)
        lines.clear()
        session.put("tenants[1]", {2: 21, 3: 30})
        session.delete("tenants[2][1]")
        seen: list[object] = []
        planned = differences.plan

        def plan(knows: Knowledge, overrides: Overrides, revision: str) -> Plan:
            monkeypatch.undo()
            seen.append(tenants(bench))
            return planned(knows, overrides, revision)

        delete = batch.delete_batch

        def refused(*_: object, **__: object) -> None:
            monkeypatch.setattr(batch, "delete_batch", delete)
            raise KernelError("BPF_MAP_DELETE_BATCH", errno.EPERM)

        monkeypatch.setattr(differences, "plan", plan)
        if failing == "second write":
            monkeypatch.setattr(batch, "delete_batch", refused)
        else:
            monkeypatch.setattr(edited_map.OpenMap, "verify", lambda *_: False)
        assert session.apply().status is Status.APPLIED
        assert (seen, lines) == ([BEFORE], [])
        assert tenants(bench) == BEFORE | {1: {1: 10, 2: 21, 3: 30}, 2: {}}


def test_a_pin_that_is_replaced_during_an_apply_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.apply(SPEC)
    pin = bench.root / "ports"
    with opened(bench) as session:
        judge(session)
        write = edited_map.OpenMap.write

        def replaced(opened: edited_map.OpenMap, *what: Any) -> None:
            write(opened, *what)
            monkeypatch.undo()
            with maps.open_pin(pin) as fd, maps.create(maps.info(fd).shape, "other") as other:
                pin.unlink()
                bpffs.pin(other, pin)

        monkeypatch.setattr(edited_map.OpenMap, "write", replaced)
        session.set("ports[80]", 2)
        assert session.apply().status is Status.APPLIED
        assert ports(bench) == {80: 2, 443: 2}


def test_an_interrupted_apply_changes_nothing(
    bench: Bench, lines: list[AuditRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.apply(SPEC)
    with opened(bench) as session:
        judge(session)
        session.put("tenants[1]", {2: 21, 3: 30})
        with monkeypatch.context() as patch:

            def interrupted(*_: object) -> bool:
                raise KeyboardInterrupt

            patch.setattr(edited_map.OpenMap, "verify", interrupted)
            with pytest.raises(InterruptError) as caught:
                session.apply()
        assert (caught.value.status, lines[-1].result) == ("interrupted", "interrupted")
        assert (tenants(bench), session.pending) == (BEFORE, 1)
        assert session.apply().status is Status.APPLIED
        assert tenants(bench)[1] == {1: 10, 2: 21, 3: 30}


def test_what_is_reported_or_kept_takes_a_plan(bench: Bench, lines: list[AuditRecord]) -> None:
    bench.apply(SPEC)
    said: list[str] = []
    for options in (Options(rollback=False), Options(progress=lambda what, _: said.append(what))):
        with bench.load(SPEC).session(options=options) as session:
            judge(session)
    assert lines == []
    assert "wrote 1 entries" in said


QUOTAS = """
types: {quota: {struct: {tokens: u32, limit: u64}}}
inner_templates:
  quotas: {type: hash, key: u32, value: quota, max_entries: 16, owned_members: [limit], set: {tokens: 5}}
outer_maps:
  tenants:
    {type: hash_of_maps, key: u32, max_entries: 8, inner: quotas, inner_maps: {1: {entries: {1: {limit: 10}}}}}
maps:
  quotas: {type: hash, key: u32, value: quota, max_entries: 16, owned_members: [limit], entries: {1: {limit: 7}}}
"""


def quota(tokens: int, limit: int) -> bytes:
    return struct.pack("<I4xQ", tokens, limit)


def test_a_member_that_is_ours_is_written_beside_those_of_others(
    bench: Bench, lines: list[AuditRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    features.need_syscall_programs()
    bench.apply(QUOTAS)
    inner = InnerId(bench.ids("tenants")[u32(1)])
    with opened(bench, QUOTAS) as session:
        for limit in (8, 9):
            session.update({"tenants[1][1]": {"limit": limit}, "quotas[1]": {"limit": limit}})
            session.apply()
        with maps.open_id(inner) as fd:
            maps.update(fd, u32(1), quota(3, 9))
        lines.clear()
        session.update({"tenants[1][1]": {"limit": 20}, "quotas[1]": {"limit": 9}})
        plan = session.plan()
        with monkeypatch.context() as patch:
            patch.setattr(differences, "plan", None)
            assert session.apply().status is Status.APPLIED
        assert bench.tree("tenants")[u32(1)] == {u32(1): quota(3, 20)}
        assert bench.entries("quotas") == {u32(1): quota(0, 9)}
        assert [(line.plan, line.summary) for line in lines] == [(plan.digest, counts.summary(plan))]

        with monkeypatch.context() as patch:  # what is taken back is ours alone
            patch.setattr(edited_map.OpenMap, "verify", lambda *_: False)
            patch.setattr(differences, "plan", None)
            session.update({"tenants[1][1]": {"limit": 30}})
            with pytest.raises(TypeError):  # it is for a plan, and there is none
                session.apply()
        assert bench.tree("tenants")[u32(1)] == {u32(1): quota(3, 20)}
        session.set("tenants[1][2]", {"limit": 1})  # a new entry is for a plan
        assert session.apply().status is Status.APPLIED
        assert bench.tree("tenants")[u32(1)] == {u32(1): quota(3, 30), u32(2): quota(5, 1)}
        assert session.compare().status is Status.UNCHANGED
