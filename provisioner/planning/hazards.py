"""What speaks against a plan: hazards that its reader should know, and rules that stop apply until overridden. Pure."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from enum import Enum

import msgspec
import numpy as np
from msgspec.structs import astuple

from provisioner.model.desired import DesiredState
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.location import Location
from provisioner.model.map_shape import shape_differences
from provisioner.model.observed import ObservedState
from provisioner.model.spec import ChangeLimits, ExtraInnerMaps, OnReplace
from provisioner.model.special_fields import CALLED_BACK
from provisioner.model.words import plural
from provisioner.planning.changes import Action, LinkChange, MapChange, ObjectChange, Reason

DEFAULT_DELETE_PERCENT = 30
DEFAULT_AT_LEAST = 10


class Severity(Enum):
    """`notice` is worth knowing, `danger` can hurt a data plane."""

    NOTICE = "notice"
    DANGER = "danger"


class Hazard(msgspec.Struct, frozen=True):
    """Something that the plan does, or leaves, which its reader should know."""

    id: str
    severity: Severity
    address: str
    message: str


class Refusal(msgspec.Struct, frozen=True):
    """A rule that stops apply, and the option that overrides it; empty where none does.

    `where` is the place in the spec that asks for what is refused, if one does.
    """

    rule: str
    address: str
    message: str
    override: str
    where: Location | None = None


def refuse_blocked(blocked: Iterable[Refusal]) -> None:
    """Raise RefusedError with every rule that stops a plan; without any, do nothing."""
    problems = [
        Problem(
            refusal.message,
            hint=f"{refusal.override} allows it" if refusal.override else "",
            address=refusal.address,
            where=refusal.where,
            id=refusal.rule,
        )
        for refusal in blocked
    ]
    if problems:
        raise RefusedError(*problems)


class Overrides(msgspec.Struct, frozen=True):
    """What the user allowed on the command line."""

    approve_deletes: bool = False
    allow_recreate: bool = False
    take_over: bool = False
    prune: bool = False
    allow_overcommit: bool = False

    @staticmethod
    def force() -> Overrides:
        """All but ownership."""
        return Overrides(approve_deletes=True, allow_recreate=True, allow_overcommit=True)

    def __or__(self, other: Overrides) -> Overrides:
        """What the one or the other allows."""
        return Overrides(*map(operator.or_, astuple(self), astuple(other)))


def hazards(
    observed: ObservedState, maps: list[MapChange], objects: list[ObjectChange], overrides: Overrides
) -> Iterable[Hazard]:
    """What a reader of the plan should know, the worst first; `overrides` only change how it is said."""
    for load in objects:
        for name, why in load.lost:
            yield Hazard(
                "map-not-carried-over",
                Severity.DANGER,
                name,
                f"the upgrade of {load.name} cannot carry it over ({why}): it starts anew, and what it holds is lost",
            )
    for change in maps:
        desired = change.desired
        made_by_us = desired.object is None and desired.adopted is None
        if change.action is Action.REPLACE and made_by_us:
            users = ", ".join(_users(change, observed))
            keep = f"; these programs keep the old one until they are loaded again: {users}" if users else ""
            yield Hazard(
                "map-recreated",
                Severity.DANGER,
                change.name,
                f"the live map cannot become the desired one ({change.reason}): it is made anew{keep}",
            )
    for change in maps:
        lossy = _replaced_with_others(change)
        if lossy and change.desired.on_replace is not None:
            fate = {
                OnReplace.COPY: "copied; what is written between the copy and the swap is lost",
                OnReplace.DROP: "dropped",
            }[change.desired.on_replace]
            yield Hazard(
                "foreign-entries-replaced",
                Severity.DANGER,
                change.slot_address(lossy[0]),
                f"{plural(len(lossy), 'inner map')} replaced that may hold entries of others: these are {fate}",
            )
    yield from _unheld_timers(maps)
    for name, live in sorted(observed.maps.items()):
        if live.probed is not None and live.probed.untold:
            what = f"this kernel does not tell {live.probed.untold}: the first write to it will show whether it fits"
            yield Hazard("template-untold", Severity.NOTICE, name, what)
    if observed.other_pins:
        names = ", ".join(observed.other_pins[:5]) + (", ..." if len(observed.other_pins) > 5 else "")
        what = "removed" if overrides.prune else "left alone; --prune removes them"
        yield Hazard(
            "unknown-pins",
            Severity.NOTICE,
            "",
            f"not named by the spec: {plural(len(observed.other_pins), 'pin')} ({names}), {what}",
        )


def _unheld_timers(maps: list[MapChange]) -> Iterable[Hazard]:
    """New inner maps for timers and their kin: `bpf_timer_init` asks for a user of the map other than its slot."""
    for change in maps:
        if change.desired.outer is None:
            continue
        specials = change.desired.entry_shape.specials or ()
        words = [one.word for one in specials if one.word in CALLED_BACK]
        if words and np.isin(change.slots.action, (Action.CREATE, Action.REPLACE)).any():
            yield Hazard(
                "timers-need-a-holder",
                Severity.NOTICE,
                change.name,
                f"programs can use the {words[0]} of a new inner map only while some process holds the map open, or it "
                "is pinned: the kernel refuses it (EPERM) in a map that only a slot holds",
            )


def deferred(links: tuple[LinkChange, ...]) -> Iterable[Hazard]:
    """Attachments that wait for their interface."""
    for link in links:
        if link.action is Action.KEEP and link.program is not None and link.program.attach is not None:
            yield Hazard(
                "attachment-deferred",
                Severity.NOTICE,
                f"{link.object}.{link.program.name}",
                f"{link.reason}: it is attached by an apply after it came",
            )


def _users(change: MapChange, observed: ObservedState) -> list[str]:
    assert change.observed is not None
    return sorted(pin for pin, program in observed.programs.items() if change.observed.id in program.map_ids)


def refusals(
    desired: DesiredState,
    observed: ObservedState,
    maps: list[MapChange],
    objects: list[ObjectChange],
    overrides: Overrides,
) -> Iterable[Refusal]:
    """Every rule that forbids the changes and that `overrides` do not lift."""
    if observed.meta is not None and observed.meta.project != desired.project and not overrides.take_over:
        yield Refusal("ownership", "", f"the pin root belongs to project `{observed.meta.project}`", "--take-over")
    if observed.exists and observed.meta is None and made_here(desired, observed) and not overrides.take_over:
        yield Refusal("ownership", "", "there are pins here, but no record that this project made them", "--take-over")
    lost = {name: why for load in objects for name, why in load.lost}
    for change in maps:
        if change.action is Action.REPLACE and not change.desired.is_generational:
            if change.desired.adopted is not None:
                yield adopted_shape(change)
            else:
                lost[change.name] = change.reason
                if change.desired.prevent_destroy:
                    yield Refusal("prevent_destroy", change.name, "it is protected, and would be made anew", "")
        elif change.desired.adopted is not None and change.action is Action.CREATE:
            yield Refusal("adopted-missing", change.name, f"there is no map at {change.desired.adopted}", "")
        if change.desired.outer is not None and change.desired.outer.extra_inner_maps is ExtraInnerMaps.FAIL:
            extra = int((change.slots.reason[change.slots.where(Action.KEEP)] == Reason.NOT_IN_SPEC).sum())
            if extra:
                yield Refusal("extra_inner_maps", change.name, f"{plural(extra, 'live inner map')} not in the spec", "")
        lossy = _replaced_with_others(change)
        if lossy and change.desired.on_replace is None:
            message = f"{plural(len(lossy), 'inner map')} that may hold entries of others would be replaced"
            yield Refusal(
                "on_replace", change.slot_address(lossy[0]), message, "`on_replace: copy` or `drop` in the spec"
            )
        if not overrides.approve_deletes:
            yield from _limit(change, change.desired.limits or desired.limits)
    if not overrides.allow_recreate:
        for name in sorted(lost):
            what = f"a live map would be made anew and lose what it holds: {lost[name]}"
            place = next((_asks_for_shape(change) for change in maps if change.name == name), None)
            yield Refusal("recreate", name, what, "--allow-recreate", place)


def adopted_shape(change: MapChange) -> Refusal:
    """A map that somebody else made is not what the spec adopts."""
    what = f"the adopted map differs: {change.reason}; only its maker can change it"
    return Refusal("adopted-shape", change.name, what, "", _asks_for_shape(change))


def _asks_for_shape(change: MapChange) -> Location | None:
    """The place in the spec that asks for what the live map is not: that of its inner template, or its own."""
    desired, observed = change.desired, change.observed
    own = observed is not None and bool(shape_differences(desired.shape, observed.shape))
    return desired.where if desired.outer is None or own else desired.outer.template_where or desired.where


def _replaced_with_others(change: MapChange) -> list[int]:
    """Rows of slots that are replaced though their entries are not all ours."""
    if change.desired.outer is None:
        return []
    rows = change.slots.where(Action.REPLACE).tolist()
    return [row for row in rows if change.desired.holds_others(int(change.slots.desired[row]))]


def made_here(desired: DesiredState, observed: ObservedState) -> bool:
    """Whether something lives under the pin root; adopted maps have their pins elsewhere."""
    own = any(desired.maps[name].adopted is None for name in observed.maps)
    return own or bool(observed.object_maps or observed.programs or observed.links)


def _limit(change: MapChange, limits: ChangeLimits | None) -> Iterable[Refusal]:
    """Refuse to delete, or update, more than a share of what is live; few things may always go."""
    at_least = limits.at_least if limits and limits.at_least is not None else DEFAULT_AT_LEAST
    deletes = limits.delete_percent if limits and limits.delete_percent is not None else DEFAULT_DELETE_PERCENT
    updates = limits.update_percent if limits else None
    slots = change.slots
    live = int((slots.observed >= 0).sum())
    entries = int((slots.unchanged + slots.updates + slots.deletes).sum())
    counts = [
        ("delete_percent", "inner maps deleted", len(slots.where(Action.DELETE)), live, deletes),
        ("delete_percent", "entries deleted", int(slots.deletes.sum()), entries, deletes),
        ("update_percent", "entries updated", int(slots.updates.sum()), entries, updates),
    ]
    for rule, what, count, of, percent in counts:
        if percent is not None and count > at_least and count * 100 > percent * of:
            message = f"{count:,} of {of:,} {what}: more than {percent} %"
            yield Refusal(rule, change.name, message, "--approve-deletes")
            return
