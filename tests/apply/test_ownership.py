"""Two writers of one map: what is not ours stays byte for byte, also where its inner map is replaced."""

from __future__ import annotations

import struct

import pytest

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import InputError, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests.apply.conftest import Bench
from tests.problems import raises


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def spec(inner_maps: str, *, kind: str = "hash", template: str = "", outer: str = "", capacity: int = 8) -> str:
    return f"""
inner_templates: {{one: {{type: {kind}, key: u32, value: u32, max_entries: {capacity}, {template}}}}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 64, inner: one, {outer} inner_maps: {{{inner_maps}}}}}
"""


def write_others(bench: Bench, slot: int, key: int, value: int) -> None:
    with maps.open_id(InnerId(bench.ids("outer")[u32(slot)])) as inner:
        maps.update(inner, u32(key), u32(value))


@pytest.mark.parametrize("contents", ["present", "ignore"])
def test_entries_of_others_are_copied_where_their_map_is_replaced(bench: Bench, contents: str) -> None:
    ours = "entries: {1: 1}" if contents == "present" else ""
    template = f"contents: {contents}, on_replace: copy"
    bench.apply(spec(f"5: {{{ours}}}", template=template))
    write_others(bench, 5, 7, 77)
    plan, _ = bench.settle(spec(f"5: {{max_entries: 16, {ours}}}", template=template))
    assert [hazard.id for hazard in plan.hazards] == ["foreign-entries-replaced"]
    assert bench.tree("outer")[u32(5)] == ({u32(1): u32(1)} if ours else {}) | {u32(7): u32(77)}


def test_entries_of_others_are_dropped_only_where_the_spec_says_so(bench: Bench) -> None:
    bench.apply(spec("5: {}", template="contents: ignore"))
    write_others(bench, 5, 7, 77)
    with raises(RefusedError, "on_replace"):
        bench.apply(spec("5: {max_entries: 16}", template="contents: ignore"))
    bench.settle(spec("5: {max_entries: 16}", template="contents: ignore, on_replace: drop"))
    assert bench.tree("outer") == {u32(5): {}}


def test_what_we_declare_wins_over_what_is_copied(bench: Bench) -> None:
    template = "contents: present, on_replace: copy, update: replace, flags: [inner_map]"
    bench.apply(spec("5: {entries: {1: 1}}", kind="array", template=template))
    write_others(bench, 5, 7, 77)
    bench.settle(spec("5: {entries: {1: 2}}", kind="array", template=template))
    assert {key: value for key, value in bench.tree("outer")[u32(5)].items() if any(value)} == {
        u32(1): u32(2),
        u32(7): u32(77),
    }


def test_an_array_is_copied_into_one_with_less_room(bench: Bench) -> None:
    """Its indexes beyond the new room exist, but hold nothing."""
    template = "contents: ignore, on_replace: copy, flags: [inner_map]"
    bench.apply(spec("5: {max_entries: 16}", kind="array", template=template))
    write_others(bench, 5, 7, 77)
    bench.settle(spec("5: {max_entries: 8}", kind="array", template=template))
    assert {key: value for key, value in bench.tree("outer")[u32(5)].items() if any(value)} == {u32(7): u32(77)}


@pytest.mark.parametrize("change", ["5: {max_entries: 16, entries: {1: 1}}", "5: {entries: {1: 1}}"])
@pytest.mark.parametrize("kind", ["hash", "array"])
def test_a_copy_leaves_out_own_entries_that_the_spec_no_longer_lists(bench: Bench, kind: str, change: str) -> None:
    own = "owned_keys: 0..3, on_replace: copy" + (", flags: [inner_map]" if kind == "array" else "")
    bench.apply(spec("5: {entries: {0: 5, 1: 1}}", kind=kind, template=own))
    write_others(bench, 5, 7, 77)
    bench.settle(spec(change, kind=kind, template=own + ", update: replace"))
    held = {key: value for key, value in bench.tree("outer")[u32(5)].items() if any(value)}
    assert held == {u32(1): u32(1), u32(7): u32(77)}


def test_an_own_range_that_is_present_keeps_what_the_spec_does_not_list(bench: Bench) -> None:
    own = "owned_keys: 0..3, contents: present, on_replace: copy"
    bench.apply(spec("5: {entries: {0: 5, 1: 1}}", template=own))
    bench.settle(spec("5: {max_entries: 16, entries: {1: 1}}", template=own))
    assert bench.tree("outer") == {u32(5): {u32(0): u32(5), u32(1): u32(1)}}


