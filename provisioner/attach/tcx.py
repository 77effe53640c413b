"""tcx: a program in the traffic control layer of a network interface, attached by a link. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from provisioner.model.attachment import Attachment, AttachPoint, CreateLink, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import AttachType, LinkType


class Tcx(Attachment, frozen=True, kw_only=True):
    """A bpf_link at the ingress or egress of an interface. Other programs at the same hook stay."""

    kind: ClassVar[str] = "tcx"
    word: ClassVar[str] = "tcx"
    link_type: ClassVar[LinkType] = LinkType.TCX
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((6, 6, 0), "e420bed02507")

    instead: ClassVar[str] = "write `tc:` for older kernels"

    interface: str
    direction: Literal["ingress", "egress"]

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        direction: Literal["ingress", "egress"] = "egress" if fields.get("direction") == "egress" else "ingress"
        return cls(where=where, if_missing=if_missing, interface=fields.get("interface", ""), direction=direction)

    @property
    def point(self) -> AttachPoint:
        return AttachPoint("interface", self.interface)

    def settings(self) -> Settings:
        return {"interface": self.interface, "direction": self.direction}

    def describe(self) -> str:
        return f"tcx on {self.interface}, {self.direction}"

    def request(self) -> CreateLink:
        return CreateLink(AttachType.TCX_INGRESS if self.direction == "ingress" else AttachType.TCX_EGRESS)
