"""prog_arrays of a plan: loaded again with the programs that jump through them, or written in place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec.program_ref import ProgramRef
from provisioner.model.desired import DesiredMap, DesiredObject, Sources
from provisioner.model.entry_table import EntryTable
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedBlock, ObservedMap, ObservedState
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action, EntryAction
from provisioner.planning.plan import Plan
from tests.planning.build import desired, observed
from tests.planning.states import ids, live, pinned, plan_of, record, unattached, wanted

JUMPS = MapShape(MapType.PROG_ARRAY, 4, 4, 8)
REF = ProgramRef("little", ("first", "second"))


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def array(slots: Mapping[int, str], object_: str | None = None, adopted: str | None = None) -> DesiredMap:
    """A prog_array whose slots have programs by their names."""
    keys = np.frombuffer(b"".join(map(u32, slots)), np.uint8).reshape(-1, 4)
    values = np.frombuffer(b"".join(map(REF.parse_one, slots.values())), np.uint8).reshape(-1, 4)
    rows = len(slots)
    table = EntryTable(np.array([0]), np.array([rows]), keys, values)
    whole = replace(
        desired({0: {}}, shape=JUMPS, inner=JUMPS, name="jumps", adopted=adopted),
        outer=None,
        object=object_,
        value=REF,
        entries=table,
        sources=Sources(("spec.yaml",), np.zeros(rows, np.uint16), np.ones(rows, np.uint32)),
    )
    return replace(whole, slots=replace(whole.slots, keys=np.zeros((1, 0), np.uint8)))


class Ids:
    """A live prog_array that holds ids of programs."""

    def __init__(self, slots: Mapping[int, int]) -> None:
        keys = np.frombuffer(b"".join(map(u32, slots)), np.uint8).reshape(-1, 4)
        values = np.frombuffer(b"".join(map(u32, slots.values())), np.uint8).reshape(-1, 4)
        table = EntryTable(np.array([0]), np.array([len(slots)]), keys, values)
        self._block = ObservedBlock(0, 1, np.array([8], np.uint32), table)

    def blocks(self, *_: object) -> list[object]:
        return [self._block]

    def frozen(self, *_: object) -> frozenset[int]:
        return frozenset()

    def users(self, _: object) -> dict[int, tuple[str, ...]]:
        return {}


LIVE = ObservedMap(9, JUMPS, JUMPS, replace(observed({0: {}}).slots, keys=np.zeros((1, 0), np.uint8)))


def plan(array_: DesiredMap, held: Mapping[int, int], seen: ObservedState, *objects: DesiredObject) -> Plan:
    return plan_of(wanted(array_, *objects), seen, Ids(held))  # type: ignore[arg-type]


ROUTER = DesiredObject(
    "router", "router.o", "new", (unattached("first"), unattached("second")), {"jumps": JUMPS}, {}, array({}).where
)


def loaded(**fields: object) -> ObservedState:
    """The router as an apply left it: `first` has the id 51, `second` 52."""
    return live(
        meta=record(objects={"router": "new"}),
        programs=pinned("first", "second"),
        maps={"jumps": LIVE},
        object_maps={"jumps": LIVE},
        **fields,
    )


def test_slots_that_hold_the_live_programs_stay() -> None:
    compared = plan(array({0: "first", 3: "first"}, "router"), {0: 51, 3: 51}, loaded(), ROUTER)
    assert compared.maps["jumps"].action is Action.UNCHANGED
    assert compared.objects["router"].action is Action.UNCHANGED


def test_a_slot_that_differs_loads_the_object_again_with_a_new_array() -> None:
    compared = plan(array({0: "second"}, "router"), {0: 51}, loaded(), ROUTER)
    change, load = compared.maps["jumps"], compared.objects["router"]
    assert (change.action, load.action) == (Action.REPLACE, Action.UPDATE)
    assert "jumps" in load.reason
    assert load.name in change.reason


def test_an_object_that_is_loaded_again_has_a_new_array_although_no_slot_differs() -> None:
    compared = plan(array({0: "first"}, "router"), {0: 51}, loaded(), replace(ROUTER, digest="other"))
    assert compared.maps["jumps"].action is Action.REPLACE


def test_an_empty_array_is_new_with_each_load() -> None:
    """Nothing differs, and programs of two versions must not share it all the same."""
    compared = plan(array({}, "router"), {}, loaded(), replace(ROUTER, digest="other"))
    assert compared.maps["jumps"].action is Action.REPLACE


def test_a_first_load_creates_the_array() -> None:
    compared = plan(array({0: "first"}, "router"), {}, live(meta=record()), ROUTER)
    assert (compared.maps["jumps"].action, compared.objects["router"].action) == (Action.CREATE, Action.CREATE)


@pytest.mark.parametrize(
    ("held", "actions"),
    [({0: 51}, []), ({0: 52}, [EntryAction.UPDATE]), ({}, [EntryAction.INSERT]), ({0: 51, 5: 7}, [EntryAction.DELETE])],
)
def test_an_adopted_array_is_written_in_place(held: Mapping[int, int], actions: list[EntryAction]) -> None:
    compared = plan(array({0: "first"}, adopted="/there"), held, loaded(), ROUTER)
    assert compared.maps["jumps"].action is (Action.UPDATE if actions else Action.UNCHANGED)
    assert compared.maps["jumps"].entries.action.tolist() == actions
    assert compared.objects["router"].action is Action.UNCHANGED


def test_an_adopted_array_follows_programs_that_are_loaded_again() -> None:
    """The old id is not that of the new program, which has none yet."""
    other = replace(ROUTER, digest="other", maps={})
    compared = plan(array({0: "first"}, adopted="/there"), {0: 51}, loaded(), other)
    assert compared.objects["router"].action is Action.UPDATE
    assert compared.maps["jumps"].entries.action.tolist() == [EntryAction.UPDATE]


@pytest.mark.parametrize(
    ("occupied", "listed", "presets", "lost"),
    [
        ({1, 2}, {1: "first"}, {2}, ""),
        ({1, 2, 4}, {1: "first"}, {2}, " 4"),
        (set(range(8)), {}, set(), " 0, 1, 2, 3, 4, ..."),
        (set(range(5)), {}, set(), " 0, 1, 2, 3, 4"),
    ],
)
def test_slots_that_another_loader_filled_are_dropped(
    occupied: set[int], listed: Mapping[int, str], presets: set[int], lost: str
) -> None:
    newer = replace(ROUTER, digest="other", presets={"jumps": frozenset(presets)})
    seen = loaded(jump_slots={"jumps": frozenset(occupied)})
    hazards = [
        each for each in plan(array(listed, "router"), {}, seen, newer).hazards if each.id == "jump-slots-dropped"
    ]
    assert ids(hazards) == ([("jump-slots-dropped", "jumps")] if lost else [])
    assert all(f"slots{lost}:" in hazard.message for hazard in hazards)


def test_an_array_that_the_spec_does_not_declare_loses_all_slots() -> None:
    newer = replace(ROUTER, digest="other")
    seen = replace(loaded(jump_slots={"jumps": frozenset({3})}), maps={})
    compared = plan_of(wanted(newer), seen)
    assert ("jump-slots-dropped", "jumps") in ids(compared.hazards)


def test_an_object_that_stays_drops_no_slot() -> None:
    seen = loaded(jump_slots={"jumps": frozenset({3})})
    assert not ids(plan_of(wanted(ROUTER), replace(seen, maps={})).hazards)
