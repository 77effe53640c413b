"""Applies that are limited to a part of the spec: that part alone changes, and the rest is what is left to do."""

from __future__ import annotations

import struct

import pytest

from provisioner import InputError, Plan, RefusedError, Result, Status
from provisioner.model.pins import META_PIN
from provisioner.model.record import Meta
from provisioner.observed import metamap
from provisioner.planning.changes import Action
from tests.apply.conftest import ALL, Bench
from tests.apply.test_objects import Compile
from tests.apply.test_objects import spec as router

TEMPLATE = "inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 8}}\n"


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def spec(inner_maps: str, *, policy: str = "", size: int = 8, active: int = 1, shared: str = "") -> str:
    return f"""{TEMPLATE}{shared}
maps:
  active: {{type: array, key: u32, value: u32, max_entries: 1, entries: {{0: {active}}}, after: [outer]}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: {size}, inner: one, {policy} inner_maps: {{{inner_maps}}}}}
"""


def apply(bench: Bench, text: str, *targets: str) -> tuple[Plan, Result]:
    """A limited apply, and once more: that does nothing."""
    project = bench.load(text)
    plan, result = project.apply(ALL, targets=targets)
    assert result.fds_before == result.fds_after
    assert project.apply(ALL, targets=targets)[1].status is Status.UNCHANGED
    return plan, result


def rest(bench: Bench, text: str) -> dict[str, dict[int, str]]:
    """What a whole plan still has to do: by map, slots and their actions."""
    others: dict[str, dict[int, str]] = {}
    for change in bench.plan(text).maps.values():
        rows = zip(change.slots.keys, change.slots.action.tolist(), strict=True)
        others[change.name] = {
            int.from_bytes(key.tobytes(), "little"): Action(action).name
            for key, action in rows
            if action not in (Action.UNCHANGED, Action.KEEP)
        }
    return others


def recorded(bench: Bench) -> Meta:
    return metamap.read(bench.root / META_PIN)


BEFORE = "1: {entries: {1: 1}}, 2: {entries: {2: 2}}, 3: {entries: {3: 3}}"
AFTER = "1: {entries: {1: 9}}, 2: {entries: {2: 9}}, 4: {entries: {4: 4}}"


@pytest.mark.parametrize("policy", ["", "extra_inner_maps: keep, ", "extra_inner_maps: fail, ", "update: replace, "])
def test_a_slot_changes_and_the_others_stay(bench: Bench, policy: str) -> None:
    bench.apply(spec(BEFORE))
    tree, ids = bench.tree("outer"), bench.ids("outer")
    wanted = spec(AFTER, policy=policy, active=7)
    apply(bench, wanted, "outer[2]")
    assert bench.tree("outer") == tree | {u32(2): {u32(2): u32(9)}}
    changed = {key for key, number in bench.ids("outer").items() if ids[key] != number}
    assert changed == ({u32(2)} if "replace" in policy else set())
    assert bench.entries("active") == {u32(0): u32(1)}
    way = "REPLACE" if "replace" in policy else "UPDATE"
    gone = {} if "keep" in policy or "fail" in policy else {3: "DELETE"}
    assert rest(bench, wanted) == {"active": {0: "UPDATE"}, "outer": {1: way, 4: "CREATE"} | gone}


def test_a_slot_that_the_spec_dropped_goes_alone(bench: Bench) -> None:
    bench.apply(spec(BEFORE))
    apply(bench, spec("2: {}"), "outer[3]", "outer[1]")
    assert bench.tree("outer") == {u32(2): {u32(2): u32(2)}}


def test_a_first_apply_of_a_part_then_of_the_whole(bench: Bench) -> None:
    text = spec(BEFORE)
    apply(bench, text, "outer[2]")
    assert sorted(bench.ids("outer")) == [u32(2)]
    assert not (bench.root / "active").exists()
    assert recorded(bench).pins == ("outer",)
    assert rest(bench, text) == {"outer": {1: "CREATE", 3: "CREATE"}, "active": {0: "CREATE"}}
    kept = bench.ids("outer")[u32(2)]
    bench.settle(text)
    assert bench.ids("outer")[u32(2)] == kept
    assert recorded(bench).pins == ("active", "outer")


def test_what_is_recorded_of_the_rest_stays(bench: Bench) -> None:
    bench.apply(spec(BEFORE, policy="prevent_destroy: true, "))
    before = recorded(bench)
    assert before.protected == ("outer",)
    apply(bench, spec(AFTER, active=5), "active")
    assert recorded(bench) == before
    apply(bench, spec(AFTER, active=5), "outer[1]")
    assert recorded(bench).protected == ()


def test_a_pin_that_the_spec_no_longer_names_stays_the_projects(bench: Bench) -> None:
    bench.apply(spec(BEFORE))
    outer = "{type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {}}"
    text = f"{TEMPLATE}outer_maps: {{outer: {outer}}}"
    apply(bench, text, "outer[1]")
    assert recorded(bench).pins == ("active", "outer")
    assert "active" in bench.plan(text).observed.own_pins


