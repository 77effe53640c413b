"""The permissions of pins, which are files with permission bits and a group. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

_READ = 0o444


class Access(msgspec.Struct, frozen=True):
    """Permission bits and a group's number; None leaves the one or the other as it is.

    `mode` is that of pins: a directory can be entered by every user who may read the pins in it.
    """

    mode: int | None = None
    gid: int | None = None

    @property
    def of_folders(self) -> Access:
        return Access(None if self.mode is None else self.mode | (self.mode & _READ) >> 2, self.gid)

    def allows(self, actual: Access) -> bool:
        """Whether `found` has the requested permissions."""
        return self.mode in (None, actual.mode) and self.gid in (None, actual.gid)

    def change_to(self, wanted: Access) -> str:
        """`mode 0600 -> 0640, group 0 -> 998`: the requested changes."""
        parts = []
        if wanted.mode not in (None, self.mode):
            parts.append(f"mode {self.mode or 0:04o} -> {wanted.mode:04o}")
        if wanted.gid not in (None, self.gid):
            parts.append(f"group {self.gid} -> {wanted.gid}")
        return ", ".join(parts)


AS_MADE: Final = Access()
"""The permissions that the kernel gives a new pin: mode 0600, and the group of the process."""
