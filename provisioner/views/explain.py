"""One address explained: which line wants it, its bytes, what is live, and what would be done and why."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from provisioner.codec.display import LONG, display
from provisioner.model import address
from provisioner.model.address import Address, Place
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.spec import Contents
from provisioner.model.types import HIDDEN, Bytes, Type
from provisioner.model.words import plural
from provisioner.observed import observe
from provisioner.observed.snapshot import Snapshot
from provisioner.observed.sources import Depth
from provisioner.planning.changes import Action, EntryAction
from provisioner.planning.plan import Plan
from provisioner.report.model import Fact
from provisioner.views import explain_programs as programs
from provisioner.views.entry_nodes import plain_values
from provisioner.views.fact import DONE, decided_by, doing, to_do, wanted_by
from provisioner.views.map_nodes import slot_reason, what_it_is


def subject(parsed: Address, desired: DesiredState) -> Place | programs.Named:
    """What an address names: a place in a map, or an object or program. Raises InputError where it names nothing."""
    named = None if parsed.name in desired.maps else programs.named(parsed, desired)
    return named if named is not None else address.find(parsed, desired)


def explain(plan: Plan, subject: Place | programs.Named, against: Snapshot | None = None) -> tuple[Fact, ...]:
    """What `plan`, made against the live state or a snapshot, says about its subject."""
    if isinstance(subject, Place):
        return tuple(_Explainer(plan, subject, against).facts())
    return tuple(programs.facts(subject, plan))


class _Explainer:
    def __init__(self, plan: Plan, place: Place, source: Snapshot | None) -> None:
        self._plan = plan
        self._place = place
        self._source = source
        self._one = place.map
        self._change = plan.maps[place.map.name]

    def facts(self) -> Iterator[Fact]:
        yield Fact("map", what_it_is(self._one), {"kind": self._kind(), "map": what_it_is(self._one)})
        if self._place.slot is None or (self._one.outer is None and self._place.entry is None):
            yield from self._map()
            return
        row = _row(self._change.slots.keys, self._place.slot)
        if self._place.entry is None:
            yield from self._slot(row)
        else:
            yield from self._entry(row, self._place.entry)

    def _kind(self) -> str:
        if self._place.entry is not None:
            return "entry"
        if self._one.outer is None:
            return "map"
        return "outer_map" if self._place.slot is None else "inner_map"

    # --- the three kinds of places --------------------------------------------------------------------------------

    def _map(self) -> Iterator[Fact]:
        one, change = self._one, self._change
        yield wanted_by(one.where)
        yield from decided_by(one.sources.overlays.fields(one.where))
        live = change.observed
        if live is None:
            yield Fact("live", "not there", {"live": None})
        else:
            yield Fact("live", f"id {live.id}", {"live": {"id": live.id, "max_entries": live.shape.max_entries}})
        yield to_do(change.action, change.reason)

    def _slot(self, row: int) -> Iterator[Fact]:
        one, change = self._one, self._change
        assert one.outer is not None and self._place.slot is not None
        yield _key(one.outer.key, self._place.slot)
        wanted = int(change.slots.desired[row]) if row >= 0 else -1
        if wanted < 0:
            yield wanted_by(None)
        else:
            yield wanted_by(place := one.slots.places[wanted])
            yield from decided_by(one.sources.overlays.fields(place))
            yield _contents(one, wanted)
        yield self._live_slot(row, "live")
        yield to_do(self._slot_action(row), slot_reason(change, row)) if row >= 0 else doing("nothing", None)

    def _entry(self, row: int, key: Bytes) -> Iterator[Fact]:
        one, change = self._one, self._change
        yield _key(one.key, key)
        wanted = _desired_row(one, int(change.slots.desired[row]) if row >= 0 else -1, key)
        if wanted < 0:
            yield wanted_by(None)
        else:
            yield wanted_by(one.sources.where(wanted))
            yield _value("wanted", one.value, one.entries.values[wanted])
        if one.outer is not None:
            yield self._live_slot(row, "live_slot")
        live = self._live_value(row, key)
        yield Fact("live", "not there", {"live": None}) if live is None else _value("live", one.value, live)
        yield self._entry_to_do(row, wanted, key, live)

    # --- what is live, and what becomes of it ---------------------------------------------------------------------

    def _live_slot(self, row: int, name: str) -> Fact:
        number = int(self._change.slots.observed[row]) if row >= 0 else -1
        if number < 0 or self._change.observed is None:
            return Fact("live slot", "empty", {name: None})
        inner_id = int(self._change.observed.slots.inner_ids[number])
        capacity = int(self._change.slots.capacity_before[row])
        room = f", max_entries {capacity}" if capacity else ""
        found = {"id": inner_id, "max_entries": capacity or None}
        return Fact("live slot", f"inner map id {inner_id}{room}", {name: found})

    def _live_value(self, row: int, key: Bytes) -> Bytes | None:
        """The live value of a key; an array's is zero where nobody wrote it."""
        live, one = self._change.observed, self._one
        number = int(self._change.slots.observed[row]) if row >= 0 else -1
        if live is None or number < 0 or self._change.action is Action.REPLACE or not one.entry_shape.is_listable:
            return None
        depth = np.full(len(live.slots.inner_ids), Depth.NOTHING, np.uint8)
        depth[number] = Depth.ENTRIES
        for block in observe.LiveReader(self._plan.desired, self._source).blocks(one, live, depth):
            keys, values = block.entries.slot(0)
            at = _row(keys, key)
            if at >= 0:
                found: Bytes = values[at]
                return found
        return np.zeros(one.value.size, np.uint8) if one.entry_shape.is_array else None

    def _slot_action(self, row: int) -> Action:
        return Action(int(self._change.slots.action[row]))

    def _entry_to_do(self, row: int, wanted: int, key: Bytes, live: Bytes | None) -> Fact:
        if row < 0:
            return doing("nothing", None)
        action, reason = self._slot_action(row), slot_reason(self._change, row)
        match action:
            case Action.CREATE | Action.DELETE:
                text = f"{DONE[action]} its inner map: {reason}" if self._one.outer is not None else DONE[action]
                return doing(text, action.name.lower(), reason)
            case Action.KEEP:
                return doing(f"{DONE[action]}: {reason}", None, reason)
            case _:
                own = self._change.entries.of_slot(row)
                at = _row(own.keys, key)
        if at >= 0:
            verb = EntryAction(int(own.action[at])).name.lower()
            how = "in place" if action is Action.UPDATE else f"in a new inner map: {reason}"
            return doing(f"{verb} it, {how}", verb, reason)
        if wanted < 0 and live is not None and live.any():
            return doing("nothing: the entry is not the spec's", None)
        return doing("nothing: it is as the spec wants it" if wanted >= 0 else "nothing", None)


