"""Maps that get another shape: what becomes of their entries. Pure.

The live entries are converted block by block, then compared with the spec as those of any map. So the plan of a
migration shows what differs in the new layout, and refuses what does not fit before anything changes.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.codec.display import format_value
from provisioner.codec.reshape import Misfit, Reshaping
from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap, Migration
from provisioner.model.entry_table import EntryTable, Index
from provisioner.model.errors import InputError
from provisioner.model.host import ByteOrder
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedBlock, ObservedMap
from provisioner.model.record import Meta
from provisioner.model.spec import OnReplace
from provisioner.model.types import Bytes
from provisioner.model.words import HIDDEN, plural
from provisioner.observed.sources import Depth, LiveMaps
from provisioner.planning.changes import Action, MapChange, Migrated, MigrationProblem, Reason, Unfit
from provisioner.planning.diff import compared, created
from provisioner.planning.diff_slots import ObjectMaps, slots_to_read
from provisioner.planning.migrate_outer import old_address, rekeyed
from provisioner.planning.migrate_slots import Staying, desired_slots, with_kept_slots
from provisioner.planning.migrate_types import LiveTypes
from provisioner.planning.raw_view import as_bytes
from provisioner.planning.recreation import inner_differences, is_compared, replaced_because

_REPORTED: Final = 20
"""Entries of one map that are reported: more say no more."""


def migrated(
    desired: DesiredMap,
    observed: ObservedMap,
    live_maps: LiveMaps,
    meta: Meta | None,
    shared: frozenset[int],
    own: ObjectMaps,
    byteorder: ByteOrder,
) -> MapChange | None:
    """The change of a live map whose shape differs, with what becomes of its entries; None where none are at stake."""
    why = replaced_because(desired, observed, meta)
    if not why or desired.adopted is not None or desired.is_generational or is_compared(desired, observed, meta):
        return None
    if (desired.outer is not None) != observed.shape.is_outer:
        return None
    policy = desired.migration
    if policy is None or policy.drop:
        entries = _count(desired, observed, live_maps)
        lost = Migrated(observed.entry_shape, entries=entries, drop=policy is not None)
        return replace(created(desired, observed, why), migrated=lost)
    return _Migration(desired, observed, policy, live_maps, meta, shared, own, byteorder).change(why)


def _count(desired: DesiredMap, observed: ObservedMap, live_maps: LiveMaps) -> int | None:
    """The live entries of a map; None where the kernel cannot list them, or a snapshot does not have them."""
    shape = observed.entry_shape
    if shape is None:
        return 0
    if not shape.is_listable:
        return None
    depth = np.full(len(observed.slots.inner_ids), Depth.ENTRIES, np.uint8)
    blocks = live_maps.old_blocks(as_bytes(desired, observed, shape), observed, depth)
    try:
        return sum(int(block.entries.counts.sum()) for block in blocks)
    except InputError:
        return None


class _Migration(msgspec.Struct):
    """The migration of one map, as far as it is known."""

    desired: DesiredMap
    observed: ObservedMap
    policy: Migration
    live_maps: LiveMaps
    meta: Meta | None
    shared: frozenset[int]
    own: ObjectMaps
    byteorder: ByteOrder
    problems: list[MigrationProblem] = []
    lost: dict[tuple[str, str], int] = {}
    more: int = 0
    entries: int = 0
    unfit: Unfit = msgspec.field(default_factory=Unfit)

    def change(self, why: str) -> MapChange:
        desired, observed = self.desired, self.observed
        shape = observed.entry_shape
        types = LiveTypes(desired, observed, self.policy, self.live_maps, self.meta, self.byteorder, self.problems)
        outer = types.outer()
        if outer is not None:
            slots = rekeyed(desired, observed, outer)
            self.problems += slots.problems
            self.lost |= {("outer key", member): count for member, count in slots.lost}
            if len(slots.unfit) and not self.problems:
                self.unfit = self._unfit(slots.unfit)
            self.observed, observed = slots.live, slots.converted
        if self.problems:
            return self._refused(why)
        moves = observed.relaid is not None and observed.relaid.moves_entries
        stays = not inner_differences(desired, observed, self.meta) and not moves
        if desired.outer is not None and stays:
            # Not by digests: these are computed by the outer keys of the spec, which the live map may not have.
            blocks = self.live_maps.old_blocks(desired, self.observed, slots_to_read(desired, observed))
            change = compared(desired, observed, blocks, self.shared, why, self.own)
            self._report_rest()
            rest = Migrated(shape, None, outer, problems=tuple(self.problems), unfit=self.unfit)
            return replace(change, migrated=rest)
        if shape is None:  # no slot is occupied
            return created(desired, self.observed, why)
        converted = types.entries(shape)
        if converted is None or self.problems:
            return self._refused(why)
        return self._compared(why, observed, shape, converted, outer)

    def _refused(self, why: str) -> MapChange:
        """A change that apply refuses: of the map as a whole."""
        lost = Migrated(self.observed.entry_shape, problems=tuple(self.problems))
        return replace(created(self.desired, self.observed, why), migrated=lost)

    def _problem(self, what: str, hint: str = "", override: str = "", address: str = "", *, id: str) -> None:
        self.problems.append(MigrationProblem(id, address or self.desired.name, what, hint, override))

    def _compared(
        self, why: str, observed: ObservedMap, shape: MapShape, converted: EntryReshaping, outer: Reshaping | None
    ) -> MapChange:
        desired = with_kept_slots(replace(self.desired, on_replace=OnReplace.COPY), observed)
        view = as_bytes(desired, self.observed, shape)
        depth = np.full(len(observed.slots.inner_ids), Depth.ENTRIES, np.uint8)
        wanted = desired_slots(desired, observed)
        raw = self.live_maps.old_blocks(view, self.observed, depth)
        blocks = (self._converted(block, desired, wanted, converted) for block in raw)
        change = compared(desired, observed, blocks, self.shared, why, self.own)
        slots = change.slots
        both = (slots.desired >= 0) & (slots.observed >= 0)
        slots.action[both] = Action.REPLACE
        slots.reason[both] = Reason.TEMPLATE
        if desired.outer is not None:
            kept = np.flatnonzero(both & (desired.slots.max_entries[slots.desired] == 0))
            desired.slots.max_entries[slots.desired[kept]] = np.maximum(slots.capacity_before[kept], 1)
        carried = self.entries - int(slots.deletes.sum())
        self._report_rest()
        problems = tuple(self.problems)
        done = Migrated(shape, converted, outer, carried, problems=problems, unfit=self.unfit)
        return replace(change, action=Action.REPLACE, reason=why, resized=False, migrated=done)

    def _converted(
        self, block: ObservedBlock, desired: DesiredMap, wanted: Index, converted: EntryReshaping
    ) -> ObservedBlock:
        """A block in the new layout, without the entries whose key does not fit."""
        old = block.entries
        rows = entry_table.slices(old.starts, old.counts)
        slot = np.repeat(np.arange(block.first, block.last, dtype=np.int64), old.counts)
        keys = converted.keys(old.keys.take(rows, axis=0))
        values = converted.values(old.values.take(rows, axis=0))
        new_keys = desired.key.normalise(keys.rows)
        fits = np.ones(len(rows), np.bool_)
        staying = Staying(desired, wanted, slot, new_keys)
        for misfit in keys.misfits:
            fits[misfit.rows] = False
            self._misfit(misfit, staying.without_key(misfit.rows), desired, wanted, slot, old.keys[rows], None)
        if desired.entry_shape.is_array:
            self._beyond(desired, block, fits, staying, new_keys, wanted, slot)
        for misfit in values.misfits:
            stay = staying.of_member(misfit.rows, misfit.member)
            self._misfit(misfit, stay, desired, wanted, slot, old.keys[rows], new_keys)
        for lost in keys.lost:
            self._lose("key", lost.member, staying.of(lost.rows))
        for lost in values.lost:
            self._lose("value", lost.member, staying.of_member(lost.rows, lost.member))
        self._collisions(converted, slot, new_keys, desired, staying, fits)
        mask = desired.value.mask()
        held = np.flatnonzero(fits)
        self.entries += len(held)
        counts = np.bincount(slot[held] - block.first, minlength=len(old.counts)).astype(np.int64)
        table = EntryTable(np.cumsum(counts) - counts, counts, new_keys[held], values.rows[held] & mask)
        return replace(block, entries=table)

    def _lose(self, part: str, member: str, rows: Index) -> None:
        if len(rows):
            self.lost[part, member] = self.lost.get((part, member), 0) + len(rows)

    def _misfit(
        self,
        misfit: Misfit,
        rows: Index,
        desired: DesiredMap,
        wanted: Index,
        slot: Index,
        old_keys: Bytes,
        new_keys: Bytes | None,
    ) -> None:
        kind = desired.key if new_keys is None else desired.value
        for row in self._reported(rows).tolist():
            at = int(wanted[slot[row]])
            key = str(HIDDEN) if desired.key.sensitive else f"0x{old_keys[row].tobytes().hex()}"
            if new_keys is not None:
                key = _shown(desired, new_keys[row])
            shown = misfit.shown.get(row, "its value") if not kind.sensitive else "its value"
            member = "" if misfit.member == "value" else f"member `{misfit.member}`: "
            hint = "change the entry or use a wider type; `migrate: drop` discards all entries"
            address = f"{_slot_address(desired, at)}[{key}]"
            self._problem(f"{member}{shown} does not fit {misfit.word}", hint, address=address, id="migrate-value")

    def _beyond(
        self,
        desired: DesiredMap,
        block: ObservedBlock,
        fits: NDArray[np.bool_],
        staying: Staying,
        keys: Bytes,
        wanted: Index,
        slot: Index,
    ) -> None:
        """Entries of a hash whose key is no index of the new array; that of a slot that is kept has the same room."""
        room = entry_table.take(desired.slots.max_entries, wanted[block.first : block.last], 0)
        capacity = np.where(room == 0, block.max_entries, room)[slot - block.first]
        index = entry_table.as_indexes(np.ascontiguousarray(keys), desired.key.number_order or "little")
        beyond = np.flatnonzero(fits & (index >= capacity))
        fits[beyond] = False
        for row in self._reported(staying.unlisted_rows(beyond)).tolist():
            what = f"the key is not an index of the new array: max_entries is {capacity[row]:,}"
            address = f"{_slot_address(desired, staying.owner(row))}[{_shown(desired, keys[row])}]"
            self._problem(what, "raise max_entries, or delete the entry", address=address, id="migrate-value")

    def _reported(self, rows: Index) -> Index:
        """Those of the rows that are reported one by one; the others are counted."""
        shown = rows[: max(0, _REPORTED - len(self.problems))]
        self.more += len(rows) - len(shown)
        return shown

    def _report_rest(self) -> None:
        """What was counted block by block."""
        if self.more:
            what = f"{plural(self.more, 'more entry', 'more entries')} cannot be carried over"
            self._problem(what, "see those that are listed", id="migrate-value")
        for (part, member), count in self.lost.items():
            where = plural(count, "slot") if part == "outer key" else plural(count, "entry", "entries")
            what = f"the new {part} has no member `{member}`: its value in {where} would be lost"
            hint = f"write `migrate: {{rename: {{{member}: NEW}}}}`"
            if member in (self.policy.key_constants if part == "key" else self.policy.value_constants).members:
                what = f"`set` gives member `{member}` a new value: the live one in {where} would be lost"
                hint = "remove the member from `set`"
            self._problem(what, hint, "--allow-recreate", id="migrate-loss")

    def _collisions(
        self,
        converted: EntryReshaping,
        slot: Index,
        keys: Bytes,
        desired: DesiredMap,
        staying: Staying,
        fits: NDArray[np.bool_],
    ) -> None:
        """Keys that were different, and are the same without the members that the new key does not have."""
        if converted.key.is_identity or not converted.key.drops_members:
            return
        held = np.flatnonzero(fits)
        order = held[entry_table.sort_by_slot(slot[held], keys[held])]
        _, second = entry_table.duplicates(slot[order], keys[order])
        again = order[second]
        fits[again] = False
        for row in self._reported(staying.of_member(again, "")).tolist():
            address = f"{_slot_address(desired, staying.owner(row))}[{_shown(desired, keys[row])}]"
            what = "two live entries have the same key in the new layout"
            self._problem(
                what, "delete one of them, or keep the members of the key", address=address, id="migrate-value"
            )

    def _unfit(self, rows: Index) -> Unfit:
        """Slots of the live map that are deleted, with the numbers of their entries."""
        desired, observed = self.desired, self.observed
        counts = np.zeros(len(observed.slots.keys), np.int64)
        shape = observed.entry_shape
        if shape is not None and shape.is_listable:
            depth = np.full(len(counts), Depth.NOTHING, np.uint8)
            depth[rows] = Depth.ENTRIES
            for block in self.live_maps.old_blocks(as_bytes(desired, observed, shape), observed, depth):
                counts[block.first : block.last] = block.entries.counts
        return Unfit(
            tuple(old_address(desired, observed.slots.keys[row]) for row in rows.tolist()),
            tuple(observed.slots.inner_ids[rows].tolist()),
            tuple(counts[rows].tolist()),
        )


def _shown(desired: DesiredMap, key: Bytes) -> str:
    return format_value(desired.key.conceal(desired.key.decode(key[np.newaxis])[0]))


def _slot_address(desired: DesiredMap, slot: int) -> str:
    if desired.outer is None or slot < 0:
        return desired.name
    kind = desired.outer.key
    return f"{desired.name}[{format_value(kind.conceal(kind.decode(desired.slots.keys[slot : slot + 1])[0]))}]"
