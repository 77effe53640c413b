"""What becomes of the members that other writers own, while ours are written in place. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provisioner.planning.changes import Action, EntryAction, MapChange
from provisioner.planning.hazards import Hazard, Severity


def written_in_place(change: MapChange) -> list[int]:
    """Rows of slots of which some entries are written member by member."""
    if not change.desired.value.owns_part:
        return []
    edits = change.entries
    written = (edits.action == EntryAction.UPDATE) | change.desired.entry_shape.is_array
    rows: list[int] = sorted({int(slot) for slot in edits.slot[written]})
    return [row for row in rows if change.slots.action[row] == Action.UPDATE]


def hazards(maps: Iterable[MapChange]) -> Iterator[Hazard]:
    """A hazard for each map where another writer can lose what it writes, or a reader see members of two versions."""
    for change in maps:
        rows = written_in_place(change)
        if not rows:
            continue
        from provisioner.bytecode.member_program import stores, why_not

        desired = change.desired
        mask = desired.value.owned.mask()
        why = why_not(desired.entry_shape, mask)
        if why:
            yield by_calls(change, rows[0], why)
        elif desired.entry_shape.is_percpu:
            what = (
                "owned members are written CPU by CPU: for a moment, programs on some CPUs see the new ones, and on "
                "others still the old ones"
            )
            yield Hazard("members-not-atomic", Severity.NOTICE, change.slot_address(rows[0]), what)
        elif len(stores(desired.entry_shape, mask)) > 1 and not desired.entry_shape.is_locked:
            what = (
                "owned members are written one by one, for the value has no bpf_spin_lock: for a moment, a reader can "
                "see some of them changed and others not yet"
            )
            yield Hazard("members-not-atomic", Severity.NOTICE, change.slot_address(rows[0]), what)


def by_calls(change: MapChange, row: int, why: str) -> Hazard:
    """The hazard of a map whose members are written by system calls."""
    what = (
        f"owned members are written by system calls ({why}): what another writer writes to other members of the same "
        "entry between the lookup and the write is lost"
    )
    return Hazard("members-by-calls", Severity.NOTICE, change.slot_address(row), what)
