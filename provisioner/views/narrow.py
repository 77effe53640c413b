"""The part of a project that an address is about, so that nothing else is read and compared. Pure."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from provisioner.codec.program_ref import ProgramRef
from provisioner.model import entry_table
from provisioner.model.address import Place
from provisioner.model.desired import DesiredMap, DesiredObject, DesiredState
from provisioner.model.observed import ObservedState
from provisioner.model.types import Bytes
from provisioner.planning.targets import SlotTarget, Targets


def to_place(place: Place, desired: DesiredState, observed: ObservedState) -> tuple[DesiredState, Targets]:
    """The desired state and the targets of a comparison that is enough to show or explain a place."""
    shown = place.map
    if place.entry is not None and shown.entry_shape.is_array:
        only = _with_entry(desired.maps[shown.name], place.entry)
        desired = replace(desired, maps={**desired.maps, shown.name: only})
    if shown.outer is None or place.slot is None or shown.name not in observed.maps:
        return desired, Targets(frozenset({shown.name}), (), frozenset())
    return desired, Targets(frozenset(), (SlotTarget(place.address, shown.name, place.slot),), frozenset())


def to_object(declared: DesiredObject, desired: DesiredState) -> Targets:
    """The targets of a comparison that is enough to explain an object: itself and the prog_arrays that decide on it."""
    arrays = (each.name for each in desired.maps.values() if each.object == declared.name)
    jumps = frozenset(name for name in arrays if isinstance(desired.maps[name].value, ProgramRef))
    return Targets(jumps, (), frozenset({declared.name}))


def _with_entry(array: DesiredMap, key: Bytes) -> DesiredMap:
    """An array with what is desired of one element alone, in each slot."""
    table = array.entries
    chosen = (table.keys == key).all(axis=1)
    before = np.concatenate(([0], np.cumsum(chosen)))
    starts, ends = before[table.starts], before[table.starts + table.counts]
    rows = np.flatnonzero(chosen)
    sources = replace(array.sources, file=array.sources.file[rows], line=array.sources.line[rows])
    entries = entry_table.EntryTable(starts, ends - starts, table.keys[rows], table.values[rows])
    return replace(array, entries=entries, sources=sources)
