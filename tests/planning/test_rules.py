"""Which plans are refused, by which rule, at which address, and which option overrides it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.errors import RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedMap
from provisioner.model.spec import ChangeLimits, Contents, ExtraInnerMaps, OnReplace, Update
from provisioner.model.uapi import MapType
from provisioner.planning import targets
from provisioner.planning.comparison import compare
from provisioner.planning.hazards import Overrides, refuse_blocked
from provisioner.planning.steps import RecordMeta
from tests.planning.build import HASH, HERE, OUTER, State, desired, observed
from tests.planning.states import Held, an_object, attached, ids, live, pinned, plan_of, record, unattached, wanted

OURS = record()
ALL = Overrides(approve_deletes=True, allow_recreate=True, allow_overcommit=True)


def blocked(
    state: State, held: State, *, overrides: Overrides = Overrides(), wish: Any = None, **how: Any
) -> list[tuple[str, str]]:
    map_ = desired(state, **how)
    seen = live(meta=OURS, maps={"outer": observed(held)})
    return ids(plan_of(wanted(map_, **(wish or {})), seen, Held({"outer": held}), overrides).blocked)


# --- limits ------------------------------------------------------------------------------------------------------


def slots(count: int) -> dict[int, dict[int, int]]:
    return {number: {1: 1} for number in range(count)}


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        (100, 70, False),  # exactly 30 %
        (100, 69, True),
        (11, 1, False),  # 10 may always go
        (12, 1, True),
        (12, 0, True),
    ],
)
def test_inner_maps_deleted(before: int, after: int, refused: bool) -> None:
    assert blocked(slots(after), slots(before)) == ([("delete_percent", "outer")] if refused else [])
    assert not blocked(slots(after), slots(before), overrides=Overrides(approve_deletes=True))


def entries(count: int, value: int = 1) -> dict[int, dict[int, int]]:
    return {1: {key: value for key in range(count)}}  # noqa: C420


@pytest.mark.parametrize(("after", "refused"), [(42, False), (41, True)])
def test_entries_deleted(after: int, refused: bool) -> None:
    assert blocked(entries(after), entries(60)) == ([("delete_percent", "outer")] if refused else [])


def changed(count: int, updated: int) -> dict[int, dict[int, int]]:
    return {1: {key: 2 if key < updated else 1 for key in range(count)}}


@pytest.mark.parametrize(("updated", "refused"), [(30, False), (31, True)])
def test_entries_updated(updated: int, refused: bool) -> None:
    limits = ChangeLimits(None, 50, None, HERE)
    refusals = blocked(changed(60, updated), entries(60), limits=limits)
    assert refusals == ([("update_percent", "outer")] if refused else [])


def test_deletes_are_not_updates() -> None:
    limits = ChangeLimits(100, 10, 0, HERE)
    assert not blocked({1: {0: 1}}, entries(60), limits=limits)


def test_updates_are_not_limited_unless_the_spec_says_so() -> None:
    assert not blocked(entries(60, 2), entries(60))


def test_a_map_has_the_limits_of_its_project_unless_it_has_its_own() -> None:
    none, all_of_it = ChangeLimits(0, None, 0, HERE), ChangeLimits(100, None, 0, HERE)
    map_ = desired(slots(1))
    seen = live(meta=OURS, maps={"outer": observed(slots(2))})
    held = Held({"outer": slots(2)})
    project = replace(wanted(map_), limits=none)
    assert ids(plan_of(project, seen, held).blocked) == [("delete_percent", "outer")]
    own = replace(project, maps={"outer": replace(map_, limits=all_of_it)})
    assert not plan_of(own, seen, held).blocked


# --- ownership ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("project", "refused"), [("edge", False), ("other", True)])
def test_the_pin_root_of_another_project(project: str, refused: bool) -> None:
    seen = live(meta=record(project))
    expected = [("ownership", "")] if refused else []
    assert ids(plan_of(wanted(desired({})), seen).blocked) == expected
    assert ids(plan_of(wanted(desired({})), seen, overrides=ALL).blocked) == expected
    assert not plan_of(wanted(desired({})), seen, overrides=Overrides(take_over=True)).blocked


@pytest.mark.parametrize("what", ["maps", "object_maps", "programs", "links"])
def test_pins_without_a_record(what: str) -> None:
    states: dict[str, Any] = {
        "maps": {"outer": observed({})},
        "object_maps": {"hidden": observed({}, shape=HASH)},
        "programs": pinned("first"),
        "links": attached("first"),
    }
    seen = live(**{what: states[what]})
    assert ids(plan_of(wanted(desired({})), seen).blocked) == [("ownership", "")]
    assert not plan_of(wanted(desired({})), seen, overrides=Overrides(take_over=True)).blocked


def test_nothing_is_owned_where_nothing_is() -> None:
    assert not plan_of(wanted(desired({})), live()).blocked


def test_an_adopted_map_needs_no_record() -> None:
    map_ = desired({}, adopted="/sys/fs/bpf/theirs")
    assert not plan_of(wanted(map_), live(maps={"outer": observed({})})).blocked


def test_force_is_all_but_ownership() -> None:
    assert Overrides.force() == ALL
    assert Overrides.force() | Overrides(prune=True) == replace(ALL, prune=True)


# --- maps --------------------------------------------------------------------------------------------------------

OTHER = MapShape(MapType.HASH_OF_MAPS, 8, 4, 1000)


def test_a_map_that_would_be_recreated() -> None:
    assert blocked({}, {}, shape=OTHER) == [("recreate", "outer")]
    assert not blocked({}, {}, shape=OTHER, overrides=Overrides(allow_recreate=True))


def test_a_protected_map_is_not_recreated_whatever_is_allowed() -> None:
    assert blocked({}, {}, shape=OTHER, prevent_destroy=True, overrides=ALL) == [("prevent_destroy", "outer")]
    assert not blocked({1: {}}, {}, prevent_destroy=True)


def test_a_protected_map_that_left_the_spec_is_not_pruned_and_stays_protected() -> None:
    seen = live(meta=record(pins=("gone", "old"), protected=("gone",)), other_pins=("gone", "old"))
    assert ids(plan_of(wanted(), seen, overrides=replace(ALL, prune=True)).blocked) == [("prevent_destroy", "gone")]
    plan = plan_of(wanted(desired({}, name="new", prevent_destroy=True)), seen)
    (recorded,) = (step.meta for step in plan.steps if isinstance(step, RecordMeta))
    assert (plan.blocked, recorded.protected) == ((), ("gone", "new"))


def test_an_adopted_map_of_another_shape() -> None:
    refusals = blocked({}, {}, shape=OTHER, adopted="/sys/fs/bpf/theirs", overrides=ALL)
    assert refusals == [("adopted-shape", "outer")]


def test_an_adopted_map_that_is_missing() -> None:
    map_ = desired({}, adopted="/sys/fs/bpf/theirs")
    assert ids(plan_of(wanted(map_), live(meta=OURS)).blocked) == [("adopted-missing", "outer")]


def test_an_inner_template_that_differs_is_the_place_of_a_recreation() -> None:
    inner = MapShape(MapType.HASH, 4, 16, 64)
    map_ = desired({1: {}})
    template = replace(HERE, line=99)
    outer = map_.outer
    assert outer is not None
    map_ = replace(map_, outer=replace(outer, template_where=template))
    seen = live(meta=OURS, maps={"outer": observed({1: {}}, inner=inner)})
    (refusal,) = plan_of(wanted(map_), seen, Held({"outer": {1: {}}})).blocked
    assert (refusal.rule, refusal.where) == ("recreate", template)
    own = replace(map_, shape=OTHER)
    assert plan_of(wanted(own), seen, Held({"outer": {1: {}}})).blocked[0].where == HERE


def test_a_map_of_an_object_that_is_not_declared() -> None:
    load = an_object(unattached("first"), maps={"hidden": HASH})
    seen = live(meta=OURS, object_maps={"hidden": observed({}, shape=HASH.with_capacity(9))})
    (refusal,) = plan_of(wanted(load), seen).blocked
    assert (refusal.rule, refusal.address, refusal.where) == ("recreate", "hidden", None)


@pytest.mark.parametrize(("extra", "refused"), [(ExtraInnerMaps.FAIL, True), (ExtraInnerMaps.KEEP, False)])
def test_extra_inner_maps(extra: ExtraInnerMaps, refused: bool) -> None:
    assert blocked({1: {}}, {1: {}, 2: {}}, extra=extra) == ([("extra_inner_maps", "outer")] if refused else [])
    assert not blocked({1: {}, 2: {}}, {1: {}, 2: {}}, extra=extra)


def test_slots_of_others_are_no_extra_inner_maps() -> None:
    assert not blocked({1: {}}, {1: {}, 20: {}}, extra=ExtraInnerMaps.FAIL, owned_slots=((1, 9),))


@pytest.mark.parametrize(
    ("on_replace", "override"),
    [
        (None, "`on_replace: drop` in the spec"),
        (OnReplace.COPY, "`on_replace: drop` in the spec"),
        (OnReplace.DROP, ""),
    ],
)
def test_entries_that_cannot_be_listed_cannot_be_copied(on_replace: OnReplace | None, override: str) -> None:
    queue, state = MapShape(MapType.QUEUE, 0, 8, 8), {1: dict[int, int]()}
    how: dict[str, Any] = {"contents": Contents.IGNORE, "update": Update.REPLACE, "on_replace": on_replace}
    wanted_map = desired(state, inner=queue, capacity={1: 16}, **how)
    seen = live(meta=OURS, maps={"outer": observed(state, inner=queue)})
    plan = plan_of(wanted(wanted_map), seen, Held({"outer": state}))
    assert [(each.rule, each.override) for each in plan.blocked] == [("on_replace", override)] * bool(override)
    assert [each.id for each in plan.hazards] == ["foreign-entries-replaced"] * (not override)


@pytest.mark.parametrize(("on_replace", "refused"), [(None, True), (OnReplace.COPY, False), (OnReplace.DROP, False)])
def test_a_replacement_with_entries_of_others(on_replace: OnReplace | None, refused: bool) -> None:
    how: dict[str, Any] = {"contents": Contents.PRESENT, "update": Update.REPLACE, "on_replace": on_replace}
    assert blocked({1: {1: 2}}, {1: {1: 1}}, **how) == ([("on_replace", "outer[1]")] if refused else [])


# --- frozen maps -------------------------------------------------------------------------------------------------


def frozen(
    state: State,
    held: State,
    *,
    inner: tuple[int, ...] = (),
    outer: bool = False,
    overrides: Overrides = ALL,
    **how: Any,
) -> list[tuple[str, str]]:
    seen: ObservedMap = replace(observed(held), frozen=outer)
    map_ = desired(state, **how)
    return ids(
        plan_of(wanted(map_), live(meta=OURS, maps={"outer": seen}), Held({"outer": held}, inner), overrides).blocked
    )


def test_frozen_inner_maps() -> None:
    before: State = {1: {1: 1}, 2: {1: 1}}
    after: State = {1: {1: 2}, 2: {1: 2}}
    assert frozen(after, before, inner=(1001,), update=Update.IN_PLACE) == [("frozen", "outer[1]")]
    assert frozen(after, before, inner=(1002,), update=Update.IN_PLACE) == [("frozen", "outer[2]")]
    assert not frozen(after, before, inner=(1001,))
    assert not frozen(before, before, inner=(1001,), update=Update.IN_PLACE)


def test_a_frozen_outer_map() -> None:
    before: State = {1: {}}
    after: State = {1: {}, 2: {}}
    assert frozen(after, before, outer=True, overrides=Overrides()) == [("recreate", "outer")]
    assert not frozen(after, before, outer=True)
    assert not frozen({1: {1: 1}}, before, outer=True, overrides=Overrides())
    assert frozen(after, before, outer=True, adopted="/sys/fs/bpf/theirs") == [("frozen", "outer")]


def test_a_frozen_map_of_an_object() -> None:
    load = an_object(unattached("first"), maps={"outer": OUTER}, digest="old")
    map_ = replace(desired({1: {}, 2: {}}), object="router")
    seen = replace(observed({1: {}}), frozen=True)
    state = live(
        meta=record(objects={"router": "old"}),
        maps={"outer": seen},
        object_maps={"outer": seen},
        programs=pinned("first", maps={"first": (7,)}),
    )
    (refusal,) = plan_of(wanted(load, map_), state, Held({"outer": {1: {}}})).blocked
    assert (refusal.rule, refusal.address) == ("frozen", "outer")
    assert "router" in refusal.remedy


# --- maps that lost their pin ------------------------------------------------------------------------------------


def test_a_live_map_without_its_pin() -> None:
    seen = live(meta=OURS, unpinned={"outer": 12, "gone": 13})
    held = Held(users={12: ("reader (id 9)",)})
    (refusal,) = plan_of(wanted(desired({})), seen, held).blocked
    assert (refusal.rule, refusal.address, refusal.where) == ("recreate", "outer", HERE)
    assert "reader (id 9)" in refusal.message
    assert "bpftool map pin id 12 /sys/fs/bpf/edge/outer" in refusal.remedy
    assert "--allow-recreate" in refusal.remedy
    assert not plan_of(wanted(desired({})), seen, held, Overrides(allow_recreate=True)).blocked


def test_a_map_of_an_object_without_its_pin() -> None:
    load = an_object(unattached("first"), maps={"hidden": HASH})
    seen = live(meta=OURS, unpinned={"hidden": 12})
    assert ids(plan_of(wanted(load), seen).blocked) == [("recreate", "hidden")]


# --- how it is raised --------------------------------------------------------------------------------------------


def test_all_refusals_are_raised_at_once() -> None:
    seen = live(meta=record("other"), maps={"outer": observed({})})
    plan = plan_of(wanted(desired({}, shape=OTHER)), seen)
    with pytest.raises(RefusedError) as error:
        refuse_blocked(plan.blocked)
    assert [(problem.id, problem.address) for problem in error.value.problems] == ids(plan.blocked)
    assert [problem.hint for problem in error.value.problems] == ["--take-over allows it", "--allow-recreate allows it"]
    refuse_blocked(())


# --- maps outside of the pin root --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "overrides", "refused"),
    [
        (record(), Overrides(), True),
        (record(pins=("outer",)), Overrides(), False),
        (record(), Overrides(take_over=True), False),
    ],
    ids=["another owner's", "recorded", "taken over"],
)
def test_a_map_at_the_path_of_an_own_one(meta: Any, overrides: Overrides, refused: bool) -> None:
    map_ = replace(desired({}), place="/sys/fs/bpf/elsewhere/outer")
    plan = plan_of(wanted(map_), live(meta=meta, maps={"outer": observed({})}), None, overrides)
    assert [each for each in ids(plan.blocked) if each[0] == "ownership"] == [("ownership", "outer")] * refused


def test_a_limited_plan_needs_the_adopted_maps_of_the_objects_that_it_loads() -> None:
    theirs = desired({}, name="theirs", adopted="/there")
    load = replace(an_object(unattached("first")), reused={"theirs": "/there"})
    state = wanted(load, theirs)
    chosen = targets.find(["router"], state)
    for maps, expected in (({}, [("adopted-missing", "theirs")]), ({"theirs": observed({})}, [])):
        plan = compare(state, live(meta=OURS, maps=maps), Overrides(), Held(), check_points=True, targets=chosen)
        assert ids(plan.blocked) == expected


@pytest.mark.parametrize("overrides", [Overrides(), Overrides(allow_recreate=True)])
def test_a_resize_that_programs_of_others_would_not_follow(overrides: Overrides) -> None:
    map_ = desired({1: {}}, shape=OUTER.with_capacity(2000))
    held = Held({"outer": {1: {}}}, users={7: ("theirs (id 9)",)})
    plan = plan_of(wanted(map_), live(meta=OURS, maps={"outer": observed({1: {}})}), held, overrides)
    assert ids(plan.blocked) == ([] if overrides.allow_recreate else [("recreate", "outer")])
