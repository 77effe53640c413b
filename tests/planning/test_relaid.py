"""Entries in another layout of the same size: when it is seen, how many there are, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from provisioner.codec import btf_of
from provisioner.codec.layouts import layout_of
from provisioner.codec.owned import owned
from provisioner.model.desired import DesiredMap, ObjectTypes
from provisioner.model.map_shape import MapShape
from provisioner.model.record import Meta, RecordedTypes
from provisioner.model.spec import Contents, ExtraInnerMaps
from provisioner.model.type_layout import EntryLayout, Relaid
from provisioner.model.types import Type
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Reinterpreted
from provisioner.planning.diff_objects import diff_object
from provisioner.planning.hazards import Severity
from provisioner.planning.relaid import hazards, of_object, recorded_layout, recorded_types, with_relaid
from tests.codec.support import built, struct
from tests.planning import states
from tests.planning.build import HASH, OUTER, observed
from tests.planning.migrations import Contained, Kind, Live, entries, kind, le, migration, plan_of, recorded_as, wish

ONE, TWO = le(1), le(2)
PAIR, TURNED = struct(a="u16", b="u16"), struct(b="u16", a="u16")
OLD = recorded_as("u32", PAIR)
HELD = {ONE: entries({1: 1, 2: 2, 3: 3})}


def declared(state: Contained | None = None, value: Kind = TURNED, *, migrates: bool = False, **how: Any) -> DesiredMap:
    map_ = wish({ONE: {}} if state is None else state, value=value, **how)
    return map_ if migrates else replace(map_, migration=None)


def relaid(map_: DesiredMap, live_map: Live | None = None, meta: Meta | None = OLD) -> Relaid | None:
    held = live_map or Live(HELD)
    seen = states.live(meta=meta, maps={"outer": held.map})
    return with_relaid(states.wanted(map_), seen).maps["outer"].relaid


MOVES = ("value: b from byte 2 to 0", "value: a from byte 0 to 2")


@pytest.mark.parametrize(
    ("value", "words", "moves"),
    [
        (PAIR, None, None),
        (TURNED, MOVES, True),
        (struct(a="u16", c="u16"), ("value: b is now c",), True),
        (struct(a="u16", b="s16"), ("value: b: u16 -> s16",), True),
        (struct(a="u16", b="be16"), ("value: b: u16 -> be16",), True),
        (struct(a="u32"), ("value: a: u16 -> u32", "value: without b"), True),
    ],
)
def test_members_that_differ(value: Kind, words: tuple[str, ...] | None, moves: bool | None) -> None:
    found = relaid(declared(value=value))
    if words is None:
        assert found is None
        return
    assert found is not None
    assert (found.words, found.moves, found.moves_entries) == (words, moves, moves)
    assert found.before == recorded_layout(OLD.types["outer"], "little")


def test_members_of_long_values_differ_too() -> None:
    long, turned = struct(a="u16[200]", b="u16"), struct(b="u16", a="u16[200]")
    found = relaid(declared(value=turned), Live(HELD, value=402), recorded_as("u32", long))
    assert found is not None
    assert found.words == ("value: b from byte 400 to 0", "value: a from byte 0 to 2")


def test_a_renamed_member_keeps_its_bytes() -> None:
    value = struct(a="u16", c="u16")
    map_ = wish({ONE: {}}, value=value, policy=migration(rename={"b": "c"}))
    assert relaid(map_) is None


def test_a_type_with_another_name_is_no_other_layout() -> None:
    assert relaid(declared(key="be32", value="bytes[4]"), meta=recorded_as("be32", "bytes[4]")) is None
    other = relaid(declared(value="ipv4"), meta=recorded_as("u32", "mac"))
    assert other is None, "its size is another one"


def test_keys_and_outer_keys_count_too() -> None:
    outer = recorded_as("u32", "u32", PAIR)
    found = relaid(declared(value="u32", outer=TURNED), meta=outer)
    assert found is not None
    assert found.words == tuple(word.replace("value", "outer key") for word in MOVES)
    assert (found.moves, found.moves_entries) == (True, False)
    found = relaid(declared(key=TURNED, value="u32"), meta=recorded_as(PAIR, "u32"))
    assert found is not None
    assert found.words == tuple(word.replace("value", "key") for word in MOVES)
    assert found.moves_entries


PLAIN = Live({"": entries({1: 1})}, outer=0)


@pytest.mark.parametrize(
    ("map_", "live_map", "meta"),
    [
        (declared(), None, None),
        (declared(), None, states.record()),
        (declared(), None, recorded_as("u32", PAIR, number=8)),  # of the map that was there before
        (declared(adopted="/sys/fs/bpf/theirs"), None, OLD),
        (declared(contents=Contents.EXACT), None, OLD),  # the spec writes all of it
        (declared(), Live(HELD, value=8), OLD),  # of another size, which is a matter of shape
        (declared(), Live({}), OLD),  # it holds nothing
        (declared(), Live({le(1, 8): {}}, outer=8), OLD),
        (declared(), PLAIN, OLD),
        (declared(value=struct(a="u16", b="u16", c="u32")), None, OLD),
        (replace(declared(), object="router", shape=MapShape(MapType.PROG_ARRAY, 4, 4, 1000)), None, OLD),
        (declared(), None, replace(OLD, types={"outer": RecordedTypes("u32", "u32", "")})),  # it cannot be written
        (declared(), None, replace(OLD, types={"outer": RecordedTypes("u32", "u32", "{what: is this}")})),
        (declared(), None, replace(OLD, types={"outer": RecordedTypes("u32", "u32", "gone")})),
    ],
)
def test_maps_of_which_no_entry_depends_on_it(map_: DesiredMap, live_map: Live | None, meta: Meta | None) -> None:
    assert relaid(map_, live_map, meta) is None


@pytest.mark.parametrize(
    "how",
    [
        {"contents": Contents.EXACT, "owned": ((1, 2),)},
        {"contents": Contents.EXACT, "state": {}, "extra": ExtraInnerMaps.KEEP},
        {"contents": Contents.IGNORE},
    ],
)
def test_maps_that_hold_entries_of_others(how: Any) -> None:
    assert relaid(declared(**how)) is not None


def test_a_plain_map_is_relaid_too() -> None:
    assert relaid(declared({"": {}}, outer=None), PLAIN, recorded_as("u32", PAIR, None)) is not None


def test_the_maps_of_objects_are_marked_as_well() -> None:
    live_map = Live(HELD).map
    seen = states.live(meta=OLD, maps={"outer": live_map, "else": live_map}, object_maps={"outer": live_map})
    marked = with_relaid(states.wanted(declared()), seen)
    assert marked.object_maps["outer"].relaid == marked.maps["outer"].relaid is not None
    assert marked.maps["else"].relaid is None
    assert with_relaid(states.wanted(declared(value=PAIR)), seen) is seen


def test_the_types_of_a_map_that_is_newer_than_the_record() -> None:
    map_ = declared()
    assert recorded_types(map_, 7, OLD) == OLD.types["outer"]
    assert recorded_types(map_, 8, OLD) is None
    assert recorded_types(map_, 8, replace(OLD, maps={})) == OLD.types["outer"]  # a record of an older version
    assert recorded_types(map_, 7, None) is None


# --- what becomes of the entries ---------------------------------------------------------------------------------


def left(map_: DesiredMap, held: Live | None = None, meta: Meta = OLD) -> Reinterpreted | None:
    return plan_of(map_, held or Live(HELD), meta).maps["outer"].reinterpreted


@pytest.mark.parametrize(
    ("state", "how", "count"),
    [
        ({}, {}, 3),
        (entries({1: 9}), {}, 2),  # the spec writes it
        (entries({1: 9}), {"contents": Contents.EXACT, "owned": ((1, 2),)}, 1),
        (entries({1: 9}), {"contents": Contents.PRESENT, "owned": ((1, 2),)}, 2),
        (entries({1: 9}), {"contents": Contents.IGNORE}, 2),
    ],
)
def test_entries_that_are_left_as_they_are_are_counted(state: Any, how: Any, count: int) -> None:
    assert left(declared({ONE: state}, **how)) == Reinterpreted(MOVES, count)


def test_entries_of_slots_that_policy_keeps() -> None:
    held = Live({ONE: entries({1: 1}), TWO: entries({2: 2, 3: 3})})
    for extra, count in ((ExtraInnerMaps.KEEP, 3), (ExtraInnerMaps.DELETE, 1)):
        assert left(declared(extra=extra), held) == Reinterpreted(MOVES, count)
    assert left(declared(extra=ExtraInnerMaps.KEEP, contents=Contents.EXACT), held) == Reinterpreted(MOVES, 2)


def of_member() -> Type:
    return owned(built(TURNED), [("a",)], np.zeros(4, np.uint8))


@pytest.mark.parametrize(
    ("state", "contents", "inner", "count"),
    [
        (entries({1: 9}), Contents.PRESENT, MapType.HASH, 3),  # other members of it, too
        (entries({1: 9}), Contents.EXACT, MapType.HASH, 1),  # the others go
        (entries({1: 9}), Contents.EXACT, MapType.ARRAY, 3),  # no element goes
    ],
)
def test_entries_of_which_some_members_are_ours(state: Any, contents: Contents, inner: MapType, count: int) -> None:
    found = left(declared({ONE: state}, value=of_member(), contents=contents, inner=inner), Live(HELD, kind=inner))
    assert found is not None
    assert found.entries == count


def test_entries_that_cannot_be_counted() -> None:
    assert left(declared(), Live(HELD, is_readable=False)) == Reinterpreted(MOVES, None)
    sockets = MapType.SOCKHASH
    assert left(declared(inner=sockets), Live({ONE: {}}, kind=sockets)) == Reinterpreted(MOVES, None)


def test_a_map_whose_slots_are_all_to_be_refused() -> None:
    plan = plan_of(declared({}, extra=ExtraInnerMaps.FAIL), Live(HELD), OLD)
    assert plan.maps["outer"].reinterpreted == Reinterpreted(MOVES, 0)
    assert [refusal.rule for refusal in plan.blocked] == ["extra_inner_maps"]


def test_a_map_that_is_recreated_or_migrated_leaves_none() -> None:
    assert left(declared(migrates=True)) is None
    plan = plan_of(declared(migrates=True), Live(HELD), OLD)
    assert plan.maps["outer"].reason == ", ".join(MOVES)
    assert left(declared(room=9, inner=MapType.ARRAY), Live(HELD, kind=MapType.ARRAY, room=8)) is None


def test_the_hazard_names_the_members_and_the_remedy() -> None:
    (hazard,) = plan_of(declared(), Live(HELD), OLD).hazards
    assert (hazard.id, hazard.severity, hazard.address) == ("entries-reinterpreted", Severity.DANGER, "outer")
    assert hazard.message == (
        "members changed and the size did not (value: b from byte 2 to 0, value: a from byte 0 to 2): 3 entries keep "
        "the bytes of the old layout; `migrate` converts them"
    )


@pytest.mark.parametrize(
    ("each", "said"),
    [
        (Reinterpreted(("w",), 0), None),
        (Reinterpreted(("w",), 1), "1 entry keeps the bytes of the old layout; `migrate` converts them"),
        (Reinterpreted(("w",), 2, False), "2 entries keep the bytes of the old layout"),
        (Reinterpreted(("w",), None), "its entries keep the bytes of the old layout; `migrate` converts them"),
    ],
)
def test_what_is_said_of_entries(each: Reinterpreted, said: str | None) -> None:
    change = replace(plan_of(declared(), Live(HELD), OLD).maps["outer"], reinterpreted=each)
    expected = [] if said is None else [f"members changed and the size did not (w): {said}"]
    assert [hazard.message for hazard in hazards([change], [])] == expected


# --- the maps of objects -----------------------------------------------------------------------------------------


class Carried(Live):
    """The live map `carried` of an object, with the types that its BTF has."""

    def object_layout(self, name: str) -> EntryLayout | None:
        assert name == "carried"
        return self.known

    def object_entries(self, name: str) -> int | None:
        assert name == "carried"
        return 5


def upgraded(
    after: Kind = TURNED, before: EntryLayout | None = None, *, key: Kind = "u32", shape: MapShape = HASH, **how: Any
) -> tuple[tuple[str, Reinterpreted], ...]:
    """What an upgrade says of a map whose values become `after`."""
    btf, *numbers = btf_of(kind(key), kind(after), "little")
    ids = {} if how.get("is_unknown") else {"carried": (numbers[0], numbers[1])}
    load = replace(
        states.an_object(states.unattached("first"), maps={"carried": shape}, digest="new"),
        types=None if how.get("is_bare") else ObjectTypes(btf, ids),
    )
    digest = "new" if how.get("is_loaded") else "old"
    live_map = replace(observed({}, shape=shape), relaid=how.get("relaid"))
    seen = states.live(
        meta=states.record(objects={"router": digest}),
        programs=states.pinned("first"),
        object_maps={"carried": live_map},
    )
    held = Carried(HELD, layout=before)
    held.known = before
    parts = [replace(each, name="carried", object="router") for each in how.get("declared", ())]
    state = states.wanted(load, *parts)
    change = diff_object(state.objects["router"], state, seen)
    return of_object(change, state, seen, held).reinterpreted


SMALL = MapShape(MapType.HASH, 4, 4, 8)
BEFORE = EntryLayout(layout_of(built("u32")), layout_of(built(PAIR)))


def test_an_upgrade_that_moves_members() -> None:
    assert upgraded(TURNED, BEFORE) == (("carried", Reinterpreted(MOVES, 5)),)
    assert upgraded(PAIR, BEFORE) == ()
    turned_key = EntryLayout(layout_of(built(PAIR)), layout_of(built(PAIR)))
    words = tuple(word.replace("value", "key") for word in MOVES)
    assert upgraded(PAIR, turned_key, key=TURNED) == (("carried", Reinterpreted(words, 5)),)


@pytest.mark.parametrize(
    "how",
    [
        {"before": None},  # the live map has no BTF
        {"is_bare": True},  # nor has the file
        {"is_unknown": True},  # or not of this map
        {"is_loaded": True},  # nothing is loaded again
        {"shape": OUTER},
        {"relaid": Relaid(BEFORE, ("w",), True, True)},  # the map itself says so
        {"declared": (declared({"": {}}, outer=None, contents=Contents.EXACT),), "shape": SMALL},  # it writes all of it
    ],
)
def test_an_upgrade_of_which_nothing_is_said(how: Any) -> None:
    assert upgraded(**{"before": BEFORE, **how}) == ()


def test_a_declared_map_that_holds_entries_of_others() -> None:
    part = declared({"": {}}, outer=None, contents=Contents.PRESENT)
    assert upgraded(TURNED, BEFORE, declared=(part,), shape=SMALL) == (("carried", Reinterpreted(MOVES, 5)),)


def test_the_maps_of_an_upgrade_are_hazards_too() -> None:
    load = states.an_object(states.unattached("first"))
    state = states.wanted(load)
    change = diff_object(load, state, states.live())
    change = replace(change, reinterpreted=(("carried", Reinterpreted(("w",), 2)),))
    assert [hazard.address for hazard in hazards([], [change])] == ["carried"]
