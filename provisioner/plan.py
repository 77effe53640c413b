"""From changes to a plan: what will be done, in which order, and what speaks against it. Pure.

Order is decided here alone, and is total: objects are loaded first, then maps are filled and published in the order of
`after` (and of their names), then programs are attached, then what goes is deleted, in the reverse order.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import msgspec
import numpy as np
from msgspec.structs import astuple

from provisioner.changes import Action, Change, LinkChange, MapChange, ObjectChange, Reason
from provisioner.diff import shape_differences
from provisioner.location import Location
from provisioner.places import access_of
from provisioner.spec import ExtraInnerMaps, Limits, OnReplace
from provisioner.specials import CALLED_BACK
from provisioner.state import DesiredMap, DesiredState, Meta, ObservedState
from provisioner.steps import (
    Attach,
    ClaimPinRoot,
    CommitObject,
    CreateMap,
    DeleteSlots,
    Detach,
    LoadObject,
    PinInnerMaps,
    PublishSlots,
    RecordMeta,
    SetAccess,
    Step,
    Sweep,
    Unpin,
    UnpinInnerMaps,
    WriteEntries,
)
from provisioner.uapi import OUTER_TYPES
from provisioner.words import plural


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


class Plan(msgspec.Struct, frozen=True):
    """Everything there is to know before anything is done. `digest` binds a saved plan to both states."""

    desired: DesiredState
    observed: ObservedState
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    hazards: tuple[Hazard, ...]
    blocked: tuple[Refusal, ...]
    digest: str

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    @property
    def maps(self) -> Mapping[str, MapChange]:
        return {change.name: change for change in self.changes if isinstance(change, MapChange)}

    @property
    def objects(self) -> Mapping[str, ObjectChange]:
        return {change.name: change for change in self.changes if isinstance(change, ObjectChange)}

    @property
    def links(self) -> tuple[LinkChange, ...]:
        return tuple(change for change in self.changes if isinstance(change, LinkChange))


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


def make_plan(
    desired: DesiredState,
    observed: ObservedState,
    maps: Iterable[MapChange],
    objects: Iterable[ObjectChange],
    links: Iterable[LinkChange],
    overrides: Overrides = Overrides(),
) -> Plan:
    """Order the changes into steps, and judge them."""
    by_name = {change.name: change for change in maps}
    order = publishing_order(list(desired.maps.values()))
    ordered = [by_name[name] for name in order if name in by_name]
    loads = sorted(objects, key=lambda change: change.name)
    attachments = tuple(links)
    steps = _steps(desired, observed, ordered, loads, attachments, overrides)
    changes: tuple[Change, ...] = (*loads, *ordered, *attachments)
    hazards = (*_hazards(observed, ordered, loads, overrides), *_deferred(attachments))
    blocked = tuple(_refusals(desired, observed, ordered, loads, overrides))
    return Plan(desired, observed, changes, steps, hazards, blocked, _digest(desired, observed, changes, steps))


def publishing_order(maps: Sequence[DesiredMap]) -> list[str]:
    """Names such that each map comes after those in its `after`; otherwise outer maps first, and by name.

    The spec has no cycles.
    """
    ranked = sorted(maps, key=lambda one: (one.outer is None, one.name))
    placed: dict[str, None] = {}
    known = {one.name: one for one in ranked}

    def place(one: DesiredMap) -> None:
        for name in sorted(one.after):
            if name not in placed and name in known:
                place(known[name])
        placed[one.name] = None

    for one in ranked:
        if one.name not in placed:
            place(one)
    return list(placed)


def wanted_meta(desired: DesiredState, observed: ObservedState, prune: bool = False) -> Meta:
    """What `_meta` shall hold once all is done; the maps that programs use are only known then."""
    return Meta(
        project=desired.project,
        objects={name: one.digest for name, one in sorted(desired.objects.items())},
        templates={name: one.entry_shape for name, one in sorted(desired.maps.items()) if one.outer is not None},
        attach_modes={
            program.link_pin: str(program.attach.mode.name)
            for one in desired.objects.values()
            for program in one.programs
            if program.attach is not None
        },
        used_maps=observed.meta.used_maps if observed.meta else {},
        protected=tuple(sorted(name for name, one in desired.maps.items() if one.prevent_destroy)),
        pins=tuple(sorted(own_pins(desired) | (set() if prune else set(observed.own_pins)))),
    )


def own_pins(desired: DesiredState) -> set[str]:
    """The names that the project pins in its root, links and the record apart."""
    names = {name for name, one in desired.maps.items() if one.adopted is None}
    for one in desired.objects.values():
        names |= {*one.maps, *(program.pin for program in one.programs)}
    return names


def _steps(
    desired: DesiredState,
    observed: ObservedState,
    maps: list[MapChange],
    objects: list[ObjectChange],
    links: tuple[LinkChange, ...],
    overrides: Overrides,
) -> tuple[Step, ...]:
    loaded = {change.name for change in objects if change.action is not Action.UNCHANGED}
    work: list[Step] = [
        LoadObject(change.name, change.carried, change.fresh) for change in objects if change.name in loaded
    ]
    strayed = _strayed(desired, observed)
    if strayed:
        work.insert(0, SetAccess(strayed))
    crowded = {change.name for change in maps if _is_crowded(change)}
    for change in maps:
        if change.name in crowded:
            work.append(DeleteSlots(change.name, change.slots.where(Action.DELETE)))
        pinned = observed.inner_pins.get(change.name, frozenset()) if desired.pin_inner_maps else None
        work += _fill_steps(change, change.desired is not None and change.desired.object in loaded, pinned)
    work += [_link_step(change) for change in links if change.action in (Action.CREATE, Action.UPDATE, Action.REPLACE)]
    work += [CommitObject(change.name) for change in objects if change.name in loaded]
    for change in reversed(maps):
        gone = change.slots.where(Action.DELETE)
        if len(gone) and change.name not in crowded:
            work.append(DeleteSlots(change.name, gone))
    work += [Detach(change.pin) for change in links if change.action is Action.DELETE]
    if overrides.prune:
        work += [Unpin(pin) for pin in observed.other_pins]
    if not desired.pin_inner_maps and any(observed.inner_pins.values()):
        work.append(UnpinInnerMaps())
    meta = wanted_meta(desired, observed, overrides.prune)
    swept: tuple[Step, ...] = (Sweep(),) if observed.leftovers else ()
    if not work and (observed.meta == meta or (observed.meta is None and not (own_pins(desired) or meta.protected))):
        return swept
    claim: list[Step] = [] if observed.meta is not None and not loaded else [ClaimPinRoot(tuple(sorted(loaded)))]
    return (*swept, *claim, *work, RecordMeta(meta))


def _is_crowded(change: MapChange) -> bool:
    """Whether new slots find room only once others are deleted; else programs never miss a key while they wait."""
    assert change.desired is not None
    live = int((change.slots.observed >= 0).sum())
    return not change.desired.shape.is_array and live + len(change.slots.where(Action.CREATE)) > (
        change.desired.shape.max_entries
    )


def _fill_steps(change: MapChange, loaded: bool, pinned: frozenset[int] | None) -> list[Step]:
    """Steps that bring one map's contents up to what is desired, deletes of whole slots apart.

    `pinned` are the ids of inner maps that have pins; None where they shall have none.
    """
    assert change.desired is not None
    created = change.action in (Action.CREATE, Action.REPLACE)
    if created and change.desired.object is None:
        return [CreateMap(change.name, change.action is Action.REPLACE)]
    staged = np.flatnonzero(np.isin(change.slots.action, (Action.CREATE, Action.REPLACE)))
    steps: list[Step] = []
    fresh = created and loaded
    if change.desired.outer is None:
        if created and len(change.desired.entries.keys):
            steps.append(WriteEntries(change.name, staged, fresh))
    elif len(staged):
        steps.append(PublishSlots(change.name, staged, fresh))
    unpinned = _unpinned(change, pinned) if pinned is not None else ()
    if len(unpinned):
        steps.append(PinInnerMaps(change.name, np.array(unpinned, np.int64)))
    edited = change.slots.where(Action.UPDATE)
    if len(edited):
        steps.append(WriteEntries(change.name, edited, False))
    return steps


def _unpinned(change: MapChange, pinned: frozenset[int]) -> list[int]:
    """Rows of slots that keep their inner map, which is to have a pin and has none; others' maps get none."""
    if change.observed is None or change.desired is None or change.desired.outer is None:
        return []
    kept = np.flatnonzero(np.isin(change.slots.action, (Action.UNCHANGED, Action.UPDATE)))
    ids = change.observed.slots.inner_ids[change.slots.observed[kept]].tolist()
    return [row for row, number in zip(kept.tolist(), ids, strict=True) if number not in pinned]


