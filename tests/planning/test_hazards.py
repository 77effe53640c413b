"""What a plan says to its reader: ids, severities and addresses, the worst first."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.attachment import IfMissing
from provisioner.model.inner_template import Probed
from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Contents, OnReplace, Update
from provisioner.model.special_fields import Special
from provisioner.model.uapi import MapType
from provisioner.planning.hazards import Hazard, Overrides, Severity, listed, users_of
from tests.planning.build import HASH, OUTER, State, desired, observed
from tests.planning.states import Held, an_object, ids, live, pinned, plan_of, program, record, unattached, wanted

ALL = Overrides(approve_deletes=True, allow_recreate=True)
OTHER = MapShape(MapType.HASH_OF_MAPS, 8, 4, 1000)


def hazards(state: State, held: State, *, users: Any = None, **how: Any) -> tuple[Hazard, ...]:
    seen = live(meta=record(), maps={"outer": observed(held)}, programs=how.pop("programs", {}))
    return plan_of(wanted(desired(state, **how)), seen, Held({"outer": held}, users=users), ALL).hazards


def test_a_recreated_map_names_its_users() -> None:
    (hazard,) = hazards(
        {}, {}, shape=OTHER, users={7: ("theirs (id 9)",)}, programs=pinned("ours", maps={"ours": (7,)})
    )
    assert (hazard.id, hazard.severity, hazard.address) == ("map-recreated", Severity.DANGER, "outer")
    assert hazard.message.endswith("ours, theirs (id 9)")
    (alone,) = hazards({}, {}, shape=OTHER)
    assert "programs" not in alone.message


def test_users_are_asked_for_only_where_they_matter() -> None:
    seen = live(meta=record(), maps={"outer": observed({})})
    for shape, expected in ((OUTER, False), (OTHER, True)):
        held = Held()
        plan_of(wanted(desired({1: {}}, shape=shape)), seen, held)
        assert held.asked_users == expected


def test_adopted_maps_are_never_recreated() -> None:
    assert not hazards({}, {}, shape=OTHER, adopted="/sys/fs/bpf/theirs")


def test_a_map_that_an_upgrade_does_not_carry_over() -> None:
    load = an_object(unattached("first"), maps={"hidden": HASH})
    old = observed({}, shape=HASH.with_capacity(9))
    seen = live(
        meta=record(objects={"router": "old"}),
        object_maps={"hidden": old},
        programs=pinned("first", maps={"first": (old.id,)}),
    )
    held = Held(users={old.id: ("first", "theirs (id 9)")})
    (hazard,) = plan_of(wanted(load), seen, held).hazards
    assert (hazard.id, hazard.severity, hazard.address) == ("map-not-carried-over", Severity.DANGER, "hidden")
    assert hazard.message.endswith(": theirs (id 9)"), "the object's own programs are upgraded with it"


def test_programs_of_other_objects_that_are_upgraded_too_are_no_users() -> None:
    loads = [an_object(unattached(name), name=f"of_{name}", maps={"common": HASH}) for name in ("first", "second")]
    old = observed({}, shape=HASH.with_capacity(9))
    uses = pinned("first", "second", "third", maps=dict.fromkeys(("first", "second", "third"), (old.id,)))
    meta = record(objects={"of_first": "old", "of_second": "old"})
    seen = live(meta=meta, object_maps={"common": old}, programs=uses)
    plan = plan_of(wanted(*loads), seen, Held(users={old.id: tuple(uses)}), Overrides())
    texts = [hazard.message for hazard in plan.hazards if hazard.id == "map-not-carried-over"]
    texts += [refusal.message for refusal in plan.blocked]
    assert len(texts) == 2, "one hazard, one refusal"
    assert all(text.endswith(": third") for text in texts)


@pytest.mark.parametrize(("on_replace", "word"), [(OnReplace.COPY, "copied"), (OnReplace.DROP, "dropped")])
def test_replaced_entries_of_others(on_replace: OnReplace, word: str) -> None:
    how: dict[str, Any] = {"contents": Contents.PRESENT, "update": Update.REPLACE, "on_replace": on_replace}
    (hazard,) = hazards({1: {1: 1}, 2: {1: 2}}, {1: {1: 1}, 2: {1: 1}}, **how)
    assert (hazard.id, hazard.severity, hazard.address) == ("foreign-entries-replaced", Severity.DANGER, "outer[2]")
    assert word in hazard.message


@pytest.mark.parametrize(("word", "is_reported"), [("bpf_timer", True), ("bpf_spin_lock", False)])
def test_timers_in_new_inner_maps(word: str, is_reported: bool) -> None:
    inner = MapShape(MapType.HASH, 4, 8, 64, specials=(Special(0, word),))
    seen = live(meta=record(), maps={"outer": observed({1: {}}, inner=inner)})
    grown = plan_of(wanted(desired({1: {}, 2: {}}, inner=inner)), seen, Held({"outer": {1: {}}}))
    assert ids(grown.hazards) == ([("timers-need-a-holder", "outer")] if is_reported else [])
    same = plan_of(wanted(desired({1: {}}, inner=inner)), seen, Held({"outer": {1: {}}}))
    assert not same.hazards


def test_what_a_probe_cannot_see() -> None:
    seen = live(meta=record(), maps={"outer": replace(observed({}), probed=Probed(None, unseen="its flags"))})
    (hazard,) = plan_of(wanted(desired({})), seen).hazards
    assert (hazard.id, hazard.severity, hazard.address) == ("template-untold", Severity.NOTICE, "outer")


@pytest.mark.parametrize("prune", [False, True])
def test_unknown_pins(prune: bool) -> None:
    seen = live(meta=record(), other_pins=tuple("abcdefg"))
    (hazard,) = plan_of(wanted(), seen, overrides=Overrides(prune=prune)).hazards
    assert (hazard.id, hazard.severity) == ("unknown-pins", Severity.NOTICE)
    assert "7 pins" in hazard.message
    assert "(a, b, c, d, e, ...)" in hazard.message
    assert ("removed" in hazard.message) == prune


def test_an_attachment_whose_interface_is_missing() -> None:
    load = an_object(program("first", missing=IfMissing.DEFER))
    (hazard,) = plan_of(wanted(load), live()).hazards
    assert (hazard.id, hazard.severity, hazard.address) == ("attachment-deferred", Severity.NOTICE, "router.first")


def test_names_are_cut_after_the_fifth() -> None:
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdef") == "a, b, c, d, e, ..."


def test_users_leave_out_those_that_go_too() -> None:
    seen = live(programs=pinned("a", "b", maps={"a": (7,), "b": (8,)}), users={7: ("a", "c (id 1)")})
    assert users_of(seen, 7).endswith(": a, c (id 1)")
    assert users_of(seen, 7, ["a"]).endswith(": c (id 1)")
    assert users_of(seen, 9) == ""
