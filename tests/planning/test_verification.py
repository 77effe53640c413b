"""Whether a saved plan is stale, and what still differs after an apply."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.access import Access
from provisioner.model.attachment import IfMissing
from provisioner.model.errors import RefusedError
from provisioner.model.inner_template import Probed
from provisioner.model.moved import Move, Moves, PendingMove, PendingSlot, SlotMove
from provisioner.planning.plan import Plan
from provisioner.planning.verification import refuse_stale, remaining
from tests.planning.build import HERE, State, desired, observed
from tests.planning.states import Held, an_object, live, pinned, plan_of, program, record, unattached, wanted

MOVE = Move("older", "outer", HERE)


def plan(state: State, held: State, *parts: Any, wish: Any = None, **fields: Any) -> Plan:
    """Of one map; everything is recorded, apart from what `fields` say."""
    state_of = wanted(desired(state), *parts, **(wish or {}))
    seen = live(meta=record(pins=("outer",)), maps={"outer": observed(held)}, **fields)
    return plan_of(state_of, seen, Held({"outer": held}))


def refused(current: Plan, expected: str | None) -> list[str]:
    try:
        refuse_stale(current, expected)
    except RefusedError as error:
        return [problem.id for problem in error.problems]
    return []


def test_a_plan_is_stale_once_its_digest_differs() -> None:
    current = plan({1: {1: 1}}, {1: {}})
    saved = current.digest.encode().decode()  # as it comes from a file
    assert refused(current, None) == refused(current, saved) == []
    assert refused(current, plan({1: {1: 2}}, {1: {}}).digest) == ["stale-plan"]


@pytest.mark.parametrize(
    ("probed", "expected"),
    [(None, "stale-plan"), (Probed(True), "stale-plan"), (Probed(False, "key_size differs"), "recreate")],
)
def test_the_result_of_a_probe_is_reported_as_itself(probed: Probed | None, expected: str) -> None:
    """A plan without the probe did not know what refuses it."""
    seen = live(meta=record(pins=("outer",)), maps={"outer": replace(observed({1: {}}), probed=probed)})
    current = plan_of(wanted(desired({1: {}})), seen, Held({"outer": {1: {}}}))
    assert refused(current, "sha256:other") == [expected]
    assert refused(replace(current, blocked=()), "sha256:other") == ["stale-plan"]


def left(current: Plan) -> list[str]:
    assert {problem.id for problem in remaining(current)} <= {"not-converged"}
    return [problem.address for problem in remaining(current)]


def test_nothing_is_left_of_what_is_as_the_spec_has_it() -> None:
    assert left(plan({1: {1: 1}}, {1: {1: 1}})) == []


def test_a_map_that_differs_is_left() -> None:
    assert left(plan({1: {1: 1}}, {1: {1: 2}})) == ["outer"]


def test_an_object_that_has_the_name_of_a_map_does_not_hide_it() -> None:
    load = an_object(unattached("first"), name="outer", digest="1")
    meta = record(pins=("outer", "first"), objects={"outer": "1"})
    seen = live(meta=meta, maps={"outer": observed({1: {}})}, programs=pinned("first"))
    held = Held({"outer": {1: {}}})
    assert left(plan_of(wanted(load, desired({1: {1: 1}})), seen, held)) == ["outer"]
    assert left(plan_of(wanted(load, desired({1: {}})), seen, held)) == []
    newer = an_object(unattached("first"), name="outer", digest="2")
    assert left(plan_of(wanted(newer, desired({1: {}})), seen, held)) == ["outer"]
    assert left(plan_of(wanted(newer, desired({1: {1: 1}})), seen, held)) == ["outer", "outer"]


def test_an_attachment_is_left_unless_it_waits() -> None:
    for missing, points, expected in (
        (IfMissing.DEFER, {}, []),
        (IfMissing.DEFER, {program("a").attachments[0].point: 3}, ["_link_first"]),
    ):
        load = an_object(program("first", missing=missing), digest="1")
        meta = record(pins=("outer", "first"), objects={"router": "1"})
        state, programs = wanted(load, desired({})), pinned("first")
        seen = live(meta=meta, maps={"outer": observed({})}, programs=programs, points=points)
        assert left(plan_of(state, seen)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"moves": Moves(pending=(PendingMove(MOVE, (("older", "outer"),)),))}, "rename older to outer"),
        ({"moves": Moves(root=Move("/a", "/b", HERE))}, "rename the pin root /a to /b"),
        (
            {"moves": Moves(slots=(PendingSlot(SlotMove(MOVE, "outer", b"\1\0\0\0", b"\2\0\0\0"), 9),))},
            "move 1 inner map of outer into other slots",
        ),
        ({"wish": {"pin_mode": 0o640}, "access": {"outer": Access(0o600, None)}}, "set mode and group of 1 pin"),
        ({"wish": {"pin_inner_maps": True}}, "pin 1 inner map of outer"),
    ],
)
def test_steps_of_pins_are_left(fields: dict[str, Any], expected: str) -> None:
    assert left(plan({1: {}}, {1: {}}, **fields)) == [expected]


def test_what_a_killed_apply_left_is_swept_by_the_next_one() -> None:
    assert left(plan({1: {}}, {1: {}}, leftovers=("_new_a",))) == []
