"""The live state, decoded with the spec's types, as the nodes of a report.

The verb of a node is what apply would do; SHOW if the live state matches the spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from provisioner.codec.display import brief_difference, format_value, text_of
from provisioner.codec.long_values import LONG
from provisioner.model import entry_table
from provisioner.model.address import Place
from provisioner.model.desired import DesiredMap
from provisioner.model.errors import InputError, Problem
from provisioner.model.observed import ObservedState
from provisioner.model.types import Bytes, Value
from provisioner.model.words import plural, size
from provisioner.observed import holders
from provisioner.observed.holders import Holders
from provisioner.planning.changes import Action, EntryAction, MapChange
from provisioner.planning.diff_variables import live_values, shown
from provisioner.planning.plan import Plan
from provisioner.report.model import ALL, Children, Kind, Limits, Node, ReportLive, Totals, Verb
from provisioner.views import entry_nodes, indexes
from provisioner.views.attachments import attached, live_places
from provisioner.views.map_nodes import VERBS, kind_of, live_value, slot_labels, slot_reason, what_it_is
from provisioner.views.moment import Moment

_PIECE: Final = 1024
_INSERT, _UPDATE, _DELETE = (int(action) for action in (EntryAction.INSERT, EntryAction.UPDATE, EntryAction.DELETE))
_SAME: Final = -1


def look(
    plan: Plan, moment: Moment, limits: Limits, place: Place | None = None, *, has_spec: bool = True
) -> ReportLive:
    """The live state that `plan` observed in `moment`, or the part of it at `place`.

    Without a spec (`has_spec`), nothing is said of differences from it. Raises InputError if nothing is live at the
    place and the spec declares nothing there.
    """
    desired = plan.desired
    known = holders.find(plan.observed)
    if place is not None:
        indexes.require(plan.maps[place.map.name], place)
    looker = _Looker(plan, moment, known, ALL if place is not None else limits, place, has_spec)
    nodes = [looker.map(change) for change in plan.maps.values() if place is None or change.name == place.map.name]
    for node in nodes if place is not None else ():
        list(node.children or ())  # so that an error is raised before anything is printed
    if place is None:
        nodes += [*_variables(plan), *_programs(plan), *_attached_maps(plan), *_pins(plan.observed)]
    totals = _totals(plan, moment, looker.memory) if place is None else None
    revision = desired.revision if place is None and has_spec else ""
    state = plan.observed.exists, tuple(nodes), revision, not plan.changed, totals
    return ReportLive(desired.project, desired.pin_root, *state)


def _totals(plan: Plan, moment: Moment, memory: int) -> Totals:
    """What is live of the whole project; a shared inner map counts once for each of its slots."""
    maps = {name: live for name, live in plan.observed.maps.items() if name in plan.maps}
    outer = [live for name, live in maps.items() if plan.maps[name].desired.outer is not None]
    return Totals(
        outer_maps=len(outer),
        inner_maps=sum(len(live.slots.inner_ids) for live in outer),
        maps=len(maps) - len(outer),
        entries=sum(map(moment.entries, maps)),
        programs=len(plan.observed.programs),
        memory=memory,
    )


class _Looker:
    def __init__(
        self, plan: Plan, moment: Moment, known: Holders, limits: Limits, place: Place | None, has_spec: bool
    ) -> None:
        self.memory = 0
        self._plan = plan
        self._moment = moment
        self._known = known
        self._limits = limits
        self._place = place
        self._has_spec = has_spec

    def map(self, change: MapChange) -> Node:
        desired, live = change.desired, change.observed
        kind, text, verb = kind_of(desired), what_it_is(desired), _verb(change.action)
        if live is None:
            children = self._not_live(change)
            return Node(kind, verb, desired.name, desired.name, f"{text}: not live", change.reason, children=children)
        numbers = {live.id, *(live.slots.inner_ids.tolist() if desired.outer is not None else ())}
        taken = holders.memory(numbers)
        self.memory += sum(taken.values())
        held = self._held(live.id, sum(taken.values()) if taken else None)
        value = {"id": live.id} | live_value(desired, live) | held
        if change.action is Action.REPLACE:
            text = f"{text}: the live map differs: {change.reason}"
            return Node(kind, verb, desired.name, desired.name, text, change.reason, after=value)
        if desired.outer is None:
            keys, values = self._moment.slot(desired.name, 0)
            children = self._entries(change, 0, keys, values, desired.name)
            text += self._count(desired, keys)
        else:
            children = self._slots(change, taken)
            text += f", {len(live.slots.inner_ids):,} of {plural(live.shape.max_entries, 'slot')}"
        text += self._holders(live.id, held, desired.adopted or desired.place)
        return Node(kind, verb, desired.name, desired.name, text, change.reason, after=value, children=children)

    def _held(self, number: int, memory: int | None) -> dict[str, Value]:
        programs, pins = self._known.programs.get(number, ()), self._known.pins.get(number, ())
        return {"memory": memory, "pins": list(pins), "programs": list(programs)}

    def _holders(self, number: int, held: dict[str, Any], adopted: str | None = None) -> str:
        old = self._plan.observed.moves.root
        own = tuple(f"{root}/" for root in (self._plan.desired.pin_root, *([old.old] if old is not None else [])))
        elsewhere = [pin for pin in held["pins"] if pin != adopted and not pin.startswith(own)]
        parts = [f"id {number}", size(held["memory"]) if held["memory"] is not None else "", self._known.of(number)]
        parts += [f"also pinned at {', '.join(elsewhere)}"] if elsewhere else []
        return "".join(f", {part}" for part in parts if part)

    def _must_be_there(self, there: bool) -> None:
        if not there and self._place is not None:
            what = "nothing is live at this address, and the spec declares nothing there"
            hint = "`show` without an address lists what is live"
            raise InputError(Problem(what, hint=hint, address=self._place.address, id="nothing-at-address"))

    def _not_live(self, change: MapChange) -> Children | None:
        """The part of a map that is not live which the address names; None for the whole map."""
        desired, place = change.desired, self._place
        if place is None or (place.slot is None and place.entry is None):
            return None
        if desired.outer is not None:
            return self._slots(change, {})
        return self._new_entry(change, 0, desired.name)

    # --- slots ----------------------------------------------------------------------------------------------------

    def _slots(self, change: MapChange, taken: dict[int, int]) -> Children:
        slots = change.slots
        rows = np.arange(len(slots.keys), dtype=np.int64)
        if self._place is not None and self._place.slot is not None:
            rows = rows[(slots.keys == self._place.slot).all(axis=1)]
            self._must_be_there(bool(len(rows)))
        same = np.isin(slots.action[rows], (Action.UNCHANGED, Action.KEEP)).astype(np.uint8)
        shown = rows[entry_nodes.pick(same, self._limits.slots)]

        def make() -> Iterator[Node]:
            for row, (label, key) in zip(shown.tolist(), slot_labels(change.desired, slots.keys[shown]), strict=True):
                yield self._slot(change, row, label, key, taken)

        return Children(Kind.INNER_MAP, len(rows), len(shown), make)

    def _slot(self, change: MapChange, row: int, label: str, key: Value, taken: dict[int, int]) -> Node:
        desired, live, slots = change.desired, change.observed, change.slots
        action = Action(int(slots.action[row]))
        reason = slot_reason(change, row) if self._has_spec else ""
        name, number = f"{desired.name}{label}", int(slots.observed[row])
        if number < 0 or live is None:
            count = plural(int(desired.entries.counts[slots.desired[row]]), "entry", "entries")
            text = f"not live: {count} in the spec"
            children = self._new_entry(change, row, name)
            return Node(Kind.INNER_MAP, _verb(action), name, label, text, reason, key=key, children=children)
        inner_id = int(live.slots.inner_ids[number])
        keys, values = self._moment.slot(desired.name, number)
        held = self._held(inner_id, taken.get(inner_id))
        count = self._count(desired, keys) if desired.entry_shape.is_listable else ", entries can't be listed"
        text = (count + self._holders(inner_id, held)).removeprefix(", ")
        text += f": {reason}" if reason and action is not Action.UPDATE else ""
        children = self._entries(change, row, keys, values, name)
        value = {"id": inner_id} | held
        return Node(Kind.INNER_MAP, _verb(action), name, label, text, reason, after=value, key=key, children=children)

    def _count(self, desired: DesiredMap, keys: Bytes) -> str:
        """How many entries are live; nothing where an address names one element of an array, and no other is read."""
        single = self._place is not None and self._place.entry is not None and desired.entry_shape.is_array
        return "" if single else f", {plural(len(keys), 'entry', 'entries')}"

    def _new_entry(self, change: MapChange, row: int, name: str) -> Children | None:
        """The entry that the address names in a slot that is not live; None if it names no entry."""
        desired, place = change.desired, self._place
        if place is None or place.entry is None:
            return None
        keys, values = desired.entries.slot(int(change.slots.desired[row]))
        at = np.flatnonzero((keys == place.entry).all(axis=1))
        self._must_be_there(bool(len(at)))

        def make() -> Iterator[Node]:
            (key,), (value,) = (
                entry_nodes.plain_values(desired.key, keys[at]),
                entry_nodes.plain_values(desired.value, values[at]),
            )
            label, text = format_value(key), f"not live; the spec has {text_of(desired.value, value)}"
            yield Node(Kind.ENTRY, Verb.INSERT, f"{name}[{label}]", label, text, after=value, key=key)

        return Children(Kind.ENTRY, 1, 1, make)

    # --- entries --------------------------------------------------------------------------------------------------

    def _entries(self, change: MapChange, row: int, keys: Bytes, values: Bytes, name: str) -> Children:
        """Live entries and those that apply would insert, by key; a list that is cut shows differences first."""
        desired = change.desired
        edits = change.entries.of_slot(row)
        new = np.flatnonzero(edits.action == _INSERT)
        numbers = {bytes(key): at for at, key in enumerate(edits.keys)}
        edit = np.array([numbers.get(bytes(key), _SAME) for key in keys] + new.tolist(), np.int64)
        keys, values = np.concatenate((keys, edits.keys[new])), np.concatenate((values, edits.before[new]))
        wanted = self._place.entry if self._place is not None else None
        if wanted is not None and desired.entry_shape.deletes_by_zero and not (keys == wanted).all(axis=1).any():
            keys = np.concatenate((keys, wanted[None]))  # an element of zero, which reading an array leaves out
            values = np.concatenate((values, np.zeros((1, values.shape[1]), np.uint8)))
            edit = np.concatenate((edit, [_SAME]))
        order = entry_table.order_of(keys, desired.key.number_order)
        if wanted is not None:
            order = order[(keys[order] == wanted).all(axis=1)]
            self._must_be_there(bool(len(order)))
        shown = order[entry_nodes.pick((edit[order] == _SAME).astype(np.uint8), self._limits.entries)]

        def make() -> Iterator[Node]:
            for start in range(0, len(shown), _PIECE):
                rows = shown[start : start + _PIECE]
                yield from _listed(change, row, keys[rows], values[rows], edit[rows], name)

        return Children(Kind.ENTRY, len(order), len(shown), make)


def _listed(
    change: MapChange, row: int, keys: Bytes, values: Bytes, edit: NDArray[np.int64], name: str
) -> Iterator[Node]:
    desired = change.desired
    edits = change.entries.of_slot(row)
    wanted = values.copy()
    differs = np.flatnonzero(edit != _SAME)
    rows = edits.row[edit[differs]]
    wanted[differs[rows >= 0]] = desired.entries.values[rows[rows >= 0]]
    parts = (
        entry_nodes.plain_values(desired.key, keys),
        entry_nodes.plain_values(desired.value, values),
        entry_nodes.plain_values(desired.value.owned, wanted),
    )
    for key, live, after, number in zip(*parts, edit.tolist(), strict=True):
        label = format_value(key)
        action = int(edits.action[number]) if number != _SAME else _SAME
        before: Value = live
        verb, text = Verb.SHOW, text_of(desired.value, live)
        after = live if action == _SAME else after
        if action == _INSERT:
            verb, text, before = Verb.INSERT, f"not live; the spec has {text_of(desired.value, after)}", None
        elif action == _UPDATE:
            verb, text = Verb.UPDATE, f"{text}; the spec has {format_value(after)}"
            if desired.value.size > LONG:
                text = f"{brief_difference(live, after)} in the spec"
        elif action == _DELETE:
            verb, text, after = Verb.DELETE, f"{text}; not in the spec", None
        yield Node(Kind.ENTRY, verb, f"{name}[{label}]", label, text, before=before, after=after, key=key)


def _verb(action: Action) -> Verb:
    return VERBS.get(action, Verb.SHOW)


def _programs(plan: Plan) -> Iterator[Node]:
    observed = plan.observed
    owners = {program.pin: program for load in plan.objects.values() for program in load.desired.programs}
    for pin, program in observed.programs.items():
        place = "; ".join(live_places(observed, pin, owners.get(pin)))
        value = {"id": program.id, "tag": program.tag} | attached(observed, pin)
        text = f"program, id {program.id}, tag {program.tag}, {place}"
        yield Node(Kind.PROGRAM, Verb.SHOW, pin, pin, text, after=value)


def _attached_maps(plan: Plan) -> Iterator[Node]:
    for load in plan.objects.values():
        for each in load.desired.attached_maps:
            live = plan.observed.object_maps.get(each.pin)
            if live is not None:
                places = "; ".join(live_places(plan.observed, each.pin, each))
                text = f"{live.shape.map_type.word}, id {live.id}, {places}"
                value = {"id": live.id} | attached(plan.observed, each.pin)
                yield Node(Kind.ATTACHMENT, Verb.SHOW, each.pin, each.pin, text, after=value)


def _variables(plan: Plan) -> Iterator[Node]:
    """The live values of the variables that the spec sets, a line for each object."""
    for change in plan.objects.values():
        values = [(variable, data) for variable, data in live_values(change.desired, plan.observed) if data is not None]
        if values:
            text = ", ".join(f"{variable.name} {shown(variable, data)}" for variable, data in values)
            verb = Verb.UPDATE if change.variables else Verb.SHOW
            value = {"variables": {variable.name: variable.decode(data) for variable, data in values}}
            yield Node(Kind.OBJECT, verb, change.name, change.name, f"variables {text}", after=value)


def _pins(observed: ObservedState) -> Iterator[Node]:
    for pin in observed.other_pins:
        yield Node(Kind.PIN, Verb.SHOW, pin, pin, "a pin that is not in the spec")
