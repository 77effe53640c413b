"""`owned_members`: these members of a value are ours, the others are set in new entries and left alone afterwards."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provisioner.kernel import maps, programs
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import ProvisionerError
from provisioner.planning.changes import Action, EntryAction
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from provisioner.report.text import render
from provisioner.views.plan_report import report
from tests.apply.conftest import Bench
from tests.problems import raises

QUOTA = "{struct: {limit: u32, tokens: u64, burst: u16, seen: u16}}"


def quota(limit: int, tokens: int, burst: int, seen: int) -> bytes:
    return struct.pack("<IxxxxQHHxxxx", limit, tokens, burst, seen)


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def spec(
    entries: str, *, kind: str = "hash", key: str = "u32", policy: str = "", room: int = 8, switch: int = 1
) -> str:
    return f"""
types: {{quota: {QUOTA}}}
inner_templates:
  quotas:
    type: {kind}
    key: {key}
    value: quota
    max_entries: {room}
    owned_members: [limit, burst]
    set: {{tokens: 100}}
    {policy}
maps:
  zz_switch: {{type: hash, key: u32, value: u32, max_entries: 4, after: [tenants], entries: {{0: {switch}}}}}
outer_maps:
  tenants:
    {{type: hash_of_maps, key: u32, max_entries: 8, inner: quotas, inner_maps: {{1: {{entries: {{{entries}}}}}}}}}
