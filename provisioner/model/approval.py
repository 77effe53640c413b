"""Approvals: what a spec allows although a rule refuses it, once."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from provisioner.model.location import Location

APPROVABLE: Final = ("delete_percent", "update_percent", "recreate", "migrate-loss")
"""The rules that a spec can approve: those that `--approve-deletes` and `--allow-recreate` override."""


class Approval(msgspec.Struct, frozen=True):
    """The permission for what `rule` refuses at `address`. It is used once.

    `until` is the last day on which it is valid, in UTC, as `2026-12-31`; empty for no end. `id` is the user's own.
    `is_current` says that it was valid when the plan was made: nobody has checked the date otherwise.
    """

    rule: str
    address: str
    until: str
    id: str
    where: Location
    is_current: bool = False

    @property
    def key(self) -> str:
        """Identifies it in the record of the project, after it was used."""
        text = "\0".join((self.rule, self.address, self.until, self.id))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    @property
    def name(self) -> str:
        """How messages name it: `CHG-17 (edge.yaml:12)`."""
        return f"{self.id} ({self.where.short()})" if self.id else self.where.short()
