"""A later version of the files: its changes become edits of a session, or it is applied as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.apply import Status
from provisioner.planning.plan import Plan
from provisioner.session import follow
from tests.apply.conftest import ALL, Bench
from tests.session.test_session import BEFORE, SPEC, native, tenants, u32

CHANGED = {
    "one value": SPEC.replace("2: 20", "2: 21"),
    "an entry more and one less": SPEC.replace("1: 10, 2: 20", "1: 10, 3: 30"),
    "a slot more": SPEC.replace("2: {entries: {1: 11}}", "2: {entries: {1: 11}}, 3: {entries: {5: 5}}"),
    "a slot less": SPEC.replace(" 2: {entries: {1: 11}},", ""),
    "plain maps": SPEC.replace("443: 2", "8443: 3").replace("{0: 1}}", "{0: 0, 2: 2}}"),
    "an array of structs": SPEC.replace("{1: {a: 1, b: 2}}", "{0: {a: 1, b: 2}}"),
    "nothing but a comment": SPEC + "# a comment\n",
}
WHOLE = {
    "a shared inner map": SPEC.replace("{9: 9}", "{9: 8}"),
    "a slot that is shared no more": SPEC.replace("8: {shared: common}", "8: {entries: {9: 9}}"),
    "a capacity": SPEC.replace("2: {entries: {1: 11}}", "2: {max_entries: 32, entries: {1: 11}}"),
    "a template": SPEC.replace("value: u32, max_entries: 16}", "value: u32, max_entries: 32}"),
    "a policy": SPEC.replace("2: {entries: {1: 11}}", "2: {contents: present, entries: {1: 11}}"),
    "a map more": SPEC + "  more: {type: hash, key: u32, value: u32, max_entries: 8, entries: {}}\n",
    "a map that goes": SPEC[: SPEC.index("  switch:")],
    "limits": SPEC.replace("max_entries: 64", "max_entries: 64\n    limits: {delete_percent: 90}"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changed_contents_are_applied_and_nothing_else_is_compared(bench: Bench, name: str) -> None:
    bench.apply(SPEC)
    first = bench.load(SPEC)
    plans: list[Plan] = []
    with first.session(ALL, interval=None, is_applied=True) as session:
        assert session.follow(bench.load(CHANGED[name]))
        result = session.apply(planned=plans.append)
        assert (result.status is Status.UNCHANGED) == (name == "nothing but a comment")
        assert all(len(change.slots.keys) <= 1 for plan in plans for change in plan.maps.values())
        whole = bench.plan(CHANGED[name])
        assert not whole.changed, "the whole is what the files say"
        assert whole.observed.meta is not None
        recorded = first if name == "nothing but a comment" else bench.load(CHANGED[name])
        assert whole.observed.meta.revision == recorded.desired.revision
        assert session.follow(bench.load(SPEC))
        session.apply()
    assert not bench.plan(SPEC).changed


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_more_than_contents_is_left_to_an_apply_of_the_whole(bench: Bench, name: str) -> None:
    before = bench.load(SPEC).desired
    assert follow.edits(before, bench.load(WHOLE[name]).desired) is None
    assert follow.edits(before, bench.load(SPEC).desired) is not None


def test_what_is_not_listed_any_more_stays_where_contents_are_only_present(bench: Bench) -> None:
    present = SPEC.replace("max_entries: 16}", "max_entries: 16, contents: present}", 1)
    bench.apply(present)
    with bench.load(present).session(ALL, is_applied=True) as session:
        assert session.follow(bench.load(present.replace("1: 10, 2: 20", "1: 12")))
        session.apply()
    assert tenants(bench) == BEFORE | {1: {1: 12, 2: 20}}


def test_a_table_of_many_slots(bench: Bench, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    text = SPEC.replace(
        "inner_maps: {1: {entries: {1: 10, 2: 20}}, 2: {entries: {1: 11}}, 7: {shared: common}, 8: {shared: common}}",
        "inner_maps: {from: t.csv, outer_key: t, key: k, value: v}",
    ).replace("  common: {inner: acl, entries: {9: 9}}", "  common: {inner: acl, entries: {}}")
    rows = [f"{slot},{key},{slot * key}" for slot in range(1, 30) for key in range(8)]
    table.write_text("\n".join(["t,k,v", *rows]) + "\n")
    bench.apply(text)
    with bench.load(text).session(ALL, interval=None, is_applied=True) as session:
        ids = bench.ids("tenants")
        table.write_text("\n".join(["t,k,v", *rows[:100], "9,9,9", *rows[101:]]) + "\n")
        assert session.follow(bench.load(text))
        assert session.pending == 2, "the slot of the row that went, and that of the new one"
        session.apply()
        assert bench.ids("tenants") == ids
    live = bench.tree("tenants")
    assert native(live[u32(9)][u32(9)]) == 9
    assert not bench.plan(text).changed
