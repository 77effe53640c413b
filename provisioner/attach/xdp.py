"""XDP: a program on the receive path of a network interface. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from provisioner.model.attachment import Attachment, AttachPoint, CreateLink, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import XDP_MODES, AttachType, LinkType, XdpMode


class Xdp(Attachment, frozen=True, kw_only=True):
    """A bpf_link on an interface; the kernel does not show the mode of a link, so the record keeps it."""

    kind: ClassVar[str] = "xdp"
    word: ClassVar[str] = "XDP"
    link_type: ClassVar[LinkType] = LinkType.XDP
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((5, 9, 0), "aa8d3a716b59")

    instead: ClassVar[str] = "attach one program to the interface, which tail-calls the others"

    interface: str
    mode: XdpMode = XdpMode.AUTO

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        mode = XDP_MODES.get(fields.get("mode", "auto"), XdpMode.AUTO)
        return cls(where=where, if_missing=if_missing, interface=fields.get("interface", ""), mode=mode)

    @property
    def point(self) -> AttachPoint:
        return AttachPoint("interface", self.interface)

    @property
    def hook(self) -> str:
        return f"xdp on {self.interface}"

    @property
    def room_for_one(self) -> str:
        return self.hook

    def settings(self) -> Settings:
        return {"interface": self.interface, "mode": str(self.mode.name).lower()}

    def describe(self) -> str:
        return f"{self.hook}, {str(self.mode.name).lower()}"

    def request(self) -> CreateLink:
        return CreateLink(AttachType.XDP, int(self.mode))
