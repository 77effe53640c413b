"""What was copied from a replaced inner map, and what changed in that map after it was copied. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from provisioner.bytecode.merge_program import Changes, EntryEvent
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.types import Bytes


class Copy(msgspec.Struct, frozen=True):
    """The entries of a live inner map that were written to the one that replaces it, as they were read."""

    inner_id: int
    keys: Bytes
    values: Bytes


Copies = dict[int, list[Copy]]
"""By desired slot: the copies of the maps that the new one takes over."""


def changes_since(copy: Copy, keys: Bytes, values: Bytes, *, is_array: bool) -> Changes:
    """The changes from a copy to what the map holds when nothing writes it any more.

    An element of an array always exists: one that is not listed is zero.
    """
    pairs = entry_table.match_keys(copy.keys, keys)
    differ = entry_table.differ(copy.values[pairs.both_left], values[pairs.both_right])
    left, right = pairs.both_left[differ], pairs.both_right[differ]
    gone, new = pairs.left_only, pairs.right_only
    kinds = (EntryEvent.UPDATE,) * 3 if is_array else (EntryEvent.UPDATE, EntryEvent.DELETE, EntryEvent.INSERT)
    sizes = [len(left), len(gone), len(new)]
    return Changes(
        np.repeat(np.array(kinds, np.uint8), sizes),
        np.concatenate((copy.keys[left], copy.keys[gone], keys[new])),
        np.concatenate((copy.values[left], copy.values[gone], np.zeros_like(values[new]))),
        np.concatenate((values[right], np.zeros_like(copy.values[gone]), values[new])),
    )


def not_copied(desired: DesiredMap, slot: int, copies: Sequence[Copy]) -> tuple[Bytes, Bytes]:
    """The entries of a slot that a new map does not have yet: those with the others' members were copied."""
    keys, values = desired.entries.slot(slot)
    if not desired.value.owns_part or not copies:
        return keys, values
    copied = np.concatenate([copy.keys for copy in copies])
    rest = ~entry_table.among(keys, copied[entry_table.distinct(copied)[0]])
    return keys[rest], values[rest]
