"""The facts about one address: its line in the spec, its bytes, what is live, and what apply would do and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from provisioner.codec.display import display
from provisioner.codec.long_values import LONG
from provisioner.codec.owned import Owned, member_names
from provisioner.model import address
from provisioner.model.address import Address, Place
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.spec import Contents
from provisioner.model.types import HIDDEN, Bytes, Type
from provisioner.model.words import plural
from provisioner.planning.changes import Action, EntryAction
from provisioner.planning.plan import Plan
from provisioner.report.model import Fact
from provisioner.views import explain_programs as programs
from provisioner.views import indexes, migration
from provisioner.views.entry_nodes import plain_values
from provisioner.views.fact import DONE, decided_by, doing, to_do, wanted_by
from provisioner.views.indexes import row_of
from provisioner.views.map_nodes import slot_reason, what_it_is
from provisioner.views.moment import Moment

_NOTHING: Final = "nothing: it is neither live nor in the spec"
_FIRST: Final = 16
"""The bytes that are printed of a long value, whose members are printed beside them."""

_FOREIGN: Final = "nothing: the spec does not manage this entry"
_ZERO: Final = "nothing: the element is zero, and not in the spec"


def subject(parsed: Address, desired: DesiredState) -> Place | programs.Named:
    """The place in a map, or the object or program, of an address. Raises InputError if it names nothing."""
    named = None if parsed.name in desired.maps else programs.named(parsed, desired)
    return named if named is not None else address.find(parsed, desired)


def place_facts(plan: Plan, place: Place, moment: Moment) -> Iterator[Fact]:
    """The facts about a place, by a plan whose live state was read in `moment`.

    Raises InputError for an index that is out of range.
    """
    return _Explainer(plan, place, moment).facts()


def program_facts(plan: Plan, subject: programs.Named) -> Iterator[Fact]:
    """The facts about an object or program."""
    return programs.facts(subject, plan)


def without_spec(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The facts about what is live, where the spec is not at hand."""
    return tuple(fact for fact in facts if fact.label in ("map", "key", "live", "live slot", "not owned"))


class _Explainer:
    def __init__(self, plan: Plan, place: Place, moment: Moment) -> None:
        self._moves = plan.observed.moves
        self._place = place
        self._moment = moment
        self._change = plan.maps[place.map.name]
        self._desired = self._change.desired

    def facts(self) -> Iterator[Fact]:
        yield Fact("map", what_it_is(self._desired), {"kind": self._kind(), "map": what_it_is(self._desired)})
        yield from self._moved()
        if self._place.slot is None or (self._desired.outer is None and self._place.entry is None):
            yield from self._map()
            return
        indexes.require(self._change, self._place)
        row = row_of(self._change.slots.keys, self._place.slot)
        if self._place.entry is None:
            yield from self._slot(row)
        else:
            yield from self._entry(row, self._place.entry)

    def _moved(self) -> Iterator[Fact]:
        """The address that it still has, if the spec moved it."""
        place = self._place
        olds = [each.move.old for each in self._moves.pending if each.move.new == place.map.name]
        for slot in self._moves.slots:
            if slot.move.map == place.map.name and place.slot is not None and slot.move.new == place.slot.tobytes():
                olds = [slot.move.move.old]
        for old in olds[:1]:
            yield Fact("live as", f"{old}: the next apply moves it", {"moved_from": old})

    def _kind(self) -> str:
        if self._place.entry is not None:
            return "entry"
        if self._desired.outer is None:
            return "map"
        return "outer_map" if self._place.slot is None else "inner_map"

    # --- the three kinds of places --------------------------------------------------------------------------------

    def _map(self) -> Iterator[Fact]:
        desired, change = self._desired, self._change
        yield wanted_by(desired.where)
        yield from decided_by(desired.sources.overlays.fields(desired.where))
        live = change.observed
        if live is None:
            yield Fact("live", "does not exist", {"live": None})
        else:
            yield Fact("live", f"id {live.id}", {"live": {"id": live.id, "max_entries": live.shape.max_entries}})
        yield from _left_to_others(desired.value)
        moved = migration.described(change)
        yield to_do(change.action, f"{change.reason}; {moved}" if moved else change.reason)

    def _slot(self, row: int) -> Iterator[Fact]:
        desired, change = self._desired, self._change
        assert desired.outer is not None and self._place.slot is not None
        yield _key(desired.outer.key, self._place.slot)
        wanted = int(change.slots.desired[row]) if row >= 0 else -1
        if wanted < 0:
            yield wanted_by(None)
        else:
            yield wanted_by(place := desired.slots.places[wanted])
            yield from decided_by(desired.sources.overlays.fields(place))
            yield _contents(desired, wanted)
        yield self._live_slot(row, "live")
        yield (to_do(self._slot_action(row), slot_reason(change, row)) if row >= 0 else doing(_NOTHING, None))

    def _entry(self, row: int, key: Bytes) -> Iterator[Fact]:
        desired, change = self._desired, self._change
        yield _key(desired.key, key)
        wanted = _desired_row(desired, int(change.slots.desired[row]) if row >= 0 else -1, key)
        if wanted < 0:
            yield wanted_by(None)
        else:
            yield wanted_by(desired.sources.where(wanted))
            yield from decided_by({"entry": sources} if (sources := desired.sources.variables.get(wanted)) else {})
            yield _value("wanted", desired.value.owned, desired.owned_part(desired.entries.values[wanted]))
            yield from _left_to_others(desired.value)
        if desired.outer is not None:
            yield self._live_slot(row, "live_slot")
        live = self._live_value(row, key)
        if self._is_migrated:
            yield Fact("live", "in another layout: the plan has what is carried over", {"live": None})
            yield to_do(Action.REPLACE, self._change.reason)
            return
        yield Fact("live", "does not exist", {"live": None}) if live is None else _value("live", desired.value, live)
        yield self._entry_to_do(row, wanted, key, live)

    @property
    def _is_migrated(self) -> bool:
        """Whether live entries have another layout than the spec's."""
        return self._change.migrated is not None and self._change.migrated.is_carried

    # --- the live state and the action ---------------------------------------------------------------------

    def _live_slot(self, row: int, name: str) -> Fact:
        number = int(self._change.slots.observed[row]) if row >= 0 else -1
        if number < 0 or self._change.observed is None:
            return Fact("live slot", "empty", {name: None})
        inner_id = int(self._change.observed.slots.inner_ids[number])
        capacity = int(self._change.slots.capacity_before[row])
        room = f", max_entries {capacity}" if capacity else ""
        live = {"id": inner_id, "max_entries": capacity or None}
        return Fact("live slot", f"inner map id {inner_id}{room}", {name: live})

    def _live_value(self, row: int, key: Bytes) -> Bytes | None:
        """The live value of a key; zero for an element of an array that was never written."""
        live, desired = self._change.observed, self._desired
        number = int(self._change.slots.observed[row]) if row >= 0 else -1
        if live is None or number < 0 or self._change.action is Action.REPLACE or not desired.entry_shape.is_listable:
            return None
        keys, values = self._moment.slot(desired.name, number)
        at = row_of(keys, key)
        if at >= 0:
            value: Bytes = values[at]
            return value
        return np.zeros(desired.value.size, np.uint8) if desired.entry_shape.is_array else None

    def _slot_action(self, row: int) -> Action:
        return Action(int(self._change.slots.action[row]))

    def _entry_to_do(self, row: int, wanted: int, key: Bytes, live: Bytes | None) -> Fact:
        if row < 0:
            return doing(_NOTHING, None)
        action, reason = self._slot_action(row), slot_reason(self._change, row)
        match action:
            case Action.CREATE | Action.DELETE:
                text = f"{DONE[action]} the inner map: {reason}" if self._desired.outer is not None else DONE[action]
                return doing(text, action.name.lower(), reason)
            case Action.KEEP:
                return doing(f"{DONE[action]}: {reason}", None, reason)
            case _:
                own = self._change.entries.of_slot(row)
                at = row_of(own.keys, key)
        if at >= 0:
            verb = EntryAction(int(own.action[at])).name.lower()
            how = "in place" if action is Action.UPDATE else f"in a new inner map: {reason}"
            return doing(f"{verb} {how}", verb, reason)
        if wanted < 0 and live is not None:
            return doing(_FOREIGN if live.any() else _ZERO, None)
        return doing(DONE[Action.UNCHANGED] if wanted >= 0 else _NOTHING, None)


