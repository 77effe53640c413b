"""The plan of `destroy --target`: maps, slots and objects of a project that go, while the rest of it stays. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from msgspec.structs import replace

from provisioner.model import entry_table
from provisioner.model.desired import DesiredState
from provisioner.model.errors import InputError, Problems
from provisioner.model.observed import ObservedState
from provisioner.model.pins import owner_of
from provisioner.model.record import Meta
from provisioner.planning import moves
from provisioner.planning.changes import Action, Change, LinkChange, MapChange, Reason
from provisioner.planning.diff import deleted
from provisioner.planning.hazards import Hazard, Overrides, Refusal, Severity, users_of
from provisioner.planning.ordering import publishing_order
from provisioner.planning.plan import Plan
from provisioner.planning.steps import DeleteSlots, Detach, RecordMeta, Step, Sweep, Unpin
from provisioner.planning.targets import Targets, find, require_in_range
from provisioner.planning.teardown import digest_of, frozen, ownership, protected

DESTROYED = "it is destroyed by --target"


def find_destroyed(texts: Iterable[str], desired: DesiredState) -> Targets:
    """What is destroyed.

    Raises InputError for a map that cannot go alone, because programs of its object use it, and for a slot of another
    owner.
    """
    targets, problems = find(texts, desired), Problems()
    for name in sorted(targets.maps):
        owner = desired.maps[name].object
        if owner is not None and owner not in targets.objects and desired.maps[name].adopted is None:
            what = f"the map belongs to object `{owner}`, whose programs use it"
            problems.add(
                what, desired.maps[name].where, "name the object, or slots of the map", name, id="invalid-target"
            )
    for slot in targets.slots:
        declared = desired.maps[slot.map]
        outer = declared.outer
        if outer is not None and not entry_table.within(slot.key[np.newaxis], outer.key.number_order, outer.owned)[0]:
            what = "the slot is outside of `owned_keys`: it belongs to another owner"
            problems.add(what, declared.where, "name a slot inside of them", slot.address, id="invalid-target")
    problems.raise_if_any(InputError)
    return targets


def plan_destroy_part(desired: DesiredState, observed: ObservedState, overrides: Overrides, targets: Targets) -> Plan:
    """Detach first, then delete slots, then unpin; the record of what is left comes last."""
    if not observed.exists:
        return Plan(desired, observed, (), (), (), (), partial(digest_of, ()), targets.addresses)
    require_in_range(targets, desired, observed)
    names = _maps(desired, targets)
    order = [name for name in reversed(publishing_order(list(desired.maps.values()))) if name in observed.maps]
    slotted = {slot.map for slot in targets.slots}
    maps = [
        deleted(desired.maps[name], observed.maps[name]) if name in names else _slots(desired, observed, name, targets)
        for name in order
        if name in names or name in slotted
    ]
    pins = {program.pin for name in targets.objects for program in desired.objects[name].programs}
    owners = pins | {each.pin for name in targets.objects for each in desired.objects[name].attached_maps}
    links = [
        LinkChange("", None, None, pin, Action.DELETE, DESTROYED, link.target, link)
        for pin, link in sorted(observed.links.items())
        if owner_of(pin) in owners
    ]
    changes: tuple[Change, ...] = (*maps, *links)
    steps = tuple(_steps(desired, observed, maps, links, names, pins, targets))
    return Plan(
        desired,
        observed,
        changes,
        steps,
        (*_used(observed, names, pins), *_vacant(desired, observed, targets)),
        (
            *ownership(desired, observed, overrides),
            *moves.refusals(observed, overrides),
            *_protected(observed, maps),
            *frozen(desired, observed, steps),
        ),
        partial(digest_of, changes),
        targets.addresses,
    )


def _maps(desired: DesiredState, targets: Targets) -> frozenset[str]:
    """The maps that go: those that are named, and those of the objects that no other object has."""
    kept = {name for other, object_ in desired.objects.items() if other not in targets.objects for name in object_.maps}
    brought = {name for object_ in targets.objects for name in desired.objects[object_].maps}
    return frozenset(targets.maps | (brought - kept))


def _slots(desired: DesiredState, observed: ObservedState, name: str, targets: Targets) -> MapChange:
    """The change of a map that stays, and loses the slots that are named."""
    change = deleted(desired.maps[name], observed.maps[name])
    if change.action is Action.KEEP:  # it does not have the shape that the spec adopts
        return change
    keys = np.stack([slot.key for slot in targets.slots if slot.map == name])
    chosen = entry_table.among(change.slots.keys, keys)
    change.slots.action[:] = np.where(chosen, Action.DELETE, Action.KEEP)
    change.slots.reason[:] = np.where(chosen, Reason.DESTROYED, Reason.NOT_TARGETED)
    action = Action.UPDATE if chosen.any() else Action.UNCHANGED
    return replace(change, action=action, reason=DESTROYED if chosen.any() else "")


def _steps(
    desired: DesiredState,
    observed: ObservedState,
    maps: list[MapChange],
    links: list[LinkChange],
    names: frozenset[str],
    programs: set[str],
    targets: Targets,
) -> Iterator[Step]:
    if observed.leftovers:
        yield Sweep()
    yield from moves.steps(observed)
    for link in links:
        yield Detach(link.pin)
    for change in maps:
        rows = change.slots.where(Action.DELETE)
        stays = change.name not in names or change.desired.adopted is not None
        if change.desired.outer is not None and stays and len(rows):
            yield DeleteSlots(change.name, rows)
    own = {name for name in names if name not in desired.maps or desired.maps[name].adopted is None}
    live = {*observed.maps, *observed.object_maps, *observed.programs}
    for pin in sorted((own | programs) & live):
        yield Unpin(pin)
    if observed.meta is not None:
        meta = without(observed.meta, own | programs, targets.objects)
        if meta != (observed.stored or observed.meta):
            yield RecordMeta(meta)


def without(meta: Meta, pins: Iterable[str], objects: Iterable[str]) -> Meta:
    """The record without these pins and objects."""
    gone, loaded = frozenset(pins), frozenset(objects)

    def kept(recorded: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in recorded if name not in gone)

    return replace(
        meta,
        objects={name: digest for name, digest in meta.objects.items() if name not in loaded},
        settings={name: settings for name, settings in meta.settings.items() if name not in loaded},
        templates={name: meta.templates[name] for name in kept(meta.templates)},
        attachments={pin: made for pin, made in meta.attachments.items() if owner_of(pin) not in gone},
        used_maps={name: meta.used_maps[name] for name in kept(meta.used_maps)},
        protected=kept(meta.protected),
        pins=kept(meta.pins),
        maps={name: meta.maps[name] for name in kept(meta.maps)},
        types={name: meta.types[name] for name in kept(meta.types)},
        places={name: meta.places[name] for name in kept(meta.places)},
    )


def _used(observed: ObservedState, names: frozenset[str], programs: set[str]) -> Iterator[Hazard]:
    """Maps that are unpinned although programs use them that stay."""
    for name, live in sorted({**observed.object_maps, **observed.maps}.items()):
        if name in names and (users := users_of(observed, live.id, programs)):
            yield Hazard("map-in-use", Severity.DANGER, name, f"the map is unpinned, but not freed: {users}")


def _vacant(desired: DesiredState, observed: ObservedState, targets: Targets) -> Iterator[Hazard]:
    """Targets that are not live: probably a mistake."""
    missing = [name for name in targets.maps if name not in observed.maps]
    for name in targets.objects:
        object_ = desired.objects[name]
        if observed.object_maps.keys().isdisjoint(object_.maps) and observed.programs.keys().isdisjoint(object_.pins):
            missing.append(name)
    for slot in targets.slots:
        live = observed.maps.get(slot.map)
        if live is None or not (live.slots.keys == slot.key).all(axis=1).any():
            missing.append(slot.address)
    for address in sorted(missing):
        yield Hazard("target-vacant", Severity.NOTICE, address, "it is not live: there is nothing to destroy")


def _protected(observed: ObservedState, maps: Iterable[MapChange]) -> Iterator[Refusal]:
    """Maps that go although they are protected; one that stays can lose slots, or have none of those that are named."""
    yield from protected(observed, (change for change in maps if change.action in (Action.DELETE, Action.KEEP)))
