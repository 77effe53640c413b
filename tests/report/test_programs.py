"""Objects, programs and attachments in a report, from states made by hand."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner import attach
from provisioner.attach.xdp import Xdp
from provisioner.model.attachment import AttachPoint
from provisioner.model.desired import DesiredObject, DesiredProgram, DesiredState
from provisioner.model.location import Location
from provisioner.model.observed import ObservedLink, ObservedProgram, ObservedState
from provisioner.model.pins import link_pin
from provisioner.model.record import Meta
from provisioner.model.uapi import XdpMode
from provisioner.planning.counts import Counts
from provisioner.planning.diff_objects import diff_links, diff_object
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan, make_plan
from provisioner.planning.teardown import plan_destroy
from provisioner.report import sentences, text
from provisioner.report.model import Outcome
from provisioner.views import plan_report
from tests.report.support import HOST

HERE = Location("edge.yaml", 1, 1)
ATTACH = Xdp(where=HERE, interface="veth-a", mode=XdpMode.NATIVE)
VETH = AttachPoint("interface", "veth-a")
ROUTER = DesiredObject(
    "router", "bpf/router.bpf.o", "d1", (DesiredProgram("xdp_router", "xdp_router", (ATTACH,), HERE),), {}, {}, HERE
)
LIVE = ObservedState(
    exists=True,
    meta=Meta(
        "edge", {"router": "d1"}, {}, {"_link_xdp_router": attach.to_record(ATTACH, None)}, {}, (), ("xdp_router",)
    ),
    maps={},
    object_maps={},
    programs={"xdp_router": ObservedProgram(11, "xdp_router", "aa", ())},
    links={"_link_xdp_router": ObservedLink(12, 11, 4)},
    points={VETH: 4},
)


def desired(*objects: DesiredObject) -> DesiredState:
    return DesiredState("edge", "/sys/fs/bpf/edge", HOST, {one.name: one for one in objects}, {}, None)


def plan(state: DesiredState, observed: ObservedState) -> Plan:
    objects = {name: diff_object(one, state, observed) for name, one in state.objects.items()}
    return make_plan(state, observed, (), objects.values(), diff_links(observed, objects, True))


def lines(state: DesiredState, observed: ObservedState) -> list[str]:
    return [line for line in text.render(plan_report.report(plan(state, observed))) if line.startswith("  ")]


def test_a_first_load() -> None:
    nothing = replace(ObservedState.nothing(), points={VETH: 4})
    assert lines(desired(ROUTER), nothing) == [
        "  + router                router.bpf.o, 0 maps",
        "  + xdp_router            router, xdp on veth-a, native",
    ]


def test_an_upgrade() -> None:
    newer = replace(ROUTER, digest="d2")
    assert lines(desired(newer), LIVE) == [
        "  ~ router                router.bpf.o, 0 maps: the object file changed",
        "  ~ xdp_router            router, xdp on veth-a, native: its program is new",
    ]
    report = plan_report.report(plan(desired(newer), LIVE))
    place = {"pin": "_link_xdp_router", "id": 12, "place": "xdp on veth-a", "ifindex": 4, "mode": "native"}
    assert report.nodes[1].before == {"id": 11, "ifindex": 4, "mode": "native", "attachments": [place]}
    settings = {"attach": "xdp", "interface": "veth-a", "mode": "native"}
    assert report.nodes[1].after == {"pin": "xdp_router", **settings, "attachments": [settings]}


def test_an_attachment_that_changes_alone() -> None:
    elsewhere = replace(LIVE, points={VETH: 5})
    assert lines(desired(ROUTER), elsewhere) == [
        "  ~ xdp_router            router, xdp on veth-a, native: the live link is xdp on interface 4",
    ]


def test_several_attachments_have_a_line_each() -> None:
    other = replace(ATTACH, interface="veth-b")
    program = replace(ROUTER.programs[0], attachments=(ATTACH, other))
    both = replace(ROUTER, programs=(program,))
    seen = replace(LIVE, points={VETH: 4, other.point: 5})
    assert lines(desired(both), seen) == [
        "  ~ xdp_router            router, 2 attachments",
        "    + xdp on veth-b       native",
    ]
    report = plan_report.report(plan(desired(both), seen))
    assert [(step.kind, step.text) for step in report.steps] == [
        ("attach", "attach xdp_router: xdp on veth-b, native"),
        ("record_meta", "record what the kernel cannot return"),
    ]
    assert report.nodes[0].children is not None
    assert [(node.address, node.before) for node in report.nodes[0].children] == [
        ("router.xdp_router[xdp on veth-b]", None)
    ]
    pin = link_pin("xdp_router", other.hook)
    attachments = {"_link_xdp_router": attach.to_record(ATTACH, None), pin: attach.to_record(other, None)}
    assert LIVE.meta is not None
    meta = replace(LIVE.meta, attachments=attachments)
    seen = replace(seen, meta=meta, links={**LIVE.links, pin: ObservedLink(13, 11, 5)})
    assert lines(desired(ROUTER), seen) == [
        "  ~ xdp_router            router, xdp on veth-a, native",
        "    - xdp on veth-b       the spec does not name it",
    ]
    assert plan_report.report(plan(desired(ROUTER), seen)).summary.programs == Counts(update=1)
    assert lines(desired(replace(ROUTER, programs=(replace(program, attachments=()),))), seen) == [
        "  - xdp_router            detach: the spec does not name it",
        "    - xdp on veth-a       the spec does not name it",
        "    - xdp on veth-b       the spec does not name it",
    ]
    report = plan_report.report(plan_destroy(desired(both), seen, Overrides()), destroy=True)
    assert [(node.text, node.children and node.children.total) for node in report.nodes] == [("detach and unpin", 2)]


def test_an_attachment_that_nothing_asks_for() -> None:
    assert lines(desired(), LIVE) == ["  - xdp_router            detach: the spec does not name it"]


def test_nothing_is_reported_of_what_stays() -> None:
    report = plan_report.report(plan(desired(ROUTER), LIVE))
    assert report.nodes == ()
    assert report.summary.programs == Counts(unchanged=1)


def test_destroy_detaches_and_unpins() -> None:
    report = plan_report.report(plan_destroy(desired(ROUTER), LIVE, Overrides()), destroy=True)
    assert [(node.label, node.text) for node in report.nodes] == [("xdp_router", "detach and unpin")]
    assert report.summary.programs == Counts(delete=1)


@pytest.mark.parametrize(
    ("status", "live", "expected"),
    [
        ("applied", (), ["Applied: 1 program created in 1.50 s, 2 grace periods."]),
        ("unchanged", (), ["No changes. The live state matches the spec."]),
        ("refused", (), ["Refused: nothing was changed."]),
        (
            "rolled_back",
            (),
            ["Rolled back: all visible changes were reverted, in 1.50 s, 2 grace periods."],
        ),
        (
            "interrupted",
            (),
            ["Interrupted: no change is live, in 1.50 s, 2 grace periods."],
        ),
        (
            "partial",
            ("pin xdp_router",),
            [
                "Failed in 1.50 s, 2 grace periods. Changes that are live:",
                "  - pin xdp_router",
            ],
        ),
    ],
)
def test_how_an_apply_ended(status: str, live: tuple[str, ...], expected: list[str]) -> None:
    nothing = replace(ObservedState.nothing(), points={VETH: 4})
    report = plan_report.report(plan(desired(ROUTER), nothing))
    assert list(sentences.outcome(report, Outcome(status, 1.5, 2, 5, 5, live))) == expected
