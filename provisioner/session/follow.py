"""The edits that turn one version of a spec into another one, where only the contents of its maps differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner.codec.program_ref import ProgramRef
from provisioner.model import entry_table
from provisioner.model.desired import EXACT, IGNORE, PRESENT, DesiredMap, DesiredState, OuterPolicy
from provisioner.model.entry_table import EntryTable
from provisioner.model.observed import ObservedBlock, ObservedMap, ObservedSlots
from provisioner.model.spec import ExtraInnerMaps, Update
from provisioner.planning.changes import Action, EntryAction, MapChange
from provisioner.planning.diff import diff_map
from provisioner.session.edits import Edit, SlotEdits
from provisioner.session.rows import EntryRows

_CONTENTS: Final = frozenset({"slots", "entries", "sources", "where", "outer"})
"""Fields of a map that can differ, or that are compared one by one."""

_SHARED_IDS: Final = 1 << 31
"""Ids that stand for shared inner maps, beyond those that stand for other slots."""


def edits(before: DesiredState, after: DesiredState) -> dict[str, dict[bytes, SlotEdits]] | None:
    """What is to be asked of each map, by slot; None where more than contents differs."""
    if not _same(before, after, frozenset({"maps", "overlays", "revision"})) or before.maps.keys() != after.maps.keys():
        return None
    asked = {}
    for name, wanted in after.maps.items():
        of_map = _of_map(before.maps[name], wanted)
        if of_map is None:
            return None
        asked[name] = of_map
    return asked


def _same(before: msgspec.Struct, after: msgspec.Struct, besides: frozenset[str]) -> bool:
    """Whether all fields but some are equal; fields that cannot be compared count as different."""
    for field in set(before.__struct_fields__) - besides:
        try:
            if getattr(before, field) != getattr(after, field):
                return False
        except ValueError:  # an array has no truth value
            return False
    return True


def _of_map(before: DesiredMap, after: DesiredMap) -> dict[bytes, SlotEdits] | None:
    same_contents = all(
        np.array_equal(getattr(before.entries, column), getattr(after.entries, column))
        for column in before.entries.__struct_fields__
    ) and all(
        np.array_equal(getattr(before.slots, column), getattr(after.slots, column))
        for column in ("keys", "max_entries", "contents", "shared")
    )
    if not _same(before, after, _CONTENTS) or not _same_outer(before.outer, after.outer):
        return None
    if same_contents:
        return {}
    if isinstance(after.value, ProgramRef) or not after.entry_shape.is_listable:
        return None
    change = _change(before, after)
    return dict(_edits(change, after)) if _is_content(change, before, after) else None


def _same_outer(before: OuterPolicy | None, after: OuterPolicy | None) -> bool:
    if before is None or after is None:
        return before is after
    return _same(before, after, frozenset({"template_where"}))


def _change(before: DesiredMap, after: DesiredMap) -> MapChange:
    """The difference, as if the older version were live."""
    slots = after.slots
    outer = after.outer
    pure = replace(
        after,
        slots=replace(slots, contents=np.full(len(slots.contents), EXACT, np.uint8)),
        outer=None if outer is None else replace(outer, owned=(), extra_inner_maps=ExtraInnerMaps.DELETE),
        update=Update.IN_PLACE,
        owned=(),
    )
    share = before.slots.shared.astype(np.int64)
    ids = np.where(share >= 0, _SHARED_IDS + share, np.arange(1, len(share) + 1)).astype(np.uint32)
    live = ObservedMap(1, after.shape, after.entry_shape, ObservedSlots(before.slots.keys, ids))
    return diff_map(pure, live, _blocks(before), None)


def _blocks(before: DesiredMap) -> Iterator[ObservedBlock]:
    table = before.entries
    for first, last in entry_table.blocks(table.counts):
        part = EntryTable(table.starts[first:last], table.counts[first:last], table.keys, table.values)
        yield ObservedBlock(first, last, before.slots.max_entries[first:last], part)


def _is_content(change: MapChange, before: DesiredMap, after: DesiredMap) -> bool:
    """Whether only the entries of slots differ that are not shared, and which slots there are."""
    slots = change.slots
    changed = slots.action != Action.UNCHANGED
    if slots.is_any(Action.REPLACE, Action.KEEP).any():
        return False
    old, new = slots.observed[changed], slots.desired[changed]
    if (before.slots.shared[old[old >= 0]] >= 0).any() or (after.slots.shared[new[new >= 0]] >= 0).any():
        return False
    both = (slots.observed >= 0) & (slots.desired >= 0)
    contents = before.slots.contents[slots.observed[both]] == after.slots.contents[slots.desired[both]]
    return bool(contents.all())


def _edits(change: MapChange, after: DesiredMap) -> Iterator[tuple[bytes, SlotEdits]]:
    slots = change.slots
    for row in np.flatnonzero(slots.action != Action.UNCHANGED).tolist():
        key, wanted = slots.keys[row].tobytes(), int(slots.desired[row])
        policy = int(after.slots.contents[wanted]) if wanted >= 0 else EXACT
        if wanted < 0:
            yield key, SlotEdits(absent=True)
        elif slots.action[row] == Action.CREATE:
            yield key, SlotEdits(contents=EntryRows(*after.entries.slot(wanted)))
        elif policy != IGNORE:
            edit = _edit(change, row, after, policy)
            if len(edit.keys):
                yield key, SlotEdits(edits=[edit])


def _edit(change: MapChange, row: int, after: DesiredMap, policy: int) -> Edit:
    differs = change.entries.of_slot(row)
    put = differs.row >= 0
    deleted = (differs.action == EntryAction.DELETE) & (policy != PRESENT)  # what is not listed any more stays then
    chosen = put | deleted
    values = np.zeros((len(put), after.value.size), np.uint8)
    values[put] = after.entries.values[differs.row[put]]
    return Edit(differs.keys[chosen], values[chosen], deleted[chosen])