def _strayed(desired: DesiredState, observed: ObservedState) -> tuple[str, ...]:
    """Pins and folders that others may open than the spec says."""
    return tuple(
        path for path, found in observed.access.items() if not access_of(desired, observed, path).allows(found)
    )


def _link_step(change: LinkChange) -> Step:
    assert change.program is not None
    return Attach(change.object, change.program.name, change.pin, change.action)


def _hazards(
    observed: ObservedState, maps: list[MapChange], objects: list[ObjectChange], overrides: Overrides
) -> Iterable[Hazard]:
    for load in objects:
        for name, why in load.lost:
            yield Hazard(
                "map-not-carried-over",
                Severity.DANGER,
                name,
                f"the upgrade of {load.name} cannot carry it over ({why}): it starts anew, and what it holds is lost",
            )
    for change in maps:
        if change.action is Action.REPLACE and change.desired is not None and change.desired.object is None:
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
        if lossy and change.desired is not None and change.desired.on_replace is not None:
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
        if change.desired is None or change.desired.outer is None:
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


def _deferred(links: tuple[LinkChange, ...]) -> Iterable[Hazard]:
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


def _refusals(
    desired: DesiredState,
    observed: ObservedState,
    maps: list[MapChange],
    objects: list[ObjectChange],
    overrides: Overrides,
) -> Iterable[Refusal]:
    if observed.meta is not None and observed.meta.project != desired.project and not overrides.take_over:
        yield Refusal("ownership", "", f"the pin root belongs to project `{observed.meta.project}`", "--take-over")
    if observed.exists and observed.meta is None and made_here(desired, observed) and not overrides.take_over:
        yield Refusal("ownership", "", "there are pins here, but no record that this project made them", "--take-over")
    lost = {name: why for load in objects for name, why in load.lost}
    for change in maps:
        assert change.desired is not None
        if change.action is Action.REPLACE:
            if change.desired.adopted is not None:
                what = f"the adopted map differs: {change.reason}; only its maker can change it"
                yield Refusal("adopted-shape", change.name, what, "", _asks_for_shape(change))
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


