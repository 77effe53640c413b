"""What becomes of changes that programs make while the entries of a replaced inner map are copied. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provisioner.model.uapi import MapFlag
from provisioner.planning.changes import MapChange
from provisioner.planning.hazards import Hazard, Severity, replaced_with_others


def hazards(maps: Iterable[MapChange]) -> Iterator[Hazard]:
    """A hazard for each map in which no program can carry changes over."""
    for change in maps:
        rows = replaced_with_others(change)
        if not rows or not is_written(change):
            continue
        from provisioner.bytecode.merge_program import why_not

        why = why_not(change.desired.entry_shape)
        if why:
            yield by_calls(change, rows[0], why)


def is_written(change: MapChange) -> bool:
    """Whether programs can write to new maps to which something is copied: they cannot with BPF_F_RDONLY_PROG."""
    return change.desired.copies_others and not change.desired.entry_shape.map_flags & MapFlag.RDONLY_PROG


def by_calls(change: MapChange, row: int, why: str) -> Hazard:
    """The hazard of a map whose changes are carried over by system calls."""
    what = (
        f"what programs change during the copy is carried over by system calls ({why}): what they write to the same "
        "entry of the new map at that moment can be lost"
    )
    return Hazard("carried-by-calls", Severity.NOTICE, change.slot_address(row), what)