def test_a_slot_brings_all_that_share_its_inner_map(bench: Bench) -> None:
    def sharing(value: int) -> str:
        shared = f"shared_inner_maps: {{both: {{inner: one, entries: {{5: {value}}}}}}}"
        return spec(f"1: {{entries: {{1: {value}}}}}, 2..3: {{shared: both}}", shared=shared)

    bench.apply(sharing(1))
    before = bench.ids("outer")
    apply(bench, sharing(2), "outer[3]")
    after = bench.ids("outer")
    assert after[u32(2)] == after[u32(3)]
    assert after[u32(1)] == before[u32(1)]
    assert rest(bench, sharing(2))["outer"] == {1: "UPDATE"}


def test_a_map_that_is_made_again_comes_whole(bench: Bench) -> None:
    bench.apply(spec(BEFORE))
    apply(bench, spec(AFTER, size=16, active=3), "outer[4]")
    assert sorted(bench.tree("outer")) == [u32(1), u32(2), u32(4)]
    assert rest(bench, spec(AFTER, size=16, active=3)) == {"outer": {}, "active": {0: "UPDATE"}}


def test_inner_maps_get_pins_where_they_are_targeted(bench: Bench) -> None:
    bench.apply(spec(BEFORE))
    text = "pin_inner_maps: true\n" + spec(BEFORE)
    apply(bench, text, "outer[2]")
    pinned = {pin.name for pin in (bench.root / "_inner/outer").iterdir()}
    assert pinned == {str(bench.ids("outer")[u32(2)])}
    bench.settle(text)
    apply(bench, spec(AFTER), "outer[4]")
    assert pinned < {pin.name for pin in (bench.root / "_inner/outer").iterdir()}, "a whole apply unpins them"


def test_the_digest_knows_what_a_plan_is_limited_to(bench: Bench) -> None:
    project = bench.load(spec(BEFORE))
    for planned, applied in (((), ("outer[2]",)), (("outer[2]",), ()), (("outer[2]",), ("outer[1]",))):
        with pytest.raises(RefusedError):
            project.apply(ALL, expected=project.plan(ALL, targets=planned).digest, targets=applied)
    assert not bench.root.exists()
    project.apply(ALL, expected=project.plan(ALL, targets=("outer[2]",)).digest, targets=("outer[2]",))


def test_a_map_brings_the_object_that_makes_it(bench: Bench, bpf_object: Compile) -> None:
    bench.allow_outside = True
    standalone = "  spare: {type: hash_of_maps, key: u32, max_entries: 4, inner: acl, inner_maps: {}}\n"
    text = router(bpf_object("router")) + standalone
    plan, _ = apply(bench, text, "tenants[1]")
    assert plan.whole == {"router", "active", "tenants", "vip_slots", "vips"}
    assert rest(bench, text).pop("spare") == {}
    after = bench.plan(text)
    assert {name for name, change in after.maps.items() if change.action is not Action.UNCHANGED} == {"spare"}
    assert after.objects["router"].action is Action.UNCHANGED


def test_an_object_that_changed_is_not_loaded_for_a_map_that_lives(bench: Bench, bpf_object: Compile) -> None:
    bench.allow_outside = True
    bench.apply(router(bpf_object("router")))
    before = recorded(bench)
    program = bench.plan(router(bpf_object("router"))).observed.programs
    text = router(bpf_object("router_v2"), port=9)
    apply(bench, text, "vips[0]")
    left = bench.plan(text)
    assert left.observed.programs == program
    assert left.objects["router"].action is Action.UPDATE
    assert recorded(bench) == before
    apply(bench, router(bpf_object("router_v2"), port=10), "router")
    left = bench.plan(router(bpf_object("router_v2"), port=10))
    assert left.objects["router"].action is Action.UNCHANGED
    assert [name for name, change in left.maps.items() if change.action is Action.UPDATE] == ["vips"]


def test_an_index_that_is_out_of_range_is_an_error(bench: Bench) -> None:
    text = spec("1: {}, 6: {}").replace("hash_of_maps", "array_of_maps")
    bench.apply(text)
    smaller = text.replace("max_entries: 8, inner", "max_entries: 4, inner").replace(", 6: {}", "")
    project = bench.load(smaller)
    for act in (project.plan, project.plan_destroy):
        act(targets=["outer[6]"])  # the live array has it
        with pytest.raises(InputError) as caught:
            act(targets=["outer[8]", "outer[9]"])
        assert [one.id for one in caught.value.problems] == ["index-out-of-range"] * 2
    for address in ("outer[8]", "active[1]"):
        with pytest.raises(InputError) as caught:
            project.live(address)
        assert [(one.id, one.address) for one in caught.value.problems] == [("index-out-of-range", address)]
