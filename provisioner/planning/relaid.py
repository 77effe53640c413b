"""Entries whose layout changed and whose size did not: the shape of the map does not show it. Pure.

The kernel compares sizes. A member that moves within them, or becomes another one, is seen by the types alone: those of
the spec against those in the record of the last apply, and those of an object file against the BTF of its live maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from msgspec.structs import replace

from provisioner.codec.btf import BtfTypes
from provisioner.codec.build import Builder
from provisioner.codec.layout_differences import differences
from provisioner.codec.layouts import btf_layout, layout_of
from provisioner.codec.recorded import recorded
from provisioner.codec.reshape_match import reshaping
from provisioner.language.recorded_types import read_recorded
from provisioner.model import entry_table
from provisioner.model.desired import EXACT, DesiredMap, DesiredState
from provisioner.model.errors import InputError, Problems
from provisioner.model.host import ByteOrder
from provisioner.model.observed import ObservedMap, ObservedState
from provisioner.model.record import Meta, RecordedTypes
from provisioner.model.type_layout import EntryLayout, Relaid, TypeLayout
from provisioner.model.words import plural
from provisioner.observed.sources import Depth, LiveMaps
from provisioner.planning.changes import Action, MapChange, ObjectChange, Reinterpreted
from provisioner.planning.diff_slots import kept_slots
from provisioner.planning.hazards import Hazard, Severity, listed
from provisioner.planning.migrate_slots import Staying, desired_slots, with_kept_slots
from provisioner.planning.raw_view import as_bytes


def with_relaid(desired: DesiredState, observed: ObservedState) -> ObservedState:
    """The live state, in which each map says whether its entries are in another layout than the spec's."""
    relaid_maps = {
        name: relaid
        for name, declared in desired.maps.items()
        if name in observed.maps and (relaid := _relaid(declared, observed, desired.host.byteorder)) is not None
    }
    if not relaid_maps:
        return observed
    return replace(
        observed,
        maps={name: replace(live, relaid=relaid_maps.get(name)) for name, live in observed.maps.items()},
        object_maps={name: replace(live, relaid=relaid_maps.get(name)) for name, live in observed.object_maps.items()},
    )


def _relaid(desired: DesiredMap, observed: ObservedState, byteorder: ByteOrder) -> Relaid | None:
    """How the layout of a live map differs; None if it does not, or if no entry depends on it."""
    live, meta = observed.maps[desired.name], observed.meta
    types = recorded_types(desired, live.id, meta)
    if types is None or desired.adopted is not None or desired.is_generational:
        return None
    if live.shape.is_outer != (desired.outer is not None) or live.shape.key_size != desired.shape.key_size:
        return None
    outer_key = desired.outer.key if desired.outer is not None else None
    if not _holds_others(desired, observed) or types == recorded(outer_key, desired.key, desired.value):
        return None
    before = recorded_layout(types, byteorder)
    if before is None or live.entry_shape is None:
        return None
    sizes = before.key.size, before.value.size
    if sizes != (live.entry_shape.key_size, live.entry_shape.value_size):
        return None
    rename = desired.migration.rename if desired.migration is not None else {}
    words, moving = list[str](), set[str]()
    for part, old, new in (
        ("key", before.key, layout_of(desired.key)),
        ("value", before.value, layout_of(desired.value)),
        ("outer key", before.outer, layout_of(outer_key) if outer_key is not None else None),
    ):
        if old is not None and new is not None and old.size == new.size:
            words += [f"{part}: {word}" for word in differences(old, new, rename)]
            moving |= {part} if _moves(old, new, rename) else set()
    return Relaid(before, tuple(words), bool(moving), bool(moving - {"outer key"})) if words else None


def recorded_types(desired: DesiredMap, number: int, meta: Meta | None) -> RecordedTypes | None:
    """The recorded types of this very map: one that is newer than the record has the types of the spec already."""
    if meta is None or meta.maps.get(desired.name, number) != number:
        return None
    return meta.types.get(desired.name)


def recorded_layout(types: RecordedTypes, byteorder: ByteOrder) -> EntryLayout | None:
    """The layouts of recorded types; None where the record does not have them."""
    read = read_recorded(types)
    if read is None:
        return None
    problems = Problems()
    builder = Builder(read.types, byteorder=byteorder, problems=problems)
    key, value, outer = (
        builder.build(expr) if expr is not None else None for expr in (read.key, read.value, read.outer_key)
    )
    if key is None or value is None or len(problems):
        return None
    return EntryLayout(layout_of(key), layout_of(value), layout_of(outer) if outer is not None else None)


