"""What overlays and variables set: the files, and the fields of each declaration with their places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from provisioner.model.location import Location

Fields = Mapping[str, str]
"""A field (`max_entries`, `limits.delete_percent`) -> the file and line that set it."""


class Overlays(msgspec.Struct, frozen=True):
    """`files` are the overlay files and the tables that they name.

    `project` has the fields at the top of the spec; `declared` has the fields of each declaration by the place of its
    key. Fields from a template, a type or a shared inner map have their full name (`inner_templates.acl.max_entries`).
    A declaration that an overlay adds as a whole has no fields here, unless a later overlay changes it. A field with
    variables has these with their sources. `keys` has the same for the keys of declarations.
    """

    files: frozenset[str] = frozenset()
    project: Fields = {}
    declared: Mapping[Location, Fields] = {}
    keys: Mapping[Location, str] = {}

    def place(self, where: Location) -> str:
        """`site.yaml:7` for a declaration in an overlay, `${tenant}: --var` for one whose key has a variable."""
        overlay = where.short() if where.file in self.files else ""
        return ", ".join(filter(None, (overlay, self.keys.get(where, "")))) if self.keys else overlay

    def fields(self, where: Location) -> Fields:
        """The fields that overlays set in the declaration at `where`."""
        return self.declared.get(where, {})


NONE: Final = Overlays()
