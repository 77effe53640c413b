"""tc: a filter in the clsact qdisc of a network interface, for kernels that do not have tcx. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Self

from provisioner.model.attachment import AddFilter, Attachment, AttachPoint, FilterPlace, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.observed import ObservedLink
from provisioner.model.uapi import LinkType, TcPoint

_NUMBER: Final = re.compile("0|[1-9][0-9]{0,9}|0x[0-9A-Fa-f]{1,8}")


class Tc(Attachment, frozen=True, kw_only=True):
    """A cls_bpf filter in direct-action mode. It is not a bpf_link, and stays after its pins are gone.

    A record that is pinned in place of a link says where it is, and which programs it may run. Another filter at the
    same priority and handle belongs to another owner.
    """

    kind: ClassVar[str] = "tc"
    word: ClassVar[str] = "tc"
    link_type: ClassVar[LinkType] = LinkType.UNSPEC
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((4, 5, 0), "1f211a1b929c")

    instead: ClassVar[str] = "write another `priority:` or `handle:`"

    interface: str
    place: FilterPlace

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        point = TcPoint.EGRESS if fields.get("direction") == "egress" else TcPoint.INGRESS
        place = FilterPlace(point, _number(fields.get("priority")), _number(fields.get("handle")))
        return cls(where=where, if_missing=if_missing, interface=fields.get("interface", ""), place=place)

    @property
    def point(self) -> AttachPoint:
        return AttachPoint("interface", self.interface)

    @property
    def hook(self) -> str:
        return f"tc on {self.interface}, {self.place.describe()}"

    @property
    def room_for_one(self) -> str:
        return self.hook

    def settings(self) -> Settings:
        place = self.place
        numbers = {"priority": str(place.priority), "handle": str(place.handle)}
        return {"interface": self.interface, "direction": place.point.word, **numbers}

    def describe(self) -> str:
        return self.hook

    def request(self) -> AddFilter:
        return AddFilter(self.place)

    def differs(self, live: ObservedLink, recorded: Settings | None) -> str:
        why = super().differs(live, recorded)
        if why or live.filter is None or live.filter == self.place:
            return why
        return f"the live filter is at {live.filter.describe()}"


def _number(text: str | None) -> int:
    """A priority or a handle; 1 if the spec has none, or one that the schema refuses."""
    return int(text, 0) if text and _NUMBER.fullmatch(text) else 1
