"""What a plan changes, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner.model.desired import DesiredProgram, DesiredState, Owner
from provisioner.model.pins import owner_of
from provisioner.planning.changes import Action, LinkChange, MapChange, ObjectChange
from provisioner.planning.plan import Plan


class EntryCounts(msgspec.Struct, frozen=True):
    """Entries by what becomes of them."""

    insert: int = 0
    update: int = 0
    delete: int = 0
    unchanged: int = 0


class Counts(msgspec.Struct, frozen=True):
    """Maps or programs by what becomes of them."""

    create: int = 0
    update: int = 0
    replace: int = 0
    delete: int = 0
    unchanged: int = 0


class Summary(msgspec.Struct, frozen=True):
    """Net differences by address, in the order of output."""

    outer_maps: Counts
    inner_maps: Counts
    maps: Counts
    entries: EntryCounts
    programs: Counts


def summary(plan: Plan, *, destroy: bool = False) -> Summary:
    """Net differences by address. `destroy` says that the plan is one of `teardown.plan_destroy`."""
    maps = list(plan.maps.values())
    outer = [change for change in maps if change.desired.outer is not None]
    plain = [change for change in maps if change.desired.outer is None]
    inner = np.zeros(len(Action), np.int64)
    for change in outer:
        inner += np.bincount(change.slots.action, minlength=len(Action))
        inner[Action.DELETE] += len(change.unfit.addresses)
    entries = [entry_counts(change) for change in maps]
    return Summary(
        outer_maps=_counts(Counter(map_action(change) for change in outer)),
        inner_maps=_counts({action: int(inner[action]) for action in Action}),
        maps=_counts(Counter(map_action(change) for change in plain)),
        entries=EntryCounts(*(sum(getattr(each, name) for each in entries) for name in EntryCounts.__struct_fields__)),
        programs=_counts(Counter(_destroyed_programs(plan) if destroy else _programs(plan))),
    )


NOTHING: Final = Summary(Counts(), Counts(), Counts(), EntryCounts(), Counts())
"""The summary of a plan of no map at all."""


def with_unchanged(changed: Summary, desired: DesiredState) -> Summary:
    """The summary of a plan of a part of a project: all else that the spec has counts as unchanged."""
    outer = [each for each in desired.maps.values() if each.outer is not None]
    plain = [each for each in desired.maps.values() if each.outer is None]
    programs = sum(len(each.programs) for each in desired.objects.values())
    entries = sum(int(each.entries.counts.sum()) for each in desired.maps.values())
    return Summary(
        _rest(changed.outer_maps, len(outer)),
        _rest(changed.inner_maps, sum(len(each.slots.keys) for each in outer)),
        _rest(changed.maps, len(plain)),
        replace(changed.entries, unchanged=max(0, entries - changed.entries.insert - changed.entries.update)),
        _rest(changed.programs, programs),
    )


def _rest(counts: Counts, total: int) -> Counts:
    return replace(counts, unchanged=max(0, total - counts.create - counts.update - counts.replace))


def map_action(change: MapChange) -> Action:
    """What happens to the map itself: an adopted map is never deleted, only its slots are."""
    if change.action is Action.DELETE and change.desired.adopted is not None:
        taken_back = change.desired.outer is not None and len(change.slots.keys)
        return Action.UPDATE if taken_back else Action.UNCHANGED
    return change.action


def entry_counts(change: MapChange) -> EntryCounts:
    """All entries of a map by what happens to them."""
    slots, gone = change.slots, sum(change.unfit.entries)
    return EntryCounts(
        int(slots.inserts.sum()), int(slots.updates.sum()), int(slots.deletes.sum()) + gone, int(slots.unchanged.sum())
    )


def links_by_owner(plan: Plan) -> dict[str, list[LinkChange]]:
    """The changes of attachments, by the pins of their programs and maps."""
    links: dict[str, list[LinkChange]] = {}
    for change in plan.links:
        links.setdefault(owner_of(change.pin), []).append(change)
    return links


def own_links(owner: Owner, links: dict[str, list[LinkChange]]) -> list[LinkChange]:
    """Take those of an owner that the spec attaches; what is detached of one that it does not attach is left."""
    return links.pop(owner.pin, []) if owner.attachments else []


def owner_action(load: ObjectChange, owner: Owner, links: Iterable[LinkChange], plan: Plan) -> Action:
    """What happens to a program of the spec: it is loaded, replaced with its object, or attached in another way.

    The same of a map that is attached.
    """
    if not plan.observed.id_of(owner.pin):
        return Action.CREATE
    if load.action in _CHANGES or any(link.action in _CHANGES for link in links):
        return Action.UPDATE
    return Action.UNCHANGED


_CHANGES = frozenset({Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE})


def _programs(plan: Plan) -> Iterator[Action]:
    links = links_by_owner(plan)
    for load in plan.objects.values():
        for owner in load.desired.owners:
            own = own_links(owner, links)
            action = owner_action(load, owner, own, plan)
            if isinstance(owner, DesiredProgram) or (load.action not in _CHANGES and action in _CHANGES):
                yield action  # a map that is attached again counts as a program, if its programs do not change
    yield from (Action.DELETE for left in links.values() if any(link.action is Action.DELETE for link in left))


def _destroyed_programs(plan: Plan) -> Iterator[Action]:
    links = [change for change in plan.links if change.observed is None or not change.observed.is_of_map]
    pins = {owner_of(change.pin) for change in links} | set(plan.observed.programs)
    yield from (Action.DELETE for _ in pins)


def _counts(actions: Mapping[Action, int]) -> Counts:
    """Maps that policy keeps are live and not ours: no count includes them."""
    order = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE, Action.UNCHANGED)
    return Counts(*(actions.get(action, 0) for action in order))
