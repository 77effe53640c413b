"""Which moves are not done, by pins, record and slots; and the record under the new names."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from provisioner.model.desired import AttachedMap
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, Moves, SlotMove, find, renamed
from provisioner.model.record import Meta
from provisioner.model.uapi import MapType
from provisioner.observed import moved_slots
from provisioner.observed.sources import SeenMap
from tests.planning import build, states

HERE = Location("edge.yaml", 1, 1)
TENANTS = build.desired({})
NAME = TENANTS.name


def moves(*olds: str, pins: tuple[str, ...] = (), folders: tuple[str, ...] = (), meta: Meta | None = None) -> Moves:
    wanted = states.wanted(TENANTS, moved=tuple(Move(old, NAME, HERE) for old in olds))
    return find(wanted, pins, folders, meta)


def test_only_what_is_live_under_the_old_name_is_renamed() -> None:
    pair, inner = ("old", NAME), ("_inner/old", f"_inner/{NAME}")
    for pins, folders, renames in (
        (("old", "other"), ("old",), (pair, inner)),
        (("old",), (), (pair,)),
        ((NAME,), ("old",), (inner,)),  # killed after the first rename
    ):
        (pending,) = moves("old", pins=pins, folders=folders).pending
        assert pending.renames == renames
    assert moves("old", pins=(NAME,)) == moves("old") == Moves()


def test_one_of_several_old_names_is_live_or_the_plan_is_refused() -> None:
    (pending,) = moves("older", "old", pins=("old",)).pending
    assert pending.move.old == "old"
    assert [move.old for move in moves("older", "old", pins=("older", "old")).conflicts] == ["old"]
    assert [move.old for move in moves("old", pins=("old", NAME)).conflicts] == ["old"]


def test_a_pin_that_the_record_does_not_have_is_not_ours() -> None:
    for pins, is_ours in ((("old",), True), ((NAME,), True), ((), False)):
        (pending,) = moves("old", pins=("old",), meta=states.record(pins=pins)).pending
        assert pending.is_ours is is_ours


def test_an_attached_map_of_an_object_is_renamed_with_its_attachment() -> None:
    load = replace(states.an_object(maps={"calm": build.HASH}), attached_maps=(AttachedMap("calm", (), HERE),))
    wanted = states.wanted(load, moved=(Move("steady", "calm", HERE),))
    meta = states.record(pins=("steady",), attachments={"_link_steady": {"kind": "made"}})
    (pending,) = find(wanted, ("steady", "_link_steady", "counts"), (), meta).pending
    assert pending.renames == (("steady", "calm"), ("_link_steady", "_link_calm"))
    assert pending.is_ours
    new = renamed(meta, wanted.moved, wanted)
    assert (new.pins, dict(new.attachments)) == (("calm",), {"_link_calm": {"kind": "made"}})
    both = states.wanted(load, build.desired({}, name="calm"), moved=wanted.moved)
    assert find(both, ("steady", "_link_steady"), (), meta).pending[0].renames == pending.renames


def test_the_record_gets_the_new_names_once() -> None:
    wanted, move = states.wanted(TENANTS), Move("old", NAME, HERE)
    old = states.record(pins=("a", "old"), maps={"old": 7, "a": 1}, protected=("old",))
    new = renamed(old, [move], wanted)
    assert (set(new.pins), dict(new.maps), new.protected) == ({"a", NAME}, {NAME: 7, "a": 1}, (NAME,))
    assert renamed(new, [move], wanted) == new
    (pending,) = moves("old", pins=(NAME,), meta=old).pending
    assert pending.renames == ()


def test_slots_have_the_new_keys_until_both_hold_different_maps() -> None:
    move = SlotMove(Move("m[2]", "m[9]", HERE), "m", b"\x02", b"\x09")
    shape = MapShape(MapType.HASH_OF_MAPS, 1, 4, 8)
    for slots, expected, pending, conflicts in (
        ({1: 11, 2: 22}, {1: 11, 9: 22}, [22], 0),
        ({1: 11, 2: 22, 9: 22}, {1: 11, 9: 22}, [22], 0),
        ({1: 11, 2: 22, 9: 99}, {1: 11, 2: 22, 9: 99}, [], 1),
        ({1: 11, 9: 22}, {1: 11, 9: 22}, [], 0),
    ):
        keys = np.array([[key] for key in slots], np.uint8)
        seen, todo, both = moved_slots.presented(
            SeenMap(5, shape, keys, np.array([*slots.values()], np.uint32)), [move]
        )
        assert dict(zip(seen.keys[:, 0].tolist(), seen.inner_ids.tolist(), strict=True)) == expected
        assert ([slot.id for slot in todo], len(both)) == (pending, conflicts)
