"""Maps that others fill up: what has room only after deletes is done so; what has no room is refused by the plan."""

from __future__ import annotations

import pytest

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests.apply.conftest import Bench
from tests.apply.test_ownership import u32

OTHERS = (10, 11, 12)


def outer(entries: str, policy: str, head: str = "") -> str:
    return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 4, {policy}}}}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 4, inner: one, inner_maps: {{1: {{{head} {entries}}}}}}}
"""


def spec(entries: str, policy: str) -> str:
    return f"""{outer(entries, policy)}
maps:
  plain: {{type: hash, key: u32, value: u32, max_entries: 4, {policy}, {entries}}}
"""


def filled(bench: Bench, policy: str) -> None:
    """Both maps have one entry of ours and are full of those of others."""
    bench.apply(spec("entries: {1: 1}", policy))
    with maps.open_id(InnerId(bench.ids("outer")[u32(1)])) as inner, maps.open_pin(bench.root / "plain") as plain:
        for fd in (inner, plain):
            for key in OTHERS:
                maps.update(fd, u32(key), u32(9))


def no_room(bench: Bench, text: str) -> list[str]:
    """The addresses that the plan refuses; the apply refuses them too, and changes nothing."""
    plan = bench.plan(text)
    with pytest.raises(RefusedError) as error:
        bench.apply(text)
    assert {problem.id for problem in error.value.problems} == {"no-room"}
    assert [one.address for one in plan.blocked] == [problem.address for problem in error.value.problems]
    assert all(problem.where is not None for problem in error.value.problems)
    return [one.address for one in plan.blocked]


def test_one_own_key_is_exchanged_for_another(bench: Bench) -> None:
    filled(bench, "owned_keys: 1..9")
    bench.settle(spec("entries: {3: 3}", "owned_keys: 1..9"))
    held = {u32(3): u32(3)} | {u32(key): u32(9) for key in OTHERS}
    assert bench.tree("outer") == {u32(1): held}
    assert bench.entries("plain") == held


@pytest.mark.parametrize("policy", ["owned_keys: 1..9", "contents: present"])
def test_one_entry_too_many_is_refused(bench: Bench, policy: str) -> None:
    filled(bench, policy)
    assert no_room(bench, spec("entries: {1: 1, 2: 2}", policy)) == ["outer[1]", "plain"]


@pytest.mark.parametrize("contents", ["contents: present", "contents: ignore", "owned_keys: 1..9"])
def test_a_copy_into_a_smaller_map_is_refused(bench: Bench, contents: str) -> None:
    entries = "" if "ignore" in contents else "entries: {1: 1}"
    policy = f"{contents}, on_replace: copy"
    bench.apply(outer(entries, policy))
    with maps.open_id(InnerId(bench.ids("outer")[u32(1)])) as inner:
        for key in OTHERS:
            maps.update(inner, u32(key), u32(9))
    assert no_room(bench, outer(entries, policy, head="max_entries: 2,")) == ["outer[1]"]
    bench.settle(outer(entries, policy, head="max_entries: 8,"))


def test_a_copy_into_a_smaller_array_is_refused(bench: Bench) -> None:
    def array(room: int) -> str:
        return f"""
inner_templates:
  one: {{type: array, key: u32, value: u32, max_entries: 16, contents: ignore, on_replace: copy, flags: [inner_map]}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 4, inner: one, inner_maps: {{1: {{max_entries: {room}}}}}}}
"""

    bench.apply(array(16))
    with maps.open_id(InnerId(bench.ids("outer")[u32(1)])) as inner:
        maps.update(inner, u32(9), u32(1))
    assert no_room(bench, array(9)) == ["outer[1]"]
    bench.settle(array(10))


@pytest.mark.parametrize(
    ("policy", "slot", "fits"),
    [
        ("owned_keys: 1..9,", "3", True),
        ("owned_keys: 1..9,", "1: {}, 3", False),
        ("extra_inner_maps: keep,", "3", False),
    ],
)
def test_slots_of_others_fill_an_outer_map(bench: Bench, policy: str, slot: str, fits: bool) -> None:
    def text(slots: str) -> str:
        return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 4}}}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 4, inner: one, {policy} inner_maps: {{{slots}: {{}}}}}}
"""

    bench.apply(text("1"))
    with maps.open_pin(bench.root / "outer") as fd, maps.create(MapShape(MapType.HASH, 4, 4, 4)) as foreign:
        for key in OTHERS:
            maps.insert_inner(fd, u32(key), foreign)
    if fits:
        bench.settle(text(slot))
        assert set(bench.ids("outer")) == {u32(3), *map(u32, OTHERS)}
    else:
        assert no_room(bench, text(slot)) == ["outer[3]"]
