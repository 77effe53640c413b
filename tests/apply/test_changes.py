"""Each way in which a live state can differ, and what apply makes of it."""

from __future__ import annotations

import struct

import pytest

from provisioner.apply import Status
from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.steps import DeleteSlots, PublishSlots, WriteEntries
from tests.apply.conftest import Bench
from tests.problems import raises


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def spec(inner_maps: str, *, inner: str = "hash", outer: str = "hash_of_maps", more: str = "", size: int = 8) -> str:
    value = {"hash": "u32", "array": "u32", "wide": "{struct: {a: u64, b: u64}}"}[inner]
    kind = "array" if inner == "wide" else inner
    return f"""
inner_templates: {{one: {{type: {kind}, key: u32, value: {value}, max_entries: 8}}}}
outer_maps:
  outer: {{type: {outer}, key: u32, max_entries: {size}, inner: one, {more} inner_maps: {{{inner_maps}}}}}
"""


def test_a_hash_is_changed_in_place(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: 1, 2: 2, 3: 3}}"))
    before = bench.ids("outer")
    plan, _ = bench.settle(spec("1: {entries: {1: 1, 2: 9, 4: 4}}"))
    assert isinstance(plan.steps[0], WriteEntries)
    assert bench.ids("outer") == before
    assert bench.tree("outer") == {u32(1): {u32(1): u32(1), u32(2): u32(9), u32(4): u32(4)}}


def test_a_full_hash_makes_room_before_it_takes_more(bench: Bench) -> None:
    full = ", ".join(f"{key}: 1" for key in range(8))
    other = ", ".join(f"{key}: 1" for key in range(8, 16))
    bench.apply(spec(f"1: {{entries: {{{full}}}}}"))
    bench.settle(spec(f"1: {{entries: {{{other}}}}}"))
    assert len(bench.tree("outer")[u32(1)]) == 8


def test_a_full_outer_map_makes_room_before_it_takes_more(bench: Bench) -> None:
    bench.apply(spec("1: {}, 2: {}", size=2))
    plan, _ = bench.settle(spec("3: {}, 2: {}", size=2))
    kinds = [type(step) for step in plan.steps]
    assert kinds.index(DeleteSlots) < kinds.index(PublishSlots)
    bench.settle(spec("3: {}, 4: {}", size=2))


def test_where_there_is_room_nothing_is_deleted_before_the_new_is_there(bench: Bench) -> None:
    bench.apply(spec("1: {}, 2: {}"))
    plan, _ = bench.settle(spec("3: {}, 2: {}"))
    kinds = [type(step) for step in plan.steps]
    assert kinds.index(PublishSlots) < kinds.index(DeleteSlots)


def test_the_wide_values_of_an_array_are_replaced(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: {a: 1, b: 1}}}, 2: {entries: {}}", inner="wide"))
    before = bench.ids("outer")
    bench.settle(spec("1: {entries: {1: {a: 2, b: 2}}}, 2: {entries: {}}", inner="wide"))
    after = bench.ids("outer")
    assert before[u32(1)] != after[u32(1)]
    assert before[u32(2)] == after[u32(2)]


def test_an_array_entry_that_is_not_declared_is_zero(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: 5, 2: 6}}", inner="array", outer="array_of_maps"))
    plan, _ = bench.settle(spec("1: {entries: {2: 6}}", inner="array", outer="array_of_maps"))
    assert plan.maps["outer"].slots.deletes.tolist() == [1]
    assert bench.tree("outer")[u32(1)][u32(1)] == u32(0)


@pytest.mark.parametrize("outer", ["hash_of_maps", "array_of_maps"])
def test_slots_come_and_go(bench: Bench, outer: str) -> None:
    bench.apply(spec("1: {}, 2: {}, 3: {}", outer=outer))
    bench.settle(spec("2: {}, 4: {}", outer=outer))
    assert set(bench.ids("outer")) == {u32(2), u32(4)}
    bench.settle(spec("", outer=outer))
    assert bench.ids("outer") == {}


def test_more_room_replaces_the_inner_map(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: 1}}"))
    before = bench.ids("outer")
    bench.settle(spec("1: {max_entries: 100, entries: {1: 1}}"))
    assert bench.ids("outer") != before
    with maps.open_id(InnerId(bench.ids("outer")[u32(1)])) as inner:
        assert maps.info(inner).shape.max_entries == 100


def test_a_foreign_slot_is_kept_where_policy_says_so(bench: Bench) -> None:
    text = spec("1: {entries: {1: 1}}", more="extra_inner_maps: keep,")
    bench.apply(text)
    with (
        maps.open_pin(bench.root / "outer") as outer,
        maps.create(MapShape(MapType.HASH, 4, 4, 8)) as foreign,
    ):
        maps.update(foreign, u32(7), u32(7))
        maps.insert_inner(outer, u32(5), foreign)
    before = bench.ids("outer")
    bench.settle(spec("1: {entries: {1: 2}}", more="extra_inner_maps: keep,"))
    assert bench.ids("outer") == before
    assert bench.tree("outer")[u32(5)] == {u32(7): u32(7)}
    with raises(RefusedError, "extra_inner_maps"):
        bench.apply(spec("1: {entries: {1: 2}}", more="extra_inner_maps: fail,"))


