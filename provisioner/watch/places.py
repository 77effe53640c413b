"""Where a project is in the kernel: what it is attached to, and the file system of its pins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from provisioner.kernel import attach_points, bpffs
from provisioner.model.attachment import AttachPoint
from provisioner.model.errors import HostError
from provisioner.project import Project


class Places(msgspec.Struct, frozen=True):
    """What attachments name, by the numbers of the kernel; None: it does not exist.

    The kernel reports interfaces (`Wakeups`), but not what happened to them while a pass ran.

    `device` is the file system of the pins, and `pinned` says whether there is a pin root.
    """

    points: Mapping[AttachPoint, int | None] = {}
    device: int = 0
    pinned: bool = False

    @classmethod
    def of(cls, project: Project | None) -> Places:
        """The places of a project now; none without a project."""
        if project is None:
            return cls()
        root = Path(project.pin_root)
        points = {point: _number(point) for point in project.desired.attach_points}
        return cls(points, bpffs.device(root), root.exists())

    def differ(self, before: Places) -> bool:
        """Whether something came, went or was replaced. A pin root that came is that of a pass."""
        gone = before.pinned and not self.pinned
        return gone or (self.points, self.device) != (before.points, before.device)


def _number(point: AttachPoint) -> int | None:
    """The number of an attach point; also None where this process may not look: the pass says so."""
    try:
        return attach_points.find(point)
    except HostError:
        return None
