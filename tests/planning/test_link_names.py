"""Which attachment of a program has which pin, from states made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from provisioner import attach
from provisioner.attach.tcx import Tcx
from provisioner.attach.xdp import Xdp
from provisioner.model.attachment import Attachment, AttachPoint
from provisioner.model.desired import DesiredProgram
from provisioner.model.location import Location
from provisioner.model.observed import ObservedLink, ObservedState
from provisioner.model.pins import link_pin, owner_of
from provisioner.model.uapi import AttachType, LinkType
from provisioner.planning.link_names import at_hook, named
from tests.planning.states import an_object, live, program, record, wanted

HERE = Location("spec.yaml", 1, 1)
POINTS = {AttachPoint("interface", f"eth{number}"): 10 + number for number in range(4)}
FIRST = "_link_filter"


def xdp(number: int) -> Xdp:
    return Xdp(where=HERE, interface=f"eth{number}")


def tcx(number: int, direction: str = "ingress") -> Attachment:
    return Tcx.read({"interface": f"eth{number}", "direction": direction}, HERE, xdp(number).if_missing)


def pin(attachment: Attachment) -> str:
    return link_pin("filter", attachment.hook)


def on(number: int, link_type: LinkType = LinkType.XDP, attach_type: int = 0) -> ObservedLink:
    return ObservedLink(70 + number, 50, 10 + number if number >= 0 else 0, link_type, attach_type)


def seen(links: Mapping[str, ObservedLink], recorded: Mapping[str, Attachment] | None = None) -> ObservedState:
    settings = {name: attach.to_record(made, None) for name, made in (recorded or {}).items()}
    meta = record(attachments=settings) if recorded is not None else None
    return live(meta=meta, links=links, points=POINTS)


def names(observed: ObservedState, *attachments: Attachment) -> list[str]:
    return list(named(DesiredProgram("filter", "filter", attachments, HERE), observed))


ZERO, ONE, TWO = xdp(0), xdp(1), xdp(2)


def test_the_first_one_has_the_name_of_the_program_alone() -> None:
    assert names(seen({}), ZERO) == [FIRST]
    assert names(seen({}), ZERO, ONE) == [FIRST, pin(ONE)]
    assert names(seen({})) == []


@pytest.mark.parametrize("attachments", [(ZERO, ONE, TWO), (TWO, ONE, ZERO), (ONE, ZERO, TWO)])
def test_the_order_of_the_list_does_not_matter(attachments: tuple[Attachment, ...]) -> None:
    state = seen({FIRST: on(0), pin(ONE): on(1), pin(TWO): on(2)})
    expected: dict[Attachment, str] = {ZERO: FIRST, ONE: pin(ONE), TWO: pin(TWO)}
    assert names(state, *attachments) == [expected[each] for each in attachments]


def test_a_single_attachment_that_becomes_one_of_several_keeps_its_name() -> None:
    assert names(seen({FIRST: on(1)}), ZERO, ONE) == [pin(ZERO), FIRST]


def test_a_single_attachment_that_is_left_keeps_its_name() -> None:
    state = seen({FIRST: on(0), pin(ONE): on(1)})
    assert names(state, ONE) == [pin(ONE)]
    assert names(state, TWO) == [FIRST], "the first link goes elsewhere"


def test_a_link_does_not_stay_for_what_does_not_exist_yet() -> None:
    late = xdp(9)
    assert names(seen({FIRST: on(0)}), late) == [pin(late)], "the first link is detached"
    assert names(seen({FIRST: on(0)}), late, ONE) == [pin(late), FIRST]
    assert names(seen({FIRST: on(0)}, {FIRST: late}), late) == [FIRST], "its interface was renamed"
    assert names(seen({FIRST: on(-10)}), late) == [FIRST], "it can be the link of an interface that is gone"


def test_a_detached_link_is_known_by_the_record() -> None:
    state = seen({FIRST: on(-10)}, {FIRST: ONE})
    assert names(state, ZERO, ONE) == [pin(ZERO), FIRST]
    assert names(seen({FIRST: on(-10)}), ZERO, ONE) == [FIRST, pin(ONE)], "no record: the first of the list"


def test_what_is_live_counts_more_than_the_record() -> None:
    """An apply that was killed made the link, and did not record it."""
    assert names(seen({FIRST: on(1)}, {FIRST: ZERO}), ZERO, ONE) == [pin(ZERO), FIRST]


def test_directions_of_one_interface() -> None:
    ingress, egress = tcx(0), tcx(0, "egress")
    state = seen({FIRST: on(0, LinkType.TCX, AttachType.TCX_EGRESS)})
    assert names(state, ingress, egress) == [pin(ingress), FIRST]


def test_a_pin_tells_its_program_and_differs_by_the_hook() -> None:
    odd = [Xdp(where=HERE, interface=name) for name in ("eth0.100", "eth0-100", "eth0:100", "x" * 15)]
    pins = {pin(each) for each in odd}
    assert len(pins) == len(odd)
    assert {owner_of(each) for each in pins} == {"filter"}
    assert not any("." in each or "/" in each for each in pins), "a bpffs refuses a dot in a name"
    assert pin(odd[0]) == "_link_filter@xdp-on-eth0-100-512b2fcce7", "it is in the kernel: it never changes"


def test_the_attachment_of_another_program_at_the_same_hook() -> None:
    guard = DesiredProgram("guard", "guard", (xdp(1), tcx(1), tcx(2)), HERE)
    state = wanted(an_object(guard, program("filter")))
    first = link_pin("guard", guard.attachments[0].hook)
    seen = live(points=POINTS, links={link_pin("guard"): on(2, LinkType.TCX, AttachType.TCX_INGRESS)})
    for beside, pin_of in (
        (tcx(1), link_pin("guard", tcx(1).hook)),
        (tcx(2), link_pin("guard")),  # which was the first one
        (tcx(2, "egress"), None),
        (tcx(3), None),
    ):
        assert at_hook(state, seen, "guard", beside) == pin_of
    assert at_hook(state, seen, "guard", xdp(1)) == first
    assert at_hook(state, seen, "gone", tcx(1)) is None