def _row(keys: Bytes, key: Bytes) -> int:
    """The first row that is `key`; -1 if none is."""
    found = np.flatnonzero((keys == key).all(axis=1))
    return int(found[0]) if len(found) else -1


def _desired_row(one: DesiredMap, slot: int, key: Bytes) -> int:
    if slot < 0:
        return -1
    keys, _ = one.entries.slot(slot)
    at = _row(keys, key)
    return int(one.entries.starts[slot]) + at if at >= 0 else -1


def _contents(one: DesiredMap, slot: int) -> Fact:
    policy = one.slots.policy(slot)
    count = int(one.entries.counts[slot])
    share = int(one.slots.shared[slot])
    shared = one.outer.shared_names[share] if one.outer is not None and share >= 0 else None
    room = int(one.slots.max_entries[slot])
    whose = plural(count, "entry", "entries") + f", {policy.value}"
    said = "the data plane's own entries" if policy is Contents.IGNORE else whose
    text = f"{said}, max_entries {room}" + (f", shared as {shared}" if shared else "")
    data = {"entries": count, "contents": policy.value, "max_entries": room, "shared": shared}
    return Fact("wanted", text, {"wanted": data})


def _key(kind: Type, key: Bytes) -> Fact:
    return Fact("key", _hex(kind, key), {"key_bytes": _bytes(kind, key)})


def _value(label: str, kind: Type, row: Bytes) -> Fact:
    """A value for people, and with all of its bytes for programs."""
    data = {"value": plain_values(kind, row[None, :])[0], "bytes": _bytes(kind, row)}
    return Fact(label, f"{display(kind, row)}  {_hex(kind, row)}", {label: data})


def _bytes(kind: Type, row: Bytes) -> str | None:
    """All bytes in hex; None where they are secret."""
    return None if kind.sensitive else bytes(row).hex()


def _hex(kind: Type, row: Bytes) -> str:
    """The bytes of a key or value, unless they are secret or many."""
    if kind.sensitive:
        return str(HIDDEN)
    shown = bytes(row[:LONG]).hex(" ")
    return f"({shown})" if len(row) <= LONG else f"({shown} ... {len(row):,} bytes)"
