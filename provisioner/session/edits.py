"""What is asked of one inner map: other contents as a whole, or single entries written and deleted. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model import entry_table
from provisioner.model.types import Bytes
from provisioner.session.rows import EntryRows

_FEW: Final = 32
"""Rows of which the last of each key is found in a dictionary: NumPy takes longer for so few."""


class Edit(msgspec.Struct, frozen=True):
    """Entries to write or delete, each key once: `keys` (n, key size), `values` (n, value size), `deleted` (n,)."""

    keys: Bytes
    values: Bytes
    deleted: NDArray[np.bool_]

    @staticmethod
    def put(rows: EntryRows) -> Edit:
        return Edit(rows.keys, rows.values, np.zeros(len(rows.keys), np.bool_))

    @staticmethod
    def delete(keys: Bytes, value_size: int) -> Edit:
        last = _last_rows(keys)
        keys = keys if last is None else keys[last]
        return Edit(keys, np.zeros((len(keys), value_size), np.uint8), np.ones(len(keys), np.bool_))


class SlotEdits(msgspec.Struct):
    """What is asked of one slot: `contents` replace all that it holds, then `edits` apply in order.

    `absent` says that the slot is deleted.
    """

    contents: EntryRows | None = None
    absent: bool = False
    edits: list[Edit] = []

    def set(self, rows: EntryRows) -> None:
        self.contents, self.absent, self.edits = rows, False, []

    def delete(self) -> None:
        self.contents, self.absent, self.edits = None, True, []

    def then(self, later: SlotEdits) -> None:
        """Both, one after the other."""
        if later.contents is not None or later.absent:
            self.contents, self.absent, self.edits = later.contents, later.absent, list(later.edits)
            return
        for edit in later.edits:
            if self.edits and entry_table.are_equal(self.edits[-1].keys, edit.keys):
                self.edits[-1] = edit  # the same keys again: what came before has no effect
            else:
                self.edits.append(edit)

    def shrink(self) -> None:
        """The same with one edit, so that many small ones do not add up."""
        if len(self.edits) > 1:
            self.edits = [self.net()]

    def net(self) -> Edit:
        """What all edits together do, each key once."""
        if len(self.edits) == 1:
            return self.edits[0]
        edit = Edit(
            np.concatenate([each.keys for each in self.edits]),
            np.concatenate([each.values for each in self.edits]),
            np.concatenate([each.deleted for each in self.edits]),
        )
        last = _last_rows(edit.keys)
        return edit if last is None else Edit(edit.keys[last], edit.values[last], edit.deleted[last])

    def applied_to(self, before: EntryRows) -> EntryRows:
        """The contents of the slot after this; `before` are those that it has now."""
        rows = self.contents if self.contents is not None else before
        if not self.edits:
            return rows
        edit = self.net()
        stays = ~entry_table.among(rows.keys, edit.keys)
        put = ~edit.deleted
        return EntryRows(
            np.concatenate((rows.keys[stays], edit.keys[put])), np.concatenate((rows.values[stays], edit.values[put]))
        )


def last_of_each(rows: EntryRows) -> EntryRows:
    """The last entry of each key."""
    last = _last_rows(rows.keys)
    return rows if last is None else EntryRows(rows.keys[last], rows.values[last])


def _last_rows(keys: Bytes) -> NDArray[np.int64] | None:
    """The last row of each key, in order; None where each key is there once."""
    count = len(keys)
    if count < 2:
        return None
    if count <= _FEW:
        last = {key.tobytes(): row for row, key in enumerate(keys)}
        return None if len(last) == count else np.array(sorted(last.values()), np.int64)
    if entry_table.are_distinct(keys):
        return None
    first, _ = entry_table.distinct(np.ascontiguousarray(keys[::-1]))
    return None if len(first) == count else np.sort(count - 1 - first)