"""


ONE, TWO = "1: {limit: 10, burst: 3}", "2: {limit: 20, burst: 4}"


def put(bench: Bench, key: bytes, value: bytes) -> None:
    """Write an entry as the data plane does."""
    with maps.open_id(InnerId(bench.ids("tenants")[u32(1)])) as fd:
        maps.update(fd, key, value)


def live(bench: Bench) -> dict[bytes, bytes]:
    return bench.tree("tenants")[u32(1)]


@contextmanager
def failing(bench: Bench) -> Iterator[None]:
    """The last write of the apply fails, and all is taken back."""

    def freeze(_: Plan) -> None:
        with maps.open_pin(bench.root / "zz_switch") as fd:
            maps.freeze(fd)

    bench.planned = freeze
    with raises(ProvisionerError, "map-frozen") as failed:
        yield
    assert failed.value.status == "rolled_back"
    bench.planned = None


@pytest.fixture(params=["program", "calls"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "calls":
        monkeypatch.setenv(programs.SWITCH, "off")
    return str(request.param)


@pytest.mark.usefixtures("either")
def test_only_our_members_are_compared_and_written(bench: Bench) -> None:
    bench.settle(spec(f"{ONE}, {TWO}"))
    assert live(bench) == {u32(1): quota(10, 100, 3, 0), u32(2): quota(20, 100, 4, 0)}
    put(bench, u32(1), quota(10, 55, 3, 7))
    assert not bench.plan(spec(f"{ONE}, {TWO}")).changed
    before = bench.ids("tenants")
    bench.settle(spec("1: {limit: 11, burst: 3}, 3: {limit: 30, burst: 5}"))
    assert bench.ids("tenants") == before
    assert live(bench) == {u32(1): quota(11, 55, 3, 7), u32(3): quota(30, 100, 5, 0)}


@pytest.mark.usefixtures("either")
def test_a_rollback_brings_back_our_members_and_whole_deleted_entries(bench: Bench) -> None:
    bench.apply(spec(f"{ONE}, {TWO}"))
    put(bench, u32(1), quota(10, 55, 3, 7))
    put(bench, u32(2), quota(20, 66, 4, 8))
    before = live(bench)
    with failing(bench):
        bench.apply(spec("1: {limit: 11, burst: 4}, 3: {limit: 30, burst: 5}", switch=2))
    assert live(bench) == before


@pytest.mark.usefixtures("either")
def test_elements_of_arrays_always_exist(bench: Bench) -> None:
    bench.settle(spec(f"{ONE}, {TWO}", kind="array"))
    assert live(bench)[u32(1)] == quota(10, 100, 3, 0)
    put(bench, u32(2), quota(20, 66, 4, 8))
    put(bench, u32(3), quota(0, 77, 0, 9))
    plan, _ = bench.settle(spec("1: {limit: 12, burst: 3}, 3: {limit: 30, burst: 5}", kind="array"))
    actions = plan.maps["tenants"].entries.action.tolist()
    assert actions == [EntryAction.UPDATE, EntryAction.DELETE, EntryAction.UPDATE]
    assert live(bench)[u32(1)] == quota(12, 100, 3, 0)
    assert live(bench)[u32(2)] == quota(0, 66, 0, 8), "what is ours becomes zero"
    assert live(bench)[u32(3)] == quota(30, 77, 5, 9), "`set` is for the elements of a new map"
    with failing(bench):
        bench.apply(spec(TWO, kind="array", switch=2))
    assert live(bench)[u32(1)] == quota(12, 100, 3, 0)


def test_prefixes_are_found_exactly(bench: Bench) -> None:
    """A lookup in a trie finds a shorter prefix: the members of that one must not be taken for its own."""

    def trie(entries: str, switch: int = 1) -> str:
        return spec(entries, kind="lpm_trie", key="cidr4", switch=switch)

    wide = "10.0.0.0/8: {limit: 1, burst: 1}"
    bench.settle(trie(wide))
    put(bench, u32(8) + bytes((10, 0, 0, 0)), quota(1, 55, 1, 5))
    plan, _ = bench.settle(trie(f"{wide.replace('limit: 1', 'limit: 2')}, 10.1.0.0/16: {{limit: 3, burst: 3}}"))
    assert "members-by-calls" in {hazard.id for hazard in plan.hazards}
    assert live(bench) == {
        u32(8) + bytes((10, 0, 0, 0)): quota(2, 55, 1, 5),
        u32(16) + bytes((10, 1, 0, 0)): quota(3, 100, 3, 0),
    }
    with failing(bench):
        bench.apply(trie("10.0.0.0/8: {limit: 9, burst: 9}", switch=2))
    assert live(bench)[u32(8) + bytes((10, 0, 0, 0))] == quota(2, 55, 1, 5)
    assert live(bench)[u32(16) + bytes((10, 1, 0, 0))] == quota(3, 100, 3, 0)


@pytest.mark.parametrize("programs_are", ["", "always"])
@pytest.mark.parametrize("kind", ["hash", "array"])
def test_a_new_map_takes_over_the_members_of_others(
    bench: Bench, kind: str, programs_are: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(programs.SWITCH, programs_are)
    flags = "flags: [inner_map]\n    " if kind == "array" else ""
    bench.apply(spec(f"{ONE}, {TWO}", kind=kind, policy=f"{flags}on_replace: copy"))
    put(bench, u32(1), quota(10, 55, 3, 7))
    put(bench, u32(2), quota(20, 0, 4, 0))
    after = spec("1: {limit: 12, burst: 3}, 3: {limit: 30, burst: 5}", kind=kind, policy=f"{flags}on_replace: copy")
    after = after.replace("inner_maps: {1: {", "inner_maps: {1: {max_entries: 12, ")
    plan, _ = bench.settle(after)
    assert plan.maps["tenants"].slots.action.tolist() == [Action.REPLACE]
    assert live(bench)[u32(1)] == quota(12, 55, 3, 7)
    assert live(bench)[u32(3)] == quota(30, 0 if kind == "array" else 100, 5, 0)
    if kind == "hash":
        assert u32(2) not in live(bench)
    else:
        assert live(bench)[u32(2)] == quota(0, 0, 0, 0)


def test_without_on_replace_a_new_map_is_refused(bench: Bench) -> None:
    bench.apply(spec(ONE))
    bench.overrides = Overrides()
    larger = spec(ONE).replace("inner_maps: {1: {", "inner_maps: {1: {max_entries: 12, ")
    with raises(ProvisionerError, "on_replace") as refused:
        bench.apply(larger)
    assert "1 inner map that can hold members of others would be replaced" in str(refused.value)


def test_a_migration_takes_the_members_of_others_with_it(bench: Bench) -> None:
    bench.apply(spec(ONE))
    put(bench, u32(1), quota(10, 55, 3, 7))
    wider = spec("1: {limit: 12, burst: 4}", policy="migrate: auto").replace("tokens: u64", "limit2: u64, tokens: u64")
    bench.settle(wider)
    assert live(bench)[u32(1)] == struct.pack("<IxxxxQQHHxxxx", 12, 0, 55, 4, 7)


def test_present_and_owned_keys_leave_other_entries(bench: Bench) -> None:
    policy = "owned_keys: 1..9\n    on_replace: copy"
    bench.apply(spec(ONE, policy=policy))
    put(bench, u32(100), quota(1, 2, 3, 4))
    put(bench, u32(1), quota(10, 55, 3, 7))
    bench.settle(spec("1: {limit: 5, burst: 3}", policy=policy))
    assert live(bench) == {u32(1): quota(5, 55, 3, 7), u32(100): quota(1, 2, 3, 4)}
    larger = spec("1: {limit: 6, burst: 3}", policy=policy).replace("{1: {entries", "{1: {max_entries: 12, entries")
    bench.settle(larger)
    assert live(bench) == {u32(1): quota(6, 55, 3, 7), u32(100): quota(1, 2, 3, 4)}


def test_digests_cover_our_members(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(programs.SWITCH, "always")
    for kind in ("hash", "array"):
        text = spec(f"{ONE}, {TWO}", kind=kind)
        bench.apply(text)
        put(bench, u32(1), quota(10, 55, 3, 7))
        assert not bench.load(text).plan(bench.overrides, digests=True).changed
        put(bench, u32(1), quota(11, 55, 3, 7))
        assert bench.load(text).plan(bench.overrides, digests=True).changed
        bench.destroy(text)


def test_a_saved_plan_stays_valid_while_others_write(bench: Bench) -> None:
    bench.apply(spec(ONE))
    after = spec("1: {limit: 12, burst: 3}")
    digest = bench.plan(after).digest
    put(bench, u32(1), quota(10, 55, 3, 7))
    assert bench.plan(after).digest == digest
    put(bench, u32(1), quota(9, 55, 3, 7))
    assert bench.plan(after).digest != digest


def test_a_session_writes_our_members(bench: Bench) -> None:
    bench.apply(spec(f"{ONE}, {TWO}"))
    put(bench, u32(1), quota(10, 55, 3, 7))
    with bench.load(spec(f"{ONE}, {TWO}")).session(bench.overrides) as session:
        session.set("tenants[1][1]", {"limit": 77, "burst": 1})
        session.set("tenants[1][3]", {"limit": 30, "burst": 5})
        session.apply()
        with raises(ProvisionerError, "member-not-owned"):
            session.set("tenants[1][1]", {"limit": 77, "burst": 1, "tokens": 1})
    assert live(bench) == {
        u32(1): quota(77, 55, 1, 7),
        u32(2): quota(20, 100, 4, 0),
        u32(3): quota(30, 100, 5, 0),
    }


def test_what_a_plan_shows(bench: Bench) -> None:
    bench.apply(spec(f"{ONE}, {TWO}"))
    put(bench, u32(1), quota(10, 55, 3, 7))
    plan = bench.plan(spec("1: {limit: 11, burst: 3}, 3: {limit: 30, burst: 5}"))
    text = "\n".join(render(report(plan)))
    assert "hash quotas, owned members limit, burst" in text
    assert "~ 1               {limit: 10 -> 11, burst: 3}" in text
    assert "- 2               {limit: 20, burst: 4}" in text
    assert "+ 3               {limit: 30, tokens: 100, burst: 5, seen: 0}" in text
