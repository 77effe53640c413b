"""The rules that stop an apply: ownership, protection, limits, what the kernel would refuse. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec
import numpy as np

from provisioner.model.desired import DesiredState
from provisioner.model.location import Location
from provisioner.model.map_shape import shape_differences
from provisioner.model.observed import ObservedState
from provisioner.model.pins import own_path, places
from provisioner.model.spec import ChangeLimits, ExtraInnerMaps, OnReplace
from provisioner.model.words import plural, with_article
from provisioner.planning.changes import Action, MapChange, ObjectChange, Reason
from provisioner.planning.hazards import (
    Overrides,
    Refusal,
    lost_entries,
    others_of,
    reloaded,
    replaced_with_others,
    users_of,
)

DEFAULT_DELETE_PERCENT: Final = 30
DEFAULT_AT_LEAST: Final = 10


def refusals(
    desired: DesiredState,
    observed: ObservedState,
    maps: list[MapChange],
    objects: list[ObjectChange],
    overrides: Overrides,
) -> Iterator[Refusal]:
    """Every rule that forbids the changes and that `overrides` do not lift."""
    if not overrides.take_over:
        yield from _ownership(desired, observed)
    for change in maps:
        yield from _of_map(change, desired, overrides)
    if overrides.prune:
        yield from protected_left(observed)
    yield from _not_there(desired, observed, maps, objects)
    yield from _migrations(maps, overrides)
    if not overrides.allow_recreate:
        yield from _recreated(observed, maps, objects)
        yield from _unpinned(desired, observed, maps, objects)


def protected_left(observed: ObservedState) -> Iterator[Refusal]:
    """Maps that a part of a spec can have lost by mistake: that it protected them is recorded."""
    for name in observed.protected_left:
        what = "the record of the last apply protects the map, which the spec no longer has"
        hint = "to remove it, declare it with `prevent_destroy: false`, and apply that first"
        yield Refusal("prevent_destroy", name, what, "", hint=hint)


def adopted_shape(change: MapChange) -> Refusal:
    """The adopted map, which another owner made, is not the one that the spec describes."""
    what = f"the adopted map differs from the spec: {change.reason}; only its owner can recreate it"
    return Refusal("adopted-shape", change.name, what, "", _asks_for_shape(change))


def _not_there(
    desired: DesiredState, observed: ObservedState, maps: Iterable[MapChange], objects: Iterable[ObjectChange]
) -> Iterator[Refusal]:
    """Adopted maps that an object would be loaded with, and that a limited plan is not about."""
    judged = {change.name for change in maps}
    loads = (change.desired for change in objects if change.action is not Action.UNCHANGED)
    for name, path in sorted({pair for load in loads for pair in load.reused.items()}):
        if name not in judged and name not in observed.maps:
            yield Refusal("adopted-missing", name, f"no map is pinned at {path}", "", desired.maps[name].where)


def has_own_pins(desired: DesiredState, observed: ObservedState) -> bool:
    """Whether the pin root holds what the spec names; adopted maps are pinned elsewhere."""
    own = any(desired.maps[name].adopted is None and desired.maps[name].place is None for name in observed.maps)
    return own or bool(observed.object_maps or observed.programs or observed.links)


def _ownership(desired: DesiredState, observed: ObservedState) -> Iterator[Refusal]:
    if observed.meta is not None and observed.meta.project != desired.project:
        what = f"the pin root{_from(observed)} belongs to project `{observed.meta.project}`"
        yield Refusal("ownership", "", what, "--take-over")
    if observed.exists and observed.meta is None and has_own_pins(desired, observed):
        what = (
            f"the pin root{_from(observed)} has pins with names of the spec, and no record that this project made them"
        )
        yield Refusal("ownership", "", what, "--take-over")
    yield from foreign_places(desired, observed)


def _from(observed: ObservedState) -> str:
    move = observed.moves.root
    return "" if move is None else f" {move.old}, which the spec moves,"


def foreign_places(desired: DesiredState, observed: ObservedState) -> Iterator[Refusal]:
    """Paths of own maps at which something is pinned that this project did not pin, by its record."""
    recorded = observed.meta.pins if observed.meta is not None else ()
    for name, path in places(desired).items():
        if name in observed.maps and name not in recorded:
            what = f"a map is pinned at {path}, and no record that this project made it"
            hint = "remove `own: true` to adopt it"
            yield Refusal("ownership", name, what, "--take-over", desired.maps[name].where, hint)


def _of_map(change: MapChange, desired: DesiredState, overrides: Overrides) -> Iterator[Refusal]:
    wanted = change.desired
    recreated = change.action is Action.REPLACE and not wanted.is_generational and not change.keeps_contents
    if wanted.adopted is not None and recreated:
        yield adopted_shape(change)
    elif wanted.adopted is not None and change.action is Action.CREATE:
        yield Refusal("adopted-missing", change.name, f"no map is pinned at {wanted.adopted}", "", wanted.where)
    elif recreated and wanted.prevent_destroy:
        what = f"the spec protects the map, and it would be recreated ({change.reason})"
        yield Refusal("prevent_destroy", change.name, what, "", wanted.where)
    if wanted.outer is not None and wanted.outer.extra_inner_maps is ExtraInnerMaps.FAIL:
        extra = int((change.slots.reason[change.slots.where(Action.KEEP)] == Reason.NOT_IN_SPEC).sum())
        if extra:
            what = f"{plural(extra, 'live inner map')} not in the spec"
            yield Refusal("extra_inner_maps", change.name, what, "", wanted.where)
    yield from _replaced(change)
    yield from _frozen(change)
    if not overrides.approve_deletes:
        yield from _limit(change, wanted.limits or desired.limits)


def _replaced(change: MapChange) -> Iterator[Refusal]:
    """Inner maps that are replaced with what others wrote, if the spec does not say what becomes of it, or cannot."""
    wanted, rows = change.desired, replaced_with_others(change)
    if not rows or wanted.copies_others or wanted.on_replace is OnReplace.DROP:
        return
    what = f"{plural(len(rows), 'inner map')} that can hold {others_of(wanted)} of others would be replaced"
    override = "`on_replace: copy` or `drop` in the spec"
    if not wanted.entry_shape.is_listable:
        what += f", and the entries of {with_article(wanted.entry_shape.map_type.word)} cannot be copied"
        override = "`on_replace: drop` in the spec"
    place = wanted.slots.places[change.slots.desired[rows[0]]]
    yield Refusal("on_replace", change.slot_address(rows[0]), what, override, place)


def _frozen(change: MapChange) -> Iterator[Refusal]:
    """Frozen maps that would be written: user space cannot, and policy does not allow to replace them."""
    desired, slots = change.desired, change.slots
    if change.observed is None or (change.action is not Action.UPDATE and not change.resized):
        return
    rows = np.flatnonzero((slots.action == Action.UPDATE) & (slots.reason == Reason.FROZEN))
    if len(rows):
        more = f", as are {len(rows) - 1:,} others" if len(rows) > 1 else ""
        what = f"the inner map is frozen and cannot be written in place{more}"
        hint = "set `update: auto` or `update: replace`, which replaces it"
        place = desired.slots.places[slots.desired[rows[0]]]
        yield Refusal("frozen", change.slot_address(int(rows[0])), what, "", place, hint)
    written = slots.is_any(Action.CREATE, Action.REPLACE, Action.DELETE).any()
    if change.observed.frozen and not change.resized and (desired.outer is None or written):
        yield Refusal(
            "frozen", change.name, "the map is frozen and cannot be written", "", desired.where, _thaw(change)
        )


def _thaw(change: MapChange) -> str:
    desired = change.desired
    if desired.adopted is not None:
        return "ask its owner to recreate it"
    if desired.object is not None:
        return f"remove its pin, and the next apply loads {desired.object} again with a new map"
    return "apply without --target, or name the whole map: it is recreated"


def _recreated(
    observed: ObservedState, maps: Collection[MapChange], objects: Collection[ObjectChange]
) -> Iterator[Refusal]:
    """Live maps of ours whose contents would be lost, by name; then those that programs would go on using."""
    leaving = reloaded(objects)
    by_name = {change.name: change for change in maps}
    lost = {name: why for load in objects for name, why in load.lost}
    lost |= {
        name: change.reason
        for name, change in by_name.items()
        if change.action is Action.REPLACE and change.desired.adopted is None and not change.desired.is_generational
        if not change.keeps_contents and not _meant(change) and not _is_refused(change)
    }
    for name, why in sorted(lost.items()):
        change = by_name.get(name)
        live = observed.object_maps.get(name) if change is None else change.observed
        users = users_of(observed, live.id, leaving) if live is not None else ""
        what = f"the live map would be recreated and its contents lost{lost_entries(change)}: {why}"
        place = _asks_for_shape(change) if change is not None else None
        yield Refusal("recreate", name, "; ".join(filter(None, (what, users))), "--allow-recreate", place)
    for change in maps:
        if change.observed is None or not (change.keeps_contents or _meant(change)):
            continue
        if users := users_of(observed, change.observed.id, leaving):
            what = f"a new map would take the place of the live one ({change.reason}); {users}"
            yield Refusal("recreate", change.name, what, "--allow-recreate", change.desired.where)


def _meant(change: MapChange) -> bool:
    """Whether the spec asks for the loss of the contents."""
    return change.migrated is not None and change.migrated.drop


def _is_refused(change: MapChange) -> bool:
    """Whether a migration is refused, which says why."""
    return change.desired.migration is not None and change.migrated is not None and bool(change.migrated.problems)


def _migrations(maps: Iterable[MapChange], overrides: Overrides) -> Iterator[Refusal]:
    """What migrations cannot carry over."""
    for change in maps:
        policy, done = change.desired.migration, change.migrated
        if policy is None or done is None:
            continue
        for each in done.problems:
            if not (each.override and overrides.allow_recreate):
                yield Refusal(each.id, each.address, each.what, each.override, policy.where, each.hint)


def _unpinned(
    desired: DesiredState, observed: ObservedState, maps: Iterable[MapChange], objects: Iterable[ObjectChange]
) -> Iterator[Refusal]:
    """Maps that the plan would create although the recorded ones are live, without a pin."""
    leaving = reloaded(objects)
    new = {name for load in objects if load.action is not Action.UNCHANGED for name in load.fresh}
    new |= {change.name for change in maps if change.action is Action.CREATE and change.desired.object is None}
    for name, number in observed.unpinned.items():
        if name in new:
            users = users_of(observed, number, leaving)
            what = f"the map was unpinned, but map {number} is still live: a new map would not have its contents"
            hint = f"pin it again: `bpftool map pin id {number} {own_path(desired, name)}`"
            place = desired.maps[name].where if name in desired.maps else None
            yield Refusal("recreate", name, "; ".join(filter(None, (what, users))), "--allow-recreate", place, hint)


def _asks_for_shape(change: MapChange) -> Location | None:
    """The place in the spec of what differs: the inner template, or the map itself."""
    desired, observed = change.desired, change.observed
    own = observed is not None and bool(shape_differences(desired.shape, observed.shape))
    return desired.where if desired.outer is None or own else desired.outer.template_where or desired.where


def _limit(change: MapChange, limits: ChangeLimits | None) -> Iterator[Refusal]:
    """Refuse to delete or update more than a share of what is live; `at_least` things may always change."""
    slots, gone, lost = change.slots, len(change.unfit.addresses), sum(change.unfit.entries)
    counted = Counted(
        live=int((slots.observed >= 0).sum()) + change.beyond.slots + gone,
        deleted=len(slots.where(Action.DELETE)) + gone,
        entries=int((slots.unchanged + slots.updates + slots.deletes).sum()) + change.beyond.entries + lost,
        entries_deleted=int(slots.deletes.sum()) + lost,
        entries_updated=int(slots.updates.sum()),
    )
    exceeded = exceeded_limit(counted, limits)
    if exceeded is not None:
        yield Refusal(exceeded[0], change.name, exceeded[1], "--approve-deletes")


class Counted(msgspec.Struct, frozen=True):
    """How much of one map is live, and what becomes of it."""

    live: int
    deleted: int
    entries: int
    entries_deleted: int
    entries_updated: int


def exceeded_limit(counted: Counted, limits: ChangeLimits | None) -> tuple[str, str] | None:
    """The first limit that a change of one map exceeds, and what of it is too much; None if it exceeds none."""
    at_least = limits.at_least if limits and limits.at_least is not None else DEFAULT_AT_LEAST
    deletes = limits.delete_percent if limits and limits.delete_percent is not None else DEFAULT_DELETE_PERCENT
    updates = limits.update_percent if limits else None
    counts = (
        ("delete_percent", "inner maps deleted", counted.deleted, counted.live, deletes),
        ("delete_percent", "entries deleted", counted.entries_deleted, counted.entries, deletes),
        ("update_percent", "entries updated", counted.entries_updated, counted.entries, updates),
    )
    for rule, what, count, of, percent in counts:
        if percent is not None and count > at_least and count * 100 > percent * of:
            return rule, f"{count:,} of {of:,} {what}: more than {percent} %"
    return None
