"""When an object is loaded again and what it carries over; when a link is made, switched or removed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.attachment import NOT_BPF, IfMissing
from provisioner.model.desired import DesiredObject, DesiredState
from provisioner.model.errors import HostError
from provisioner.model.observed import ObservedLink, ObservedState
from provisioner.model.uapi import LinkType, MapType, XdpMode
from provisioner.planning.changes import Action, LinkChange, ObjectChange
from provisioner.planning.diff_objects import attachments_deferred, diff_links, diff_object
from tests.planning.build import HASH, OUTER, desired, observed
from tests.planning.states import ETH0, an_object, attached, live, pinned, program, record, unattached, wanted

MAPS = {"hidden": HASH}


def loaded(**fields: Any) -> ObservedState:
    """The object as an apply left it."""
    hidden = observed({}, shape=HASH)
    fixed: dict[str, Any] = {
        "meta": record(objects={"router": "new"}, used_maps={"first": (hidden.id,)}),
        "object_maps": {"hidden": hidden},
        "programs": pinned("first", maps={"first": (hidden.id,)}),
        "links": attached("first"),
        "points": {ETH0: 3},
    }
    return live(**{**fixed, **fields})


OBJECT = an_object(program("first"), maps=MAPS)


def diff(seen: ObservedState, object_: DesiredObject = OBJECT, state: DesiredState | None = None) -> ObjectChange:
    return diff_object(object_, state or wanted(object_), seen)


def test_a_loaded_object_stays() -> None:
    change = diff(loaded())
    assert (change.action, change.carried, change.fresh, change.lost) == (Action.UNCHANGED, ("hidden",), (), ())


def test_an_object_of_which_nothing_is_live_is_created() -> None:
    change = diff(live(meta=record(objects={"router": "new"})))
    assert (change.action, change.carried, change.fresh) == (Action.CREATE, (), ("hidden",))


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (loaded(meta=None), "not recorded"),
        (loaded(meta=record()), "not recorded"),
        (loaded(meta=record(objects={"router": ""})), "did not finish"),
        (loaded(meta=record(objects={"router": "old"})), "file changed"),
        (loaded(programs={}), "pin first is missing"),
        (loaded(object_maps={}), "map hidden is missing"),
        (loaded(meta=record(objects={"router": "new"}, used_maps={"first": (99,)})), "first uses another map"),
    ],
)
def test_why_an_object_is_loaded_again(seen: ObservedState, word: str) -> None:
    change = diff(seen)
    assert change.action is Action.UPDATE
    assert word in change.reason


def test_a_map_of_another_shape_is_lost() -> None:
    change = diff(loaded(object_maps={"hidden": observed({}, shape=HASH.with_capacity(9))}))
    assert (change.action, change.carried, change.fresh) == (Action.UPDATE, (), ("hidden",))
    assert [name for name, _ in change.lost] == ["hidden"]


def test_a_declared_map_is_compared_as_the_spec_declares_it() -> None:
    load = an_object(unattached("first"), maps={"outer": OUTER})
    map_ = replace(desired({1: {}}), object="router")
    for inner, carried in ((HASH, ("outer",)), (replace(HASH, value_size=16), ())):
        seen = loaded(object_maps={"outer": observed({1: {}}, inner=inner)})
        assert diff(seen, load, wanted(load, map_)).carried == carried


def test_prog_arrays_belong_to_one_generation() -> None:
    jumps = replace(HASH, map_type=MapType.PROG_ARRAY, value_size=4)
    load = an_object(unattached("first"), maps={"jumps": jumps})
    change = diff(loaded(object_maps={"jumps": observed({}, shape=jumps)}), load)
    assert (change.carried, change.fresh, change.lost) == ((), ("jumps",), ())


# --- links -------------------------------------------------------------------------------------------------------


def links(seen: ObservedState, object_: DesiredObject = OBJECT, *, known: bool = True) -> tuple[LinkChange, ...]:
    return diff_links(seen, {object_.name: diff(seen, object_)}, known)


def action(seen: ObservedState, object_: DesiredObject = OBJECT) -> Action:
    (change,) = links(seen, object_)
    assert change.pin == "_link_first"
    return change.action


def link(**fields: Any) -> dict[str, ObservedLink]:
    return {"_link_first": replace(attached("first")["_link_first"], **fields)}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (loaded(), Action.UNCHANGED),
        (loaded(links={}), Action.CREATE),
        (loaded(links=link(target=0)), Action.REPLACE),
        (loaded(links=link(target=4)), Action.REPLACE),
        (loaded(links=link(type=LinkType.TCX)), Action.REPLACE),
        (loaded(links=link(program_id=52)), Action.UPDATE),
        (loaded(meta=record(objects={"router": "old"})), Action.UPDATE),
    ],
)
def test_what_becomes_of_a_link(seen: ObservedState, expected: Action) -> None:
    assert action(seen) == expected


@pytest.mark.parametrize(("recorded", "expected"), [("generic", Action.UNCHANGED), ("native", Action.REPLACE)])
def test_a_mode_that_differs_from_the_recorded_one(recorded: str, expected: Action) -> None:
    settings = {"_link_first": {"kind": "xdp", "interface": "eth0", "mode": recorded}}
    used = record(objects={"router": "new"}, attachments=settings)
    assert action(loaded(meta=used), an_object(program("first", mode=XdpMode.GENERIC), maps=MAPS)) == expected


def test_a_link_that_the_spec_does_not_name_is_removed() -> None:
    seen = loaded(links={**attached("first"), "_link_z": ObservedLink(80, 51, 9), "_link_b": ObservedLink(81, 51, 9)})
    changes = [(change.pin, change.action, change.owner) for change in links(seen)][1:]
    assert changes == [("_link_b", Action.DELETE, None), ("_link_z", Action.DELETE, None)]


def test_a_missing_interface_is_an_error_or_deferred() -> None:
    with pytest.raises(HostError) as error:
        links(loaded(points={}))
    assert [(problem.id, problem.address) for problem in error.value.problems] == [
        ("attach-target-missing", "router.first")
    ]
    deferred = an_object(program("first", missing=IfMissing.DEFER), maps=MAPS)
    settings = {"_link_first": {"kind": "xdp", "interface": "eth0", "mode": "auto"}}
    used = record(objects={"router": "new"}, attachments=settings)
    assert action(loaded(points={}, meta=used), deferred) is Action.KEEP, "an interface that was renamed, say"
    elsewhere = {change.pin: change.action for change in links(loaded(points={}), deferred)}
    assert elsewhere.pop("_link_first") is Action.DELETE, "no record: it is attached to another interface"
    assert list(elsewhere.values()) == [Action.KEEP]


def test_a_host_that_is_not_asked_has_every_interface() -> None:
    (change,) = links(live(), known=False)
    assert change.action is Action.CREATE


def test_programs_that_are_not_attached_have_no_link() -> None:
    assert links(loaded(links={}), an_object(unattached("first"), maps=MAPS)) == ()


def test_all_attachments_can_be_deferred() -> None:
    state = attachments_deferred(wanted(an_object(program("first"), unattached("second"))))
    first, second = state.objects["router"].programs
    assert [each.if_missing for each in first.attachments] == [IfMissing.IGNORE]
    assert second.attachments == ()


# --- hooks that other owners have --------------------------------------------------------------------------------


@pytest.mark.parametrize("occupant", [99, NOT_BPF])
def test_a_hook_of_another_owner_is_an_error_or_left_alone(occupant: int) -> None:
    seen = loaded(links={}, occupants={"xdp on eth0, auto": occupant})
    with pytest.raises(HostError) as error:
        links(seen)
    assert [(problem.id, problem.address) for problem in error.value.problems] == [("hook-occupied", "router.first")]
    ignored = an_object(program("first", missing=IfMissing.IGNORE), maps=MAPS)
    (change,) = links(seen, ignored)
    assert change.action is Action.KEEP
    assert ("99" in change.reason) == (occupant == 99)


def test_settings_before_load_that_differ_from_the_recorded_ones() -> None:
    used = record(objects={"router": "new"}, settings={"router": {"map hidden max_entries": "9"}})
    change = diff(loaded(meta=used))
    assert change.action is Action.UPDATE
    assert "hidden" in change.reason
