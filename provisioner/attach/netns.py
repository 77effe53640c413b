"""Programs on a network namespace: sk_lookup and flow_dissector. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from provisioner.model.attachment import Attachment, AttachPoint, CreateLink, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import LinkType


class Netns(Attachment, frozen=True, kw_only=True):
    """A bpf_link on a network namespace, by the path of its file (`/run/netns/blue`, `/proc/self/ns/net`)."""

    kind: ClassVar[str] = "netns"
    word: ClassVar[str] = "netns"
    link_type: ClassVar[LinkType] = LinkType.NETNS
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((5, 8, 0), "7f045a49fee0")

    path: str
    attach_type: int = 0

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        return cls(where=where, if_missing=if_missing, path=fields.get("path", ""))

    @property
    def point(self) -> AttachPoint:
        return AttachPoint("netns", self.path)

    @property
    def hook(self) -> str:
        return f"netns {self.path}"

    def settings(self) -> Settings:
        return {"path": self.path}

    def describe(self) -> str:
        return self.hook

    def request(self) -> CreateLink:
        return CreateLink(self.attach_type)