def test_an_inner_map_that_another_process_put_in_two_slots_is_never_written(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: 1}}, 2: {entries: {1: 1}}"))
    shared = bench.ids("outer")[u32(1)]
    with maps.open_pin(bench.root / "outer") as outer, maps.open_id(InnerId(shared)) as inner:
        maps.insert_inner(outer, u32(2), inner)
        bench.settle(spec("1: {entries: {1: 5}}, 2: {entries: {1: 1}}"))
        assert maps.lookup(inner, u32(1), 4) == u32(1)
    assert bench.tree("outer") == {u32(1): {u32(1): u32(5)}, u32(2): {u32(1): u32(1)}}


SHARED = """
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
shared_inner_maps: {{common: {{inner: one, entries: {{1: {value}}}}}}}
outer_maps:
  outer:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: one
    inner_maps: {{1..40: {{shared: common}}, 50: {{}}}}
"""


def test_a_shared_inner_map_is_one_map_in_all_its_slots(bench: Bench) -> None:
    bench.settle(SHARED.format(value=1))
    ids = bench.ids("outer")
    assert len(ids) == 41
    assert len(set(ids.values())) == 2
    bench.settle(SHARED.format(value=2))
    tree = bench.tree("outer")
    assert all(tree[u32(key)] == {u32(1): u32(2)} for key in range(1, 41))
    assert len(set(bench.ids("outer").values())) == 2


def test_contents_that_are_the_data_plane_s_are_left(bench: Bench) -> None:
    text = spec("1: {contents: ignore}, 2: {contents: present, entries: {1: 1}}")
    bench.settle(text)
    for slot in (1, 2):
        with maps.open_id(InnerId(bench.ids("outer")[u32(slot)])) as inner:
            maps.update(inner, u32(6), u32(6))
    assert not bench.plan(text).changed
    bench.settle(spec("1: {contents: ignore}, 2: {contents: present, entries: {1: 2}}"))
    assert bench.tree("outer") == {u32(1): {u32(6): u32(6)}, u32(2): {u32(1): u32(2), u32(6): u32(6)}}


def test_a_map_that_would_be_recreated_needs_an_option(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: 1}}"))
    other = spec("1: {entries: {1: 1}}").replace("hash_of_maps, key: u32", "hash_of_maps, key: u64")
    bench.overrides = Overrides()
    with raises(RefusedError, "recreate"):
        bench.apply(other)
    bench.overrides = Overrides(allow_recreate=True)
    plan, result = bench.apply(other)
    assert plan.maps["outer"].action is Action.REPLACE
    assert result.status is Status.APPLIED
    assert bench.tree("outer") == {u32(1) + bytes(4): {u32(1): u32(1)}}


def test_a_hash_of_maps_becomes_an_array_with_the_same_inner_maps(bench: Bench) -> None:
    bench.apply(spec("1: {entries: {1: 1}}"))
    before = bench.ids("outer")
    bench.overrides = Overrides()
    bench.settle(spec("1: {entries: {1: 1}}", outer="array_of_maps"))
    assert bench.ids("outer") == before


def test_too_many_deletes_are_asked_for(bench: Bench) -> None:
    bench.apply(spec("0..39: {}", size=64))
    bench.overrides = Overrides()
    with raises(RefusedError, "delete_percent"):
        bench.apply(spec("0..9: {}", size=64))
    assert len(bench.ids("outer")) == 40


def test_a_project_does_not_take_what_it_did_not_make(bench: Bench) -> None:
    bench.apply(spec("1: {}"))
    (bench.root / "_meta").unlink()
    with raises(RefusedError, "ownership"):
        bench.apply(spec("1: {}"))
    bench.overrides = Overrides(take_over=True)
    bench.settle(spec("1: {}"))


TWO = """
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
outer_maps:
  a: {{type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {{1: {{entries: {{1: {0}}}}}}}}}
  b: {{type: array_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {{1: {{entries: {{1: 1}}}}}}}}
"""


def test_an_inner_map_that_another_process_put_in_two_outer_maps_is_never_written(bench: Bench) -> None:
    """A write through the one would be seen through the other: both get a map of their own."""
    bench.apply(TWO.format(1))
    shared = bench.ids("a")[u32(1)]
    with maps.open_pin(bench.root / "b") as other, maps.open_id(InnerId(shared)) as inner:
        maps.insert_inner(other, u32(1), inner)
    plan, _ = bench.settle(TWO.format(2))
    assert [change.slots.action.tolist() for change in plan.maps.values()] == [[Action.REPLACE], [Action.REPLACE]]
    assert (bench.tree("a"), bench.tree("b")) == (
        {u32(1): {u32(1): u32(2)}},
        bench.tree("b") | {u32(1): {u32(1): u32(1)}},
    )
    assert shared not in {bench.ids("a")[u32(1)], bench.ids("b")[u32(1)]}
