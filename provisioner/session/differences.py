"""The plan of what is pending in a session: the touched parts, compared, ordered and judged as any plan is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError, Problem
from provisioner.model.moved import Moves
from provisioner.model.observed import ObservedMap, ObservedState
from provisioner.model.pins import map_path
from provisioner.model.uapi import LRU_TYPES
from provisioner.observed.asked import Asked, AskedSource
from provisioner.observed.observe import LiveReader
from provisioner.planning.changes import Action, Beyond, MapChange
from provisioner.planning.diff import diff_map
from provisioner.planning.diff_slots import slots_to_read
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan, make_plan
from provisioner.planning.second_look import look as look_again
from provisioner.planning.steps import RecordMeta, Step
from provisioner.planning.targets import Targets
from provisioner.session.known import KnownMap, KnownPart, SlotKey
from provisioner.session.touched import look


class Knowledge(msgspec.Struct, frozen=True):
    """What a session knows: the state after its last full comparison, and each map since.

    `shared` are inner maps that are in more than one slot: they are never written in place for one of them.
    """

    desired: DesiredState
    observed: ObservedState
    maps: Mapping[str, KnownMap]
    shared: frozenset[int]
    source: AskedSource

    @property
    def touched(self) -> list[KnownMap]:
        return [known for known in self.maps.values() if known.pending]


def plan(knows: Knowledge, overrides: Overrides, revision: str = "") -> Plan:
    """The plan that does what is pending. Raises UnknownStateError where live maps are not what the session left.

    `revision` is that of the files, where all that they ask for is live afterwards: it is recorded.
    """
    changes = [_change(knows, each, left=True) for each in knows.touched]
    part = replace(knows.desired, maps={change.name: change.desired for change in changes}, objects={})
    live = {change.name: change.observed for change in changes if change.observed is not None}
    seen = replace(knows.observed, maps=live, object_maps={}, other_pins=(), leftovers=(), unpinned={}, directories=())
    seen = replace(seen, misplaced_pins=(), moves=Moves(), stored=None)
    limits = Targets(frozenset(part.maps), (), frozenset())
    made = make_plan(part, seen, changes, (), (), overrides, limits)
    return replace(made, steps=tuple(_with_revision(step, revision) for step in made.steps)) if revision else made


def _with_revision(step: Step, revision: str) -> Step:
    return RecordMeta(replace(step.meta, revision=revision)) if isinstance(step, RecordMeta) else step


def still_different(knows: Knowledge) -> tuple[list[MapChange], tuple[Problem, ...]]:
    """What is live of that which was pending, compared once more: all of it should be unchanged."""
    changes = [_change(knows, each, left=False) for each in knows.touched]
    what, hint = "still differs after the apply", "another process may write to it"
    differs = [change.name for change in changes if change.action is not Action.UNCHANGED]
    return changes, tuple(Problem(what, hint=hint, address=name, id="not-converged") for name in differs)


def _change(knows: Knowledge, known: KnownMap, *, left: bool) -> MapChange:
    whole = known.whole_slots()
    while True:
        part = known.part(whole)
        change = _compared(knows, known, part, left=left)
        replaced = _replaced(change, part)
        if not replaced:
            return _with_the_rest(change, known, part)
        whole |= replaced  # a new inner map needs all entries, and not just those that change


def _compared(knows: Knowledge, known: KnownMap, part: KnownPart, *, left: bool) -> MapChange:
    path = map_path(knows.desired, known.desired)
    live = look(knows.source, path, known, part.keys, left=left)
    knows.source.asked = _asked(str(path), known, part, live)
    reader, wanted = LiveReader(knows.desired, knows.source), part.desired
    blocks = reader.blocks(wanted, live, slots_to_read(wanted, live))
    return look_again(diff_map(wanted, live, blocks, knows.observed.meta, knows.shared), reader)


def _asked(pin: str, known: KnownMap, part: KnownPart, live: ObservedMap) -> Asked:
    """The keys to look up, by what the reader opens a map by."""
    if known.desired.outer is None:
        return {(pin, None): part.asked[b""]} if part.asked else {}
    ids = live.slots.inner_ids.tolist()
    numbers = {key.tobytes(): number for key, number in zip(live.slots.keys, ids, strict=True)}
    return {(pin, numbers[slot]): asked for slot, asked in part.asked.items() if slot in numbers}


def _replaced(change: MapChange, part: KnownPart) -> set[SlotKey]:
    """Slots of which some keys were compared, and that get a new inner map, or one at all."""
    if change.desired.outer is None or not part.asked:
        return set()
    new = change.slots.is_any(Action.CREATE, Action.REPLACE)
    return {key.tobytes() for key in change.slots.keys[new]} & part.asked.keys()


def _with_the_rest(change: MapChange, known: KnownMap, part: KnownPart) -> MapChange:
    """The change, with the figures of what is live and was not compared: limits and room depend on it."""
    slots = change.slots
    compared = slots.unchanged + slots.updates + slots.deletes
    keys = [key.tobytes() for key in slots.keys]
    rest = np.array([known.count(key) if key in part.asked else 0 for key in keys], np.int64)
    if not change.desired.entry_shape.is_array:
        slots.others[:] += np.maximum(rest - compared, 0)
        _refuse_too_many(change, known)
    live = len(known.ids) if known.desired.outer is not None else 1
    beyond = Beyond(max(0, live - int((slots.observed >= 0).sum())), max(0, known.entries - int(compared.sum())))
    return replace(change, beyond=beyond)


def _refuse_too_many(change: MapChange, known: KnownMap) -> None:
    """Raise InputError, as for a spec, where more entries are wanted than an inner map has room for."""
    desired, slots = change.desired, change.slots
    if desired.entry_shape.map_type in LRU_TYPES:
        return
    wanted = slots.unchanged + slots.updates + slots.inserts + slots.others
    capacity = np.zeros(len(wanted), np.int64)
    there = slots.desired >= 0
    capacity[there] = desired.slots.max_entries[slots.desired[there]]
    rows = np.flatnonzero(there & (slots.inserts > 0) & (wanted > capacity))
    if len(rows):
        raise InputError(
            *(
                Problem(
                    f"the map would have {int(wanted[row]):,} entries, and max_entries is {int(capacity[row]):,}",
                    hint="delete entries, or raise max_entries",
                    address=known.address(slots.keys[row].tobytes()),
                    id="too-many-entries",
                )
                for row in rows[:20].tolist()
            )
        )
