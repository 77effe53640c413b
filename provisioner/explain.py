"""One address explained: which line wants it, its bytes, what is live, and what would be done and why."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from provisioner import address, api, observe
from provisioner.address import Place
from provisioner.changes import Action, EntryAction, MapChange, Reason
from provisioner.codec.base import Bytes, Type
from provisioner.codec.display import LONG, display
from provisioner.diff import Depth
from provisioner.location import Location
from provisioner.plan import Plan
from provisioner.report.maps import REASONS, what_it_is
from provisioner.snapshot import Snapshot
from provisioner.spec import Contents
from provisioner.state import DesiredMap
from provisioner.words import plural

_HIDDEN = "(sensitive)"
_DONE = {
    Action.UNCHANGED: "nothing: it is as the spec wants it",
    Action.CREATE: "create",
    Action.UPDATE: "change it in place",
    Action.REPLACE: "replace it by a new map",
    Action.DELETE: "delete",
    Action.KEEP: "nothing: it is left alone",
}


class Fact(msgspec.Struct, frozen=True):
    label: str
    text: str


def explain(project: api.Project, text: str, against: Snapshot | None = None) -> tuple[Fact, ...]:
    """What there is to say about an address. Raises InputError for what is no address of this project."""
    place = address.find(address.parse(text), project.desired)
    plan = api.plan(project, against=against or "live")
    return tuple(_Explainer(plan, place, against).facts())


class _Explainer:
    def __init__(self, plan: Plan, place: Place, source: Snapshot | None) -> None:
        self._plan = plan
        self._place = place
        self._source = source
        self._one = place.map
        self._change = plan.maps[place.map.name]

    def facts(self) -> Iterator[Fact]:
        yield Fact("map", what_it_is(self._one))
        if self._place.slot is None or (self._one.outer is None and self._place.entry is None):
            yield from self._map()
            return
        row = _row(self._change.slots.keys, self._place.slot)
        if self._place.entry is None:
            yield from self._slot(row)
        else:
            yield from self._entry(row, self._place.entry)

    # --- the three kinds of places --------------------------------------------------------------------------------

    def _map(self) -> Iterator[Fact]:
        one, change = self._one, self._change
        yield Fact("wanted by", _where(one.where))
        live = change.observed
        yield Fact("live", "not there" if live is None else f"id {live.id}")
        yield Fact("to do", _to_do(change.action, change.reason))

    def _slot(self, row: int) -> Iterator[Fact]:
        one, change = self._one, self._change
        assert one.outer is not None and self._place.slot is not None
        yield Fact("key", _hex(one.outer.key, self._place.slot))
        wanted = int(change.slots.desired[row]) if row >= 0 else -1
        if wanted < 0:
            yield Fact("wanted by", "no line of the spec")
        else:
            yield Fact("wanted by", _where(one.slots.places[wanted]))
            yield Fact("wanted", _contents(one, wanted))
        yield self._live_slot(row)
        if row >= 0:
            yield Fact("to do", _to_do(self._slot_action(row), _reason(change, row)))
        else:
            yield Fact("to do", "nothing")

    def _entry(self, row: int, key: Bytes) -> Iterator[Fact]:
        one, change = self._one, self._change
        yield Fact("key", _hex(one.key, key))
        wanted = _desired_row(one, int(change.slots.desired[row]) if row >= 0 else -1, key)
        if wanted < 0:
            yield Fact("wanted by", "no line of the spec")
        else:
            value = one.entries.values[wanted]
            yield Fact("wanted by", _where(one.sources.where(wanted)))
            yield Fact("wanted", f"{display(one.value, value)}  {_hex(one.value, value)}")
        if one.outer is not None:
            yield self._live_slot(row)
        live = self._live_value(row, key)
        if live is None:
            yield Fact("live", "not there")
        else:
            yield Fact("live", f"{display(one.value, live)}  {_hex(one.value, live)}")
        yield Fact("to do", self._entry_to_do(row, wanted, key, live))

    # --- what is live, and what becomes of it ---------------------------------------------------------------------

    def _live_slot(self, row: int) -> Fact:
        number = int(self._change.slots.observed[row]) if row >= 0 else -1
        if number < 0 or self._change.observed is None:
            return Fact("live slot", "empty")
        capacity = int(self._change.slots.capacity_before[row])
        room = f", max_entries {capacity}" if capacity else ""
        return Fact("live slot", f"inner map id {self._change.observed.slots.inner_ids[number]}{room}")

    def _live_value(self, row: int, key: Bytes) -> Bytes | None:
        """The live value of a key; an array's is zero where nobody wrote it."""
        live, one = self._change.observed, self._one
        number = int(self._change.slots.observed[row]) if row >= 0 else -1
        if live is None or number < 0 or self._change.action is Action.REPLACE or not one.entry_shape.is_listable:
            return None
        depth = np.full(len(live.slots.inner_ids), Depth.NOTHING, np.uint8)
        depth[number] = Depth.ENTRIES
        for block in observe.blocks(self._plan.desired, one, live, depth, self._source):
            keys, values = block.entries.slot(0)
            at = _row(keys, key)
            if at >= 0:
                found: Bytes = values[at]
                return found
        return np.zeros(one.value.size, np.uint8) if one.entry_shape.is_array else None

    def _slot_action(self, row: int) -> Action:
        return Action(int(self._change.slots.action[row]))

    def _entry_to_do(self, row: int, wanted: int, key: Bytes, live: Bytes | None) -> str:
        if row < 0:
            return "nothing"
        action, reason = self._slot_action(row), _reason(self._change, row)
        match action:
            case Action.CREATE | Action.DELETE:
                return f"{_DONE[action]} its inner map: {reason}" if self._one.outer is not None else _DONE[action]
            case Action.KEEP:
                return f"{_DONE[action]}: {reason}"
            case _:
                own = self._change.entries.of_slot(row)
                at = _row(own.keys, key)
        if at >= 0:
            verb = EntryAction(int(own.action[at])).name.lower()
            how = "in place" if action is Action.UPDATE else f"in a new inner map: {reason}"
            return f"{verb} it, {how}"
        if wanted < 0 and live is not None and live.any():
            return "nothing: the entry is not the spec's"
        return "nothing: it is as the spec wants it" if wanted >= 0 else "nothing"


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


def _contents(one: DesiredMap, slot: int) -> str:
    policy = one.slots.policy(slot)
    count = plural(int(one.entries.counts[slot]), "entry", "entries")
    said = "the data plane's own entries" if policy is Contents.IGNORE else f"{count}, {policy.value}"
    share = int(one.slots.shared[slot])
    shared = f", shared as {one.outer.shared_names[share]}" if one.outer is not None and share >= 0 else ""
    return f"{said}, max_entries {one.slots.max_entries[slot]}{shared}"


def _reason(change: MapChange, row: int) -> str:
    reason = Reason(int(change.slots.reason[row]))
    if reason is Reason.CAPACITY and change.desired is not None:
        after = change.desired.slots.max_entries[change.slots.desired[row]]
        return f"max_entries {change.slots.capacity_before[row]} -> {after}"
    return REASONS[reason]


def _to_do(action: Action, reason: str) -> str:
    return f"{_DONE[action]}: {reason}" if reason else _DONE[action]


def _where(where: Location) -> str:
    return where.short() if where.line else where.file


def _hex(kind: Type, row: Bytes) -> str:
    """The bytes of a key or value, unless they are secret or many."""
    if kind.sensitive:
        return _HIDDEN
    shown = bytes(row[:LONG]).hex(" ")
    return f"({shown})" if len(row) <= LONG else f"({shown} ... {len(row):,} bytes)"