def test_exact_contents_are_never_copied(bench: Bench) -> None:
    bench.apply(spec("5: {entries: {1: 1}}", template="on_replace: copy"))
    write_others(bench, 5, 7, 77)
    plan, _ = bench.settle(spec("5: {max_entries: 16, entries: {1: 1}}", template="on_replace: copy"))
    assert plan.hazards == ()
    assert bench.tree("outer") == {u32(5): {u32(1): u32(1)}}


def shared_spec(slots: str, template: str, entries: str = "entries: {1: 1}") -> str:
    return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8, {template}}}}}
shared_inner_maps: {{common: {{inner: one, {entries}}}}}
outer_maps:
  outer: {{type: array_of_maps, key: u32, max_entries: 4, inner: one, {slots}}}
"""


@pytest.mark.parametrize(
    "slots", ["inner_maps: {0: {shared: common}, 1: {}}", "inner_maps: {1: {}}, default: {shared: common}"]
)
@pytest.mark.parametrize("contents", ["present", "ignore"])
def test_a_shared_inner_map_has_the_contents_policy_of_its_template(bench: Bench, slots: str, contents: str) -> None:
    text = shared_spec(slots, f"contents: {contents}", "entries: {1: 1}" if contents == "present" else "")
    bench.apply(text)
    write_others(bench, 0, 7, 77)
    bench.settle(text)
    assert bench.tree("outer")[u32(0)][u32(7)] == u32(77)


def test_a_new_slot_of_a_shared_inner_map_gets_the_entries_of_others_too(bench: Bench) -> None:
    template = "contents: present, on_replace: copy"
    bench.apply(shared_spec("inner_maps: {1: {shared: common}}", template))
    write_others(bench, 1, 7, 77)
    bench.settle(shared_spec("inner_maps: {0: {shared: common}, 1: {shared: common}}", template))
    assert bench.tree("outer") == {u32(slot): {u32(1): u32(1), u32(7): u32(77)} for slot in (0, 1)}


def test_a_shared_inner_map_whose_contents_are_ignored_lists_none(bench: Bench) -> None:
    with pytest.raises(InputError) as refused:
        bench.load(shared_spec("inner_maps: {0: {shared: common}}", "contents: ignore"))
    assert [problem.address for problem in refused.value.problems] == ["common"]


def test_a_range_of_slots_is_ours_and_the_rest_is_not(bench: Bench) -> None:
    text = spec("10: {}, 11: {}", outer="owned_keys: 10..19,")
    bench.apply(text)
    with maps.open_pin(bench.root / "outer") as outer, maps.create(MapShape(MapType.HASH, 4, 4, 8)) as foreign:
        maps.insert_inner(outer, u32(50), foreign)
    bench.settle(spec("10: {}", outer="owned_keys: 10..19,"))
    assert set(bench.ids("outer")) == {u32(10), u32(50)}


def test_a_range_of_entries_is_ours_and_the_rest_is_not(bench: Bench) -> None:
    text = spec("5: {entries: {1: 1, 2: 2}}", template="owned_keys: 0..99")
    bench.apply(text)
    write_others(bench, 5, 100, 7)
    bench.settle(spec("5: {entries: {1: 3}}", template="owned_keys: 0..99"))
    assert bench.tree("outer") == {u32(5): {u32(1): u32(3), u32(100): u32(7)}}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (spec("10: {}, 30: {}", outer="owned_keys: 10..19,"), "outer[30] is outside of `owned_keys`"),
        (spec("5: {entries: {7: 1}}", template="owned_keys: 0..5"), "key 7 is outside of `owned_keys`"),
    ],
)
def test_what_is_declared_must_be_ours(bench: Bench, text: str, what: str) -> None:
    with pytest.raises(InputError) as refused:
        bench.load(text)
    assert [problem.what for problem in refused.value.problems] == [what]


def test_the_slots_of_an_array_that_nothing_declares_hold_the_default(bench: Bench) -> None:
    text = """
inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 8}}
shared_inner_maps: {nothing: {inner: one, entries: {9: 9}}}
outer_maps:
  outer:
    type: array_of_maps
    key: u32
    max_entries: 16
    inner: one
    inner_maps: {3: {entries: {1: 1}}}
    default: {shared: nothing}
"""
    bench.settle(text)
    tree = bench.tree("outer")
    assert len(tree) == 16
    assert tree.pop(u32(3)) == {u32(1): u32(1)}
    assert all(entries == {u32(9): u32(9)} for entries in tree.values())
    assert len(set(bench.ids("outer").values())) == 2