def _desired_row(desired: DesiredMap, slot: int, key: Bytes) -> int:
    if slot < 0:
        return -1
    keys, _ = desired.entries.slot(slot)
    at = row_of(keys, key)
    return int(desired.entries.starts[slot]) + at if at >= 0 else -1


def _contents(desired: DesiredMap, slot: int) -> Fact:
    member = desired.member_of(slot)
    if member is not None:
        return Fact("wanted", f"the object's map {member}", {"wanted": {"object_map": member}})
    policy = desired.slots.policy(slot)
    count = int(desired.entries.counts[slot])
    share = int(desired.slots.shared[slot])
    shared = desired.outer.shared_names[share] if desired.outer is not None and share >= 0 else None
    room = int(desired.slots.max_entries[slot])
    whose = plural(count, "entry", "entries") + f", {policy.value}"
    said = "contents: ignore" if policy is Contents.IGNORE else whose
    text = f"{said}, max_entries {room}" + (f", shared as {shared}" if shared else "")
    data = {"entries": count, "contents": policy.value, "max_entries": room, "shared": shared}
    return Fact("wanted", text, {"wanted": data})


def _left_to_others(kind: Type) -> Iterator[Fact]:
    """The members of a value that other writers own."""
    if isinstance(kind, Owned):
        names = member_names(kind.theirs)
        yield Fact("not owned", ", ".join(names), {"not_owned": list(names)})


def _key(kind: Type, key: Bytes) -> Fact:
    return Fact("key", _hex(kind, key), {"key_bytes": _bytes(kind, key)})


def _value(label: str, kind: Type, row: Bytes) -> Fact:
    """A value for people, and with all its bytes for programs."""
    data = {"value": plain_values(kind, row[None, :])[0], "bytes": _bytes(kind, row)}
    return Fact(label, f"{display(kind, row)}  {_hex(kind, row)}", {label: data})


def _bytes(kind: Type, row: Bytes) -> str | None:
    """All bytes in hex; None if the type is sensitive."""
    return None if kind.sensitive else bytes(row).hex()


def _hex(kind: Type, row: Bytes) -> str:
    """The bytes of a key or value, unless they are sensitive or many."""
    if kind.sensitive:
        return str(HIDDEN)
    if len(row) <= LONG:
        return f"({bytes(row).hex(' ')})"
    return f"({bytes(row[:_FIRST]).hex(' ')} ... {len(row):,} bytes)"