def _holds_others(desired: DesiredMap, observed: ObservedState) -> bool:
    """Whether a live map holds entries that the spec does not list: it writes those that it lists."""
    if desired.hold_others().any():
        return True
    return desired.outer is not None and len(kept_slots(desired, observed.maps[desired.name])) > 0


def _moves(old: TypeLayout, new: TypeLayout, rename: Mapping[str, str]) -> bool:
    made, impossible = reshaping(old, new, rename, is_ordered=True)
    return bool(impossible) or not made.keeps_bytes


def reinterpreted(change: MapChange, live_maps: LiveMaps) -> MapChange:
    """The change of a map that stays, with the entries that keep their bytes although their layout changed."""
    live = change.observed
    if live is None or live.relaid is None or change.action is Action.REPLACE:
        return change
    left = Reinterpreted(live.relaid.words, _others(change, live, live_maps), live.relaid.moves)
    return replace(change, reinterpreted=left)


def _others(change: MapChange, live: ObservedMap, live_maps: LiveMaps) -> int | None:
    """How many live entries the spec does not list, or owns in part, and leaves; None where they cannot be listed."""
    if live.entry_shape is None or not live.entry_shape.is_listable:
        return None
    desired = with_kept_slots(change.desired, live)
    wanted = desired_slots(desired, live)
    contents = entry_table.take(desired.slots.contents, wanted, EXACT)
    members = desired.value.owns_part  # of each entry, also of those that the spec lists
    others = (wanted >= 0) & ((contents != EXACT) | bool(desired.owned) | members)
    depth = np.where(others, Depth.ENTRIES, Depth.NOTHING).astype(np.uint8)
    view, count = as_bytes(desired, live, live.entry_shape), 0
    try:
        for block in live_maps.old_blocks(view, live, depth):
            slot = np.repeat(np.arange(block.first, block.last, dtype=np.int64), block.entries.counts)
            keys = desired.key.normalise(block.entries.keys)
            rows = np.arange(len(slot), dtype=np.int64)
            count += len(Staying(desired, wanted, slot, keys).of_member(rows, ""))
    except InputError:
        return None
    return count


def of_object(
    change: ObjectChange, desired: DesiredState, observed: ObservedState, live_maps: LiveMaps
) -> ObjectChange:
    """The change of an object that is loaded again, with the maps that it carries over and has in another layout."""
    types = change.desired.types
    if change.action is not Action.UPDATE or types is None:
        return change
    reinterpreted = []
    for name in change.carried:
        live = observed.object_maps.get(name)
        known = name in types.ids and live is not None and not live.shape.is_outer and live.relaid is None
        before = live_maps.object_layout(name) if known else None
        after = btf_layout(BtfTypes(types.btf), *types.ids[name]) if before is not None else None
        if before is None or after is None:
            continue
        words = [f"key: {word}" for word in differences(before.key, after.key)]
        words += [f"value: {word}" for word in differences(before.value, after.value)]
        declared = desired.maps.get(name)
        if words and (declared is None or declared.holds_others(0)):
            reinterpreted.append((name, Reinterpreted(tuple(words), live_maps.object_entries(name))))
    return replace(change, reinterpreted=tuple(reinterpreted)) if reinterpreted else change


def hazards(maps: Iterable[MapChange], objects: Iterable[ObjectChange]) -> Iterator[Hazard]:
    """Live entries that keep their bytes, which mean something else from now on."""
    pairs = [pair for change in objects for pair in change.reinterpreted]
    pairs += [(change.name, change.reinterpreted) for change in maps if change.reinterpreted is not None]
    for name, each in pairs:
        if each.entries != 0:
            count = "its entries" if each.entries is None else plural(each.entries, "entry", "entries")
            verb = "keeps" if each.entries == 1 else "keep"
            what = f"members changed and the size did not ({listed(each.words)})"
            kept = f"{count} {verb} the bytes of the old layout"
            hint = "; `migrate` converts them" if each.migrates else ""
            yield Hazard("entries-reinterpreted", Severity.DANGER, name, f"{what}: {kept}{hint}")
