"""Programs on a cgroup: sockets, packets, devices, sysctls of its processes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Self

from provisioner.attach.sections import LSM_CGROUP
from provisioner.model.attachment import Attachment, AttachPoint, CreateLink, IfMissing, Settings
from provisioner.model.location import Location
from provisioner.model.uapi import LinkType

_LSM_SINCE: Final = ((6, 0, 0), "69fd337a975c")
"""LSM programs for the processes of a cgroup."""


class Cgroup(Attachment, frozen=True, kw_only=True):
    """A bpf_link on a cgroup v2 directory, by its path below the mount.

    `attach_type` is a number of `enum bpf_attach_type`, which the section of the program says. A link is one of several
    at the hook (as with BPF_F_ALLOW_MULTI), so other programs there stay.
    """

    kind: ClassVar[str] = "cgroup"
    word: ClassVar[str] = "cgroup"
    link_type: ClassVar[LinkType] = LinkType.CGROUP
    since: ClassVar[tuple[tuple[int, int, int], str]] = ((5, 7, 0), "af6eea57437a")

    path: str
    attach_type: int = 0

    @classmethod
    def read(cls, fields: Mapping[str, str], where: Location, if_missing: IfMissing) -> Self:
        return cls(where=where, if_missing=if_missing, path=fields.get("path", "").strip("/"))

    def first_release(self) -> tuple[tuple[int, int, int], str]:
        return _LSM_SINCE if self.attach_type == LSM_CGROUP else self.since

    @property
    def point(self) -> AttachPoint:
        return AttachPoint("cgroup", self.path)

    @property
    def hook(self) -> str:
        return f"cgroup {self.path or '/'}"

    def settings(self) -> Settings:
        return {"path": self.path}

    def describe(self) -> str:
        return self.hook

    def request(self) -> CreateLink:
        return CreateLink(self.attach_type)
