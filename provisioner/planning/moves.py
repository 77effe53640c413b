"""What a plan does and refuses of the names that changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from provisioner.model.desired import DesiredState
from provisioner.model.moved import PendingSlot
from provisioner.model.observed import ObservedMap, ObservedState
from provisioner.planning.changes import MapChange
from provisioner.planning.hazards import Overrides, Refusal, listed
from provisioner.planning.steps import MovePins, MoveRoot, MoveSlots


def root_steps(observed: ObservedState) -> tuple[MoveRoot, ...]:
    """The first step of all, if the pin root is not moved yet: then all else is where the spec has it."""
    move = observed.moves.root
    return () if move is None else (MoveRoot(move.old, move.new),)


def steps(observed: ObservedState) -> list[MovePins | MoveSlots]:
    """The steps that make the moves; none if all are done. The first also stands for names in the record alone."""
    moves = observed.moves
    names: list[MovePins | MoveSlots] = [MovePins(moves.pending)] if moves.pending else []
    by_map: dict[str, list[PendingSlot]] = {}
    for slot in moves.slots:
        by_map.setdefault(slot.move.map, []).append(slot)
    for name, slots in sorted(by_map.items()):
        written_first = tuple(sorted(slots, key=lambda slot: not slot.is_written))
        names.append(MoveSlots(name, written_first, max(1, _room(observed.maps[name]))))
    return names


def _room(live: ObservedMap) -> int:
    """How many more slots a live map takes."""
    taken = 0 if live.shape.is_array else len(live.slots.inner_ids)
    return live.shape.max_entries - taken


def refusals(observed: ObservedState, overrides: Overrides) -> Iterator[Refusal]:
    """Moves that would put one live thing in the place of another, or take what is not the project's."""
    yield from _root_refusals(observed)
    for move in observed.moves.conflicts:
        what = f"the spec moves `{move.old}` to `{move.new}`, and both are live"
        hint = "delete the one that is not in use, or the entry of `moved`"
        yield Refusal("moved-both-live", move.new, what, "", move.where, hint)
    for name, move in {slot.move.map: slot.move.move for slot in observed.moves.slots}.items():
        if observed.maps[name].frozen:
            hint = "remove the entry of `moved`: then the map is recreated"
            yield Refusal("frozen", name, "the map is frozen, and no slot of it can be written", "", move.where, hint)
    moved = {slot.move.map: slot.move.move for slot in observed.moves.slots if not slot.is_written}
    for name, move in moved.items():
        if _room(observed.maps[name]) < 1:
            what = "the map is full, and a slot that is moved takes two for a moment"
            hint = "raise `max_entries`, or delete a slot, in an apply of its own"
            yield Refusal("no-room", name, what, "", move.where, hint)
    for each in observed.moves.pending:
        if not each.is_ours and not overrides.take_over:
            what = f"no record says that this project pinned `{each.move.old}`, which the spec moves"
            yield Refusal("ownership", each.move.new, what, "--take-over", each.move.where)


def converted(desired: DesiredState, maps: Iterable[MapChange]) -> Iterator[Refusal]:
    """Slots that move while the keys of their outer map are converted: they are looked for by the new bytes."""
    by_name = {change.name: change for change in maps}
    for slot in desired.moved_slots:
        change = by_name.get(slot.map)
        if change is None or change.observed is None or change.migrated is None or change.migrated.outer is None:
            continue
        keys = change.observed.slots.keys  # converted
        if (keys == np.frombuffer(slot.old, np.uint8)).all(axis=1).any():
            what = f"`{slot.move.old}` moves while the outer keys change, and would not be found"
            hint = "move the slots in an apply of its own, before the key changes"
            yield Refusal("moved-key-changes", slot.move.new, what, "", slot.move.where, hint)


def _root_refusals(observed: ObservedState) -> Iterator[Refusal]:
    """What is in a pin root that moves, and not the project's: it would move too."""
    move = observed.moves.root
    if move is None:
        return
    for rule, what, names in (
        ("foreign-pins", "pins", observed.foreign_pins),
        ("foreign-directories", "directories", observed.directories),
    ):
        if names:
            text = f"{move.old}, which the spec moves, has {what} that are not the project's: {listed(names)}"
            yield Refusal(rule, move.new, text, "", move.where, "move or remove them")
