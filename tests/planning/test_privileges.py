"""Which capabilities a plan needs, and which of them are missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from provisioner.model.access import Access
from provisioner.model.attachment import FilterPlace
from provisioner.model.errors import HostError
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, PendingSlot, SlotMove
from provisioner.model.spec import ExtraInnerMaps
from provisioner.model.uapi import MapType, TcPoint
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from provisioner.planning.privileges import needs, refuse_unprivileged
from provisioner.planning.steps import MoveSlots
from provisioner.planning.teardown import plan_destroy
from tests.planning.build import HASH, OUTER, State, desired, observed
from tests.planning.states import ETH0, Held, an_object, attached, live, pinned, plan_of, program, record, wanted

DEVMAP = MapShape(MapType.DEVMAP, 4, 4, 4)
ALL = Overrides(approve_deletes=True, allow_recreate=True)


def needed(plan: Plan) -> set[tuple[str, str]]:
    return {(need.capability, need.address) for need in needs(plan)}


def of_map(state: State, held: State | None, **how: Any) -> Plan:
    map_ = desired(state, **how)
    seen = live(meta=record(), maps={"outer": observed(held)} if held is not None else {})
    return plan_of(wanted(map_), seen, Held({"outer": held or {}}), ALL)


def test_a_plan_without_steps_needs_nothing() -> None:
    assert needed(plan_of(wanted(), live())) == set()
    assert needed(plan_of(wanted(), live(meta=record(), leftovers=("_new_a",)))) == set()


def test_an_empty_map_is_created_by_anybody_with_cap_bpf() -> None:
    assert needed(of_map({}, None)) == {("CAP_BPF", ""), ("CAP_BPF", "outer")}


@pytest.mark.parametrize(
    ("state", "held"), [({1: {}}, None), ({1: {}}, {}), ({1: {1: 2}}, {1: {1: 1}}), ({}, {1: {}}), ({2: {}}, {1: {}})]
)
def test_inner_maps_are_opened_by_their_ids(state: State, held: State | None) -> None:
    assert ("CAP_SYS_ADMIN", "outer") in needed(of_map(state, held))


@pytest.mark.parametrize(("pins", "by_id"), [(frozenset(), True), (frozenset({1001}), False)])
def test_pinned_inner_maps_are_not(pins: frozenset[int], by_id: bool) -> None:
    seen = live(meta=record(), maps={"outer": observed({1: {}})}, inner_pins={"outer": pins})
    map_ = desired({1: {1: 1}, 2: {}})
    plan = plan_of(wanted(map_, pin_inner_maps=True), seen, Held({"outer": {1: {}}}))
    assert (("CAP_SYS_ADMIN", "outer") in needed(plan)) == by_id
    new = plan_of(wanted(map_, pin_inner_maps=True), live(meta=record()))
    assert ("CAP_SYS_ADMIN", "outer") not in needed(new)


@pytest.mark.parametrize(("shape", "by_id"), [(OUTER, False), (OUTER.with_capacity(2000), True)])
def test_what_others_inserted_is_opened_only_to_go_into_a_new_outer_map(shape: MapShape, by_id: bool) -> None:
    """The inner map in slot 2 has no pin, and policy keeps it."""
    seen = live(meta=record(), maps={"outer": observed({1: {}, 2: {}})}, inner_pins={"outer": frozenset({1001})})
    map_ = desired({1: {1: 1}}, shape=shape, extra=ExtraInnerMaps.KEEP)
    plan = plan_of(wanted(map_, pin_inner_maps=True), seen, Held({"outer": {1: {}, 2: {}}}))
    assert (("CAP_SYS_ADMIN", "outer") in needed(plan)) == by_id


def test_a_plain_map_is_written_with_the_permissions_of_its_pin() -> None:
    plain = replace(desired({0: {1: 2}}, shape=HASH), outer=None)
    seen = live(meta=record(), maps={"outer": replace(observed({0: {}}, shape=HASH))})
    plan = plan_of(wanted(plain), seen, Held({"outer": {0: {1: 1}}}))
    assert ("CAP_BPF", "outer") not in needed(plan)


def test_maps_of_the_network_need_its_capability() -> None:
    assert ("CAP_NET_ADMIN", "outer") in needed(of_map({1: {}}, None, inner=DEVMAP))
    assert ("CAP_NET_ADMIN", "outer") in needed(of_map({1: {}}, {}, inner=DEVMAP))
    assert ("CAP_NET_ADMIN", "outer") not in needed(of_map({1: {}}, None))


def test_an_object_is_loaded_and_attached() -> None:
    load = an_object(program("first"), maps={"hidden": HASH, "ports": DEVMAP})
    plan = plan_of(wanted(load), live(points={ETH0: 3}))
    assert needed(plan) == {
        ("CAP_BPF", ""),
        ("CAP_BPF", "router"),
        ("CAP_NET_ADMIN", "router"),
        ("CAP_NET_ADMIN", "ports"),
        ("CAP_NET_ADMIN", "_link_first"),
    }


def test_a_switched_link_is_taken_back_by_the_id_of_its_program() -> None:
    load = an_object(program("first"))
    seen = live(
        meta=record(objects={"router": "old"}), programs=pinned("first"), links=attached("first"), points={ETH0: 3}
    )
    assert ("CAP_SYS_ADMIN", "_link_first") in needed(plan_of(wanted(load), seen))


def test_a_link_that_goes_is_taken_back_likewise() -> None:
    plan = plan_destroy(wanted(), live(meta=record(), links=attached("first")), Overrides())
    assert needed(plan) == {("CAP_SYS_ADMIN", "_link_first")}


def test_a_tc_program_is_detached_by_cap_net_admin_itself() -> None:
    """A filter has no link: without the capability, the kernel refuses the request of netlink also to CAP_SYS_ADMIN."""
    links = {pin: replace(link, filter=FilterPlace(TcPoint.INGRESS, 1, 1)) for pin, link in attached("first").items()}
    plan = plan_destroy(wanted(), live(meta=record(), links=links), Overrides())
    assert needed(plan) == {("CAP_NET_ADMIN", "_link_first"), ("CAP_SYS_ADMIN", "_link_first")}
    assert missing(plan, ("CAP_SYS_ADMIN",), may_create=True) == {"CAP_NET_ADMIN_link_first"}


@pytest.mark.parametrize(("pins", "by_id"), [((), True), ((1001,), True), ((1001, 1002), False)])
def test_slots_are_moved_with_the_pins_of_their_inner_maps(pins: tuple[int, ...], by_id: bool) -> None:
    moves = [SlotMove(Move("outer[1]", "outer[3]", Location("a")), "outer", bytes([slot]), b"\3") for slot in (1, 2)]
    slots = tuple(PendingSlot(move, number) for move, number in zip(moves, (1001, 1002), strict=True))
    plan = plan_of(wanted(), live(meta=record(), inner_pins={"outer": frozenset(pins)}))
    expected = {("CAP_BPF", "outer")} | ({("CAP_SYS_ADMIN", "outer")} if by_id else set())
    assert needed(replace(plan, steps=(MoveSlots("outer", slots, 2),))) == expected


def test_a_group_is_given_by_cap_chown() -> None:
    def of(gid: int | None, **fields: Any) -> set[tuple[str, str]]:
        return needed(plan_of(wanted(desired({}), pin_mode=0o640), live(gid=gid, **fields)))

    assert ("CAP_CHOWN", "") in of(7)
    assert ("CAP_CHOWN", "") not in of(None)
    strayed = live(meta=record(), gid=7, access={"outer": Access(0o666, 0)})
    assert ("CAP_CHOWN", "") in needed(plan_of(wanted(pin_mode=0o640), strayed))
    swept = live(meta=record(), gid=7, leftovers=("_new_a",))
    assert needed(plan_of(wanted(), swept)) == set()


def missing(plan: Plan, held: Iterable[str], may_create: bool = False) -> set[str]:
    try:
        refuse_unprivileged(plan, frozenset(held), lambda _: may_create)
    except HostError as error:
        return {problem.what.split()[0] + problem.address for problem in error.problems}
    return set()


def test_each_capability_is_said_once_for_each_address() -> None:
    plan = of_map({1: {}}, None, inner=DEVMAP)
    assert missing(plan, ()) == {"CAP_BPF", "CAP_BPFouter", "CAP_NET_ADMINouter", "CAP_SYS_ADMINouter"}
    assert missing(plan, ("CAP_BPF", "CAP_NET_ADMIN")) == {"CAP_SYS_ADMINouter"}
    with pytest.raises(HostError) as error:
        refuse_unprivileged(plan, frozenset(), lambda _: False)
    assert {problem.id for problem in error.value.problems} == {"missing-capability"}


@pytest.mark.parametrize("may_create", [False, True])
def test_cap_sys_admin_is_enough_but_for_what_a_kernel_refuses(may_create: bool) -> None:
    plan = of_map({1: {}}, None, inner=DEVMAP)
    assert missing(plan, ("CAP_SYS_ADMIN",), may_create) == (set() if may_create else {"CAP_NET_ADMINouter"})
    grouped = plan_of(wanted(desired({}), pin_mode=0o640), live(gid=7))
    assert missing(grouped, ("CAP_SYS_ADMIN",), may_create) == {"CAP_CHOWN"}
    assert missing(grouped, ("CAP_SYS_ADMIN", "CAP_CHOWN"), may_create) == set()
