"""struct_ops maps: the programs of a struct that the kernel calls, such as a TCP congestion control. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

from provisioner.model.attachment import Attachment, CreateLink, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import AttachType, LinkType

_UPDATABLE: Final = frozenset({"tcp_congestion_ops"})
"""Structs with an `update` in the kernel (8fb1a76a0f35): BPF_LINK_UPDATE switches to a new map with the same name."""


class StructOps(Attachment, frozen=True, kw_only=True):
    """A bpf_link of a map, whose value has the programs. The object says what it is; the kernel shows the map alone.

    `struct` is the type of the value, `name` what it calls itself: by it, a socket chooses a congestion control. With
    another name, it is another one: the old one is detached. The record keeps both.
    """

    kind: ClassVar[str] = "struct_ops"
    word: ClassVar[str] = "struct_ops"
    link_type: ClassVar[LinkType] = LinkType.STRUCT_OPS
    capability: ClassVar[Literal["CAP_NET_ADMIN", "CAP_PERFMON"]] = "CAP_PERFMON"
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((6, 4, 0), "68b04864ca42")
    instead: ClassVar[str] = "remove `attach:`, and register the object with `bpftool struct_ops register`"

    struct: str = ""
    name: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        return cls(where=where, if_missing=if_missing, struct=fields.get("struct", ""), name=fields.get("name", ""))

    @property
    def is_updatable(self) -> bool:  # type: ignore[override]  # by the struct
        return self.struct in _UPDATABLE

    @property
    def is_alone(self) -> bool:  # type: ignore[override]
        return not self.is_updatable

    @property
    def hook(self) -> str:
        return f"struct_ops {self.struct}"

    def settings(self) -> Settings:
        return {"struct": self.struct, "name": self.name or None}

    def describe(self) -> str:
        return f"{self.struct} {self.name}".strip()

    def request(self) -> CreateLink:
        return CreateLink(AttachType.STRUCT_OPS)
