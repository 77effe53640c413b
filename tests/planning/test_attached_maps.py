"""What becomes of the attachment of a map, and how reports count it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.attach.struct_ops import StructOps
from provisioner.model.desired import AttachedMap
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedLink
from provisioner.model.uapi import STRUCT_OPS_LINK, LinkType, MapType
from provisioner.planning.changes import Action
from provisioner.planning.counts import summary
from provisioner.planning.diff_objects import diff_links, diff_object
from provisioner.planning.hazards import Overrides
from provisioner.planning.teardown import plan_destroy
from tests.planning.build import HERE, observed
from tests.planning.states import an_object, live, pinned, record, unattached, wanted

SHAPE = MapShape(MapType.STRUCT_OPS, 4, 256, 1, STRUCT_OPS_LINK)
HELD = observed({}, shape=SHAPE)


def struct_ops(name: str = "steady", struct: str = "tcp_congestion_ops") -> StructOps:
    return StructOps(where=HERE, struct=struct, name=name)


def its_link(map_id: int = HELD.id) -> ObservedLink:
    return ObservedLink(71, 0, 0, LinkType.STRUCT_OPS, map_id=map_id)


@pytest.mark.parametrize(
    ("attach", "digest", "link", "action", "reason"),
    [
        (struct_ops(), "new", its_link(), Action.UNCHANGED, ""),
        (struct_ops(), "new", None, Action.CREATE, "it is not attached"),
        (struct_ops(), "new", its_link(0), Action.REPLACE, "it was detached"),
        (struct_ops(), "new", its_link(HELD.id + 1), Action.UPDATE, "it runs another map than the pinned one"),
        (struct_ops(), "newer", its_link(), Action.UPDATE, "its map is new"),
        (struct_ops("other"), "newer", its_link(), Action.REPLACE, "name steady -> other"),
        (struct_ops(struct="Qdisc_ops"), "newer", its_link(), Action.REPLACE, "its map is new"),
    ],
)
def test_what_becomes_of_it(
    attach: StructOps, digest: str, link: ObservedLink | None, action: Action, reason: str
) -> None:
    maps = (AttachedMap("steady", (attach,), HERE),)
    desired = replace(an_object(unattached("begin"), digest=digest, maps={"steady": SHAPE}), attached_maps=maps)
    made = {"kind": "struct_ops", "struct": attach.struct, "name": "steady"}
    seen = live(
        meta=record(objects={"router": "new"}, attachments={"_link_steady": made}),
        programs=pinned("begin"),
        object_maps={"steady": HELD},
        links={"_link_steady": link} if link is not None else {},
    )
    load = diff_object(desired, wanted(desired), seen)
    assert load.carried == (), "its programs are those of its load"
    (change,) = diff_links(seen, {"router": replace(load, action=_loaded(digest))}, points_known=True)
    assert (change.pin, change.action, change.reason) == ("_link_steady", action, reason)


def _loaded(digest: str) -> Action:
    return Action.UNCHANGED if digest == "new" else Action.UPDATE


def test_a_destroy_counts_it_as_no_program() -> None:
    seen = live(
        meta=record(), programs=pinned("begin"), object_maps={"steady": HELD}, links={"_link_steady": its_link()}
    )
    plan = plan_destroy(wanted(an_object(unattached("begin"), maps={"steady": SHAPE})), seen, Overrides())
    assert summary(plan, destroy=True).programs.delete == 1
