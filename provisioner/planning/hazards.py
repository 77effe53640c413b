"""Hazards: what the reader of a plan should know. And refusals: what stops `apply` until it is overridden. Pure."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

import msgspec
from msgspec.structs import astuple

from provisioner.model.desired import DesiredMap
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.location import Location
from provisioner.model.observed import ObservedState
from provisioner.model.spec import OnConflict, OnReplace
from provisioner.model.special_fields import CALLED_BACK
from provisioner.model.words import plural
from provisioner.planning.changes import Action, LinkChange, MapChange, ObjectChange, Reason

_LISTED: Final = 5
"""Names that one message lists."""


class Severity(Enum):
    """A `notice` is information, a `danger` can disturb a data plane."""

    NOTICE = "notice"
    DANGER = "danger"


class Hazard(msgspec.Struct, frozen=True):
    """An effect of the plan, or a difference that it leaves, which its reader should know."""

    id: str
    severity: Severity
    address: str
    message: str


class Refusal(msgspec.Struct, frozen=True):
    """A rule that stops apply, and the option that overrides it; empty where none does.

    `where` is the place in the spec that asks for what is refused, if one does. `hint` says what else to do.
    """

    rule: str
    address: str
    message: str
    override: str
    where: Location | None = None
    hint: str = ""

    @property
    def remedy(self) -> str:
        """What to do about it; empty where there is nothing."""
        return "; ".join(filter(None, (self.hint, self.override and f"{self.override} allows it")))


def refuse_blocked(blocked: Iterable[Refusal]) -> None:
    """Raise RefusedError with every rule that stops a plan, if there is any."""
    problems = [
        Problem(
            refusal.message,
            hint=refusal.remedy,
            address=refusal.address,
            where=refusal.where,
            id=refusal.rule,
        )
        for refusal in blocked
    ]
    if problems:
        raise RefusedError(*problems)


class Overrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options by which the user allows what is refused otherwise."""

    approve_deletes: bool = False
    allow_recreate: bool = False
    take_over: bool = False
    prune: bool = False
    allow_overcommit: bool = False

    @staticmethod
    def force() -> Overrides:
        """All but ownership (`take_over`, `prune`)."""
        return Overrides(approve_deletes=True, allow_recreate=True, allow_overcommit=True)

    def __or__(self, other: Overrides) -> Overrides:
        """All that either of the two allows."""
        return Overrides(*map(operator.or_, astuple(self), astuple(other)))


def hazards(
    observed: ObservedState, maps: list[MapChange], objects: list[ObjectChange], overrides: Overrides
) -> Iterator[Hazard]:
    """The hazards of the changes, the worst first; `overrides` change the text only."""
    yield from _lost_maps(observed, maps, objects)
    yield from _replaced_contents(maps)
    yield from _unheld_timers(maps)
    for name, live in sorted(observed.maps.items()):
        if live.probed is not None and live.probed.unseen:
            what = f"this kernel does not show {live.probed.unseen}; the first write shows whether inner maps fit"
            yield Hazard("template-untold", Severity.NOTICE, name, what)
    if observed.other_pins:
        fate = "removed by --prune" if overrides.prune else "not changed; --prune removes them"
        count = plural(len(observed.other_pins), "pin")
        what = f"{count} not named by the spec ({listed(observed.other_pins)}): {fate}"
        yield Hazard("unknown-pins", Severity.NOTICE, "", what)


def deferred(links: tuple[LinkChange, ...]) -> Iterator[Hazard]:
    """Attachments whose attach point does not exist yet."""
    for link in links:
        if link.is_deferred and link.owner is not None:
            what = f"{link.reason}; a later apply attaches the program"
            yield Hazard("attachment-deferred", Severity.NOTICE, f"{link.object}.{link.owner.name}", what)


def listed(names: Sequence[str]) -> str:
    """`a, b, ...`: names for a message, the first few of them."""
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def users_of(observed: ObservedState, number: int, leaving: Iterable[str] = ()) -> str:
    """`these programs keep the old map until they are reloaded: a, b (id 7)`: the users of a map that goes.

    `leaving` are the pins of programs that are removed too. Empty if no program is known to use the map.
    """
    own = (pin for pin, program in observed.programs.items() if number in program.map_ids)
    names = sorted({*observed.users.get(number, ()), *own}.difference(leaving))
    return f"these programs keep the old map until they are reloaded: {listed(names)}" if names else ""


