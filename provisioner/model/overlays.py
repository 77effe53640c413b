"""What overlays decided: the files, and the fields of each declaration with their places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from provisioner.model.location import Location

Fields = Mapping[str, str]
"""A field (`max_entries`, `limits.delete_percent`) -> the file and line that decided it."""


class Overlays(msgspec.Struct, frozen=True):
    """`files` are those that were laid over a spec, and the tables that they name.

    `project` has the fields at the top of the spec, `declared` those of each declaration by the place of its key; what
    it takes from a template, a type or a shared inner map is among them, under its full name
    (`inner_templates.acl.max_entries`). What an overlay adds as a whole has fields only where a further one changes it.
    """

    files: frozenset[str] = frozenset()
    project: Fields = {}
    declared: Mapping[Location, Fields] = {}

    def told(self, where: Location) -> str:
        """`site.yaml:7` of a place in an overlay; empty for all others."""
        return where.short() if where.file in self.files else ""

    def fields(self, where: Location) -> Fields:
        """The decided fields of what is declared at `where`."""
        return self.declared.get(where, {})


NONE: Final = Overlays()
