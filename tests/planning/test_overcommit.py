"""A plan that needs more kernel memory than there is: warned about, refused, or allowed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from provisioner.model.errors import HostError
from provisioner.model.host import Headroom
from provisioner.planning.footprint import estimate
from provisioner.planning.hazards import Overrides
from provisioner.planning.overcommit import refuse_overcommit, warned
from provisioner.planning.plan import Plan
from tests.planning.build import HASH, State, desired, observed
from tests.planning.states import Held, ids, live, plan_of, record, wanted

MIB = 1 << 20


def plan(megabytes: int, *, freed: bool = False) -> Plan:
    """A plan that creates one inner map of so many times 1 MiB; the live one is of the same size."""
    inner = HASH.with_capacity(megabytes * MIB // 80)
    seen = observed({1: {}}, inner=inner)
    maps = {"outer": seen}
    slot: State = {1: {}} if freed else {1: {}, 2: {}}
    sizes = {1: inner.max_entries + 1} if freed else {}
    map_ = desired(slot, inner=inner, capacity={key: sizes.get(key, inner.max_entries) for key in slot})
    return plan_of(wanted(map_), live(meta=record(), maps=maps), Held({"outer": {1: {}}}, capacity=inner.max_entries))


def headrooms(*left: int) -> list[Headroom]:
    return [Headroom(f"limit {number}", bytes_, f"raise limit {number}") for number, bytes_ in enumerate(left)]


def never() -> Iterable[Headroom]:
    raise AssertionError("nobody needs to know")


def test_a_limit_that_is_exceeded_is_a_hazard() -> None:
    large = plan(8)
    assert ids(warned(large, lambda: headrooms(MIB, 1 << 30, 2 * MIB)).hazards) == [("kernel-memory", "")] * 2
    assert warned(large, lambda: headrooms(1 << 30)) is large


def test_limits_of_a_small_plan_are_not_read() -> None:
    small = plan_of(wanted(desired({1: {}})), live(meta=record()))
    assert warned(small, never) is small
    refuse_overcommit(small, Overrides(), never, lambda _: headrooms(0)[0])


def test_an_apply_is_refused_with_every_limit_that_it_exceeds() -> None:
    asked: list[int] = []

    def memlock(needed: int) -> Headroom:
        asked.append(needed)
        return Headroom("RLIMIT_MEMLOCK", 0, "raise it")

    with pytest.raises(HostError) as caught:
        refuse_overcommit(plan(8), Overrides(), lambda: headrooms(MIB, 1 << 30), memlock)
    problems = caught.value.problems
    assert [problem.id for problem in problems] == ["kernel-memory"] * 2
    assert [problem.hint.partition(";")[0] for problem in problems] == ["raise limit 0", "raise it"]
    assert asked[0] > 8 * MIB // 2


def test_there_is_room_or_it_is_allowed() -> None:
    refuse_overcommit(plan(8), Overrides(), lambda: headrooms(1 << 30), lambda _: None)
    refuse_overcommit(plan(8), Overrides(allow_overcommit=True), never, lambda _: headrooms(0)[0])


def test_exactly_enough_is_enough() -> None:
    needed = estimate(plan(8)).needed
    refuse_overcommit(plan(8), Overrides(), lambda: headrooms(needed), lambda _: None)
    with pytest.raises(HostError):
        refuse_overcommit(plan(8), Overrides(), lambda: headrooms(needed - 1), lambda _: None)


@pytest.mark.parametrize("freed", [True, False])
def test_it_says_what_is_freed_at_the_end(freed: bool) -> None:
    (hazard,) = warned(plan(8, freed=freed), lambda: headrooms(0)).hazards
    assert ("once it is verified" in hazard.message) == freed