def reloaded(objects: Iterable[ObjectChange]) -> set[str]:
    """The pins of the programs that the plan loads again: they use the new maps."""
    return {pin for load in objects if load.action is not Action.UNCHANGED for pin in load.desired.pins}


def lost_entries(change: MapChange | None) -> str:
    """` (12 entries)`: the live entries of a map that is recreated; empty where they were not counted."""
    done = change.migrated if change is not None else None
    return f" ({plural(done.entries, 'entry', 'entries')})" if done is not None and done.entries is not None else ""


def replaced_with_others(change: MapChange) -> list[int]:
    """Rows of slots whose map is replaced and can hold entries of others; of a plain map, only if it is migrated.

    A map of the object that a listed slot replaces is not lost: it has a pin of its own.
    """
    if change.desired.outer is None and not (change.migrated is not None and change.migrated.is_carried):
        return []
    lost = (row for row in change.slots.where(Action.REPLACE).tolist() if change.slots.reason[row] != Reason.PRESET)
    return [row for row in lost if change.desired.holds_others(int(change.slots.desired[row]))]


def _lost_maps(observed: ObservedState, maps: Iterable[MapChange], objects: Iterable[ObjectChange]) -> Iterator[Hazard]:
    """Live maps that the plan recreates: the programs that use them are named."""
    maps, objects = list(maps), list(objects)
    leaving = reloaded(objects)
    by_name = {change.name: change for change in maps}
    for load in objects:
        for name, why in load.lost:
            lost = lost_entries(by_name.get(name))
            users = users_of(observed, observed.object_maps[name].id, leaving)
            what = f"the upgrade of {load.name} cannot carry the map over ({why}): its contents are lost{lost}"
            yield Hazard("map-not-carried-over", Severity.DANGER, name, "; ".join(filter(None, (what, users))))
    for change in maps:
        made_by_us = change.desired.object is None and change.desired.adopted is None
        if change.keeps_contents and change.observed is not None:
            if users := users_of(observed, change.observed.id, leaving):
                what = f"a new map takes the place of the live one ({change.reason}); {users}"
                yield Hazard("map-resized", Severity.DANGER, change.name, what)
        elif change.action is Action.REPLACE and made_by_us and change.observed is not None:
            users = users_of(observed, change.observed.id, leaving)
            what = f"the live map is recreated ({change.reason}): its contents are lost{lost_entries(change)}"
            yield Hazard("map-recreated", Severity.DANGER, change.name, "; ".join(filter(None, (what, users))))


def others_of(desired: DesiredMap) -> str:
    """What others can own of the entries of a map."""
    return "members" if desired.value.owns_part else "entries"


_CONFLICTS: Final = {
    OnConflict.NEW: "the new map wins where both changed",
    OnConflict.OLD: "the old map wins where both changed",
    OnConflict.SUM: "differences of counters are added",
}


def _fate(desired: DesiredMap) -> str:
    if desired.on_replace is OnReplace.DROP:
        return "dropped"
    return f"copied, and what programs change meanwhile is carried over ({_CONFLICTS[desired.on_conflict]})"


def _replaced_contents(maps: Iterable[MapChange]) -> Iterator[Hazard]:
    for change in maps:
        rows = replaced_with_others(change)
        if rows and (change.desired.copies_others or change.desired.on_replace is OnReplace.DROP):
            count = plural(len(rows), "map" if change.desired.outer is None else "inner map")
            others = others_of(change.desired)
            what = f"{count} that can hold {others} of others replaced: these {others} are {_fate(change.desired)}"
            yield Hazard("foreign-entries-replaced", Severity.DANGER, change.slot_address(rows[0]), what)


def _unheld_timers(maps: Iterable[MapChange]) -> Iterator[Hazard]:
    """New inner maps with timers: `bpf_timer_init` requires a user of the map other than its slot."""
    for change in maps:
        if change.desired.outer is None:
            continue
        specials = change.desired.entry_shape.specials or ()
        words = [each.word for each in specials if each.word in CALLED_BACK]
        if words and change.slots.is_any(Action.CREATE, Action.REPLACE).any():
            what = (
                f"the {words[0]} of a new inner map works only while a process holds the map open or it is pinned; the "
                "kernel refuses it (EPERM) in a map that only a slot holds"
            )
            yield Hazard("timers-need-a-holder", Severity.NOTICE, change.name, what)