def _asks_for_shape(change: MapChange) -> Location | None:
    """The place in the spec that asks for what the live map is not: that of its inner template, or its own."""
    desired, observed = change.desired, change.observed
    if desired is None:
        return None
    own = observed is not None and bool(shape_differences(desired.shape, observed.shape))
    return desired.where if desired.outer is None or own else desired.outer.template_where or desired.where


def _replaced_with_others(change: MapChange) -> list[int]:
    """Rows of slots that are replaced though their entries are not all ours."""
    if change.desired is None or change.desired.outer is None:
        return []
    rows = change.slots.where(Action.REPLACE).tolist()
    return [row for row in rows if change.desired.holds_others(int(change.slots.desired[row]))]


def made_here(desired: DesiredState, observed: ObservedState) -> bool:
    """Whether something lives under the pin root; adopted maps have their pins elsewhere."""
    own = any(desired.maps[name].adopted is None for name in observed.maps)
    return own or bool(observed.object_maps or observed.programs or observed.links)


DEFAULT_DELETE_PERCENT = 30
DEFAULT_AT_LEAST = 10


def _limit(change: MapChange, limits: Limits | None) -> Iterable[Refusal]:
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


def _digest(desired: DesiredState, observed: ObservedState, changes: Iterable[Change], steps: Iterable[Step]) -> str:
    """A digest over what is wanted and what was seen: equal plans have equal digests, on any day."""
    total = hashlib.sha256(
        f"{desired.project}\n{desired.pin_root}\n{wanted_meta(desired, observed).to_json()}\n".encode()
    )
    for step in steps:
        match step:
            case PinInnerMaps():
                total.update(repr((step.map, step.slots.tolist())).encode())
            case SetAccess():
                found = [(pin, observed.access[pin]) for pin in step.pins]
                total.update(repr((desired.pin_mode, observed.gid, found)).encode())
            case _:
                pass
    for change in changes:
        match change:
            case MapChange():
                total.update(repr((change.name, change.action, change.reason)).encode())
                if change.desired is not None:
                    _feed_desired(total, change.desired)
                if change.observed is not None:
                    total.update(repr((change.observed.id, change.observed.shape)).encode())
                    total.update(change.observed.slots.keys.tobytes())
                    total.update(change.observed.slots.inner_ids.tobytes())
                for column in (change.slots.action, change.entries.action, change.entries.keys, change.entries.before):
                    total.update(np.ascontiguousarray(column).tobytes())
            case ObjectChange():
                total.update(
                    repr((change.name, change.action, change.carried, change.fresh, change.desired.digest)).encode()
                )
            case LinkChange():
                total.update(repr((change.pin, change.action, change.observed)).encode())
    return "sha256:" + total.hexdigest()


def _feed_desired(total: hashlib._Hash, desired: DesiredMap) -> None:
    total.update(repr((desired.shape, desired.entry_shape, desired.object, desired.adopted)).encode())
    slots, entries = desired.slots, desired.entries
    for column in (slots.keys, slots.max_entries, slots.contents, slots.shared, entries.starts, entries.counts):
        total.update(np.ascontiguousarray(column).tobytes())
    total.update(np.ascontiguousarray(entries.keys).tobytes())
    total.update(np.ascontiguousarray(entries.values).tobytes())


def grace_periods(plan: Plan, wave_slots: int) -> int:
    """About how many RCU grace periods apply waits for: one per batch of slots, and one to keep what they held."""
    total = 0
    for step in plan.steps:
        match step:
            case PublishSlots() | DeleteSlots():
                kept = int((plan.maps[step.map].slots.observed[step.slots] >= 0).sum())
                total += -(-len(step.slots) // wave_slots) + -(-kept // wave_slots)
            case CreateMap():
                desired = plan.desired.maps[step.map]
                if desired.shape.map_type in OUTER_TYPES:
                    total += -(-len(desired.slots.keys) // wave_slots)
            case _:
                pass
    return total
