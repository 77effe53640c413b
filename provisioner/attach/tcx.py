"""tcx: a program in the traffic control layer of a network interface, attached by a link. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from provisioner.model.attachment import Attachment, AttachPoint, CreateLink, IfMissing, Neighbour, Settings
from provisioner.model.location import Location
from provisioner.model.observed import ObservedLink
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
    order: Neighbour | None = None
    has_two_orders: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        direction: Literal["ingress", "egress"] = "egress" if fields.get("direction") == "egress" else "ingress"
        order = Neighbour.read(fields)
        has_two_orders = sum(name in fields for name in ("before", "after", "order")) > 1
        interface = fields.get("interface", "")
        return cls(
            where=where,
            if_missing=if_missing,
            interface=interface,
            direction=direction,
            order=order,
            has_two_orders=has_two_orders,
        )

    @property
    def point(self) -> AttachPoint:
        return AttachPoint("interface", self.interface)

    @property
    def hook(self) -> str:
        return f"tcx on {self.interface}, {self.direction}"

    @property
    def neighbour(self) -> Neighbour | None:
        return self.order

    def settings(self) -> Settings:
        order = {} if self.order is None else self.order.settings()
        return {"interface": self.interface, "direction": self.direction, **order}

    def describe(self) -> str:
        order = "" if self.order is None else f", {self.order.describe()}"
        return f"{self.hook}{order}"

    def request(self) -> CreateLink:
        return CreateLink(AttachType.TCX_INGRESS if self.direction == "ingress" else AttachType.TCX_EGRESS)

    def differs(self, live: ObservedLink, recorded: Settings | None) -> str:
        """The order is compared with that of the live programs, not with the one that was asked for."""
        hook = {name: value for name, value in (recorded or {}).items() if name in ("interface", "direction")}
        return super().differs(live, hook if recorded is not None else None)
