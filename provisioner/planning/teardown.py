"""The plan that takes a project away: what apply does backwards, and nothing more than the project owns. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from provisioner.model.desired import DesiredState
from provisioner.model.observed import ObservedState
from provisioner.model.pins import META_PIN, adopted_pins
from provisioner.planning import moves
from provisioner.planning.changes import Action, Change, LinkChange, MapChange
from provisioner.planning.diff import deleted
from provisioner.planning.hazards import Hazard, Overrides, Refusal, Severity, listed, users_of
from provisioner.planning.ordering import publishing_order
from provisioner.planning.plan import Plan
from provisioner.planning.rules import adopted_shape, foreign_places, has_own_pins, protected_left
from provisioner.planning.steps import (
    DeleteSlots,
    Detach,
    RemoveDirectories,
    RemovePinRoot,
    Step,
    Sweep,
    Unpin,
    UnpinInnerMaps,
)


def plan_destroy(desired: DesiredState, observed: ObservedState, overrides: Overrides) -> Plan:
    """Detach first, so that no program reads what goes; then slots in adopted maps, pins, the record, the directory.

    A pin root in which adopted maps are pinned belongs to another owner: it stays, with all that is theirs.
    """
    if not observed.exists:
        return Plan(desired, observed, (), (), (), (), partial(digest_of, ()))
    maps = [
        deleted(desired.maps[name], observed.maps[name])
        for name in reversed(publishing_order(list(desired.maps.values())))
        if name in observed.maps
    ]
    links = [
        LinkChange("", None, None, pin, Action.DELETE, "the project is destroyed", link.target, link)
        for pin, link in sorted(observed.links.items())
    ]
    changes: tuple[Change, ...] = (*maps, *links)
    kept = [pin for name, pin in adopted_pins(desired).items() if name in observed.maps]
    kept += [pin for pin in observed.other_pins if kept and pin not in observed.own_pins]
    steps = tuple(_steps(desired, observed, maps, links, keep_root=bool(kept)))
    return Plan(
        desired,
        observed,
        changes,
        steps,
        (*_used(desired, observed), *_left(kept)),
        (*_refusals(desired, observed, maps, overrides, keep_root=bool(kept)), *frozen(desired, observed, steps)),
        partial(digest_of, changes),
    )


def _left(pins: list[str]) -> Iterator[Hazard]:
    """A pin root that stays, as another owner pins there."""
    if pins:
        what = f"the pin root also has pins of another owner ({listed(sorted(pins))}): it stays, and so do these"
        yield Hazard("pin-root-stays", Severity.NOTICE, "", what)


def _used(desired: DesiredState, observed: ObservedState) -> Iterator[Hazard]:
    """Maps that are unpinned although programs of others use them; the project's own programs go too."""
    own = {name: live for name, live in observed.maps.items() if desired.maps[name].adopted is None}
    for name, live in sorted({**observed.object_maps, **own}.items()):
        if users := users_of(observed, live.id, observed.programs):
            yield Hazard("map-in-use", Severity.DANGER, name, f"the map is unpinned, but not freed: {users}")


def _steps(
    desired: DesiredState, observed: ObservedState, maps: list[MapChange], links: list[LinkChange], *, keep_root: bool
) -> Iterable[Step]:
    if observed.leftovers:
        yield Sweep()
    yield from moves.steps(observed)
    for link in links:
        yield Detach(link.pin)
    for change in maps:
        rows = change.slots.where(Action.DELETE)
        if change.desired.adopted is not None and change.desired.outer is not None and len(rows):
            yield DeleteSlots(change.name, rows)
    own = [name for name, map_ in desired.maps.items() if map_.adopted is None and name in observed.maps]
    for pin in sorted({*own, *observed.object_maps, *observed.programs, *observed.own_pins}):
        yield Unpin(pin)
    if observed.meta is not None and observed.meta.directories:
        yield RemoveDirectories(observed.meta.directories)
    if observed.meta is not None:
        yield Unpin(META_PIN)
    if not keep_root:
        yield RemovePinRoot()
    elif any(observed.inner_pins.values()):
        yield UnpinInnerMaps()


def _refusals(
    desired: DesiredState, observed: ObservedState, maps: list[MapChange], overrides: Overrides, *, keep_root: bool
) -> Iterable[Refusal]:
    yield from ownership(desired, observed, overrides)
    yield from moves.refusals(observed, overrides)
    yield from protected(observed, maps)
    yield from protected_left(observed)
    if not keep_root:
        yield from _foreign(observed)


def ownership(desired: DesiredState, observed: ObservedState, overrides: Overrides) -> Iterator[Refusal]:
    """What belongs to another project, or to none that is known."""
    if overrides.take_over:
        return
    if observed.meta is not None and observed.meta.project != desired.project:
        yield Refusal("ownership", "", f"the pin root belongs to project `{observed.meta.project}`", "--take-over")
    if observed.meta is None and has_own_pins(desired, observed):
        what = "the pin root has pins with names of the spec, and no record that this project made them"
        yield Refusal("ownership", "", what, "--take-over")
    yield from foreign_places(desired, observed)


def protected(observed: ObservedState, maps: Iterable[MapChange]) -> Iterator[Refusal]:
    """Maps that no destroy takes away, or that are not what the spec adopts."""
    recorded = set(observed.meta.protected) if observed.meta is not None else set()
    for change in maps:
        if change.action is Action.KEEP:  # it does not have the shape that the spec adopts
            yield adopted_shape(change)
        if change.desired.prevent_destroy or change.name in recorded:
            what = "the map is protected, by the spec or by the record of the last apply"
            hint = "write `prevent_destroy: false` in its spec, and apply that first"
            yield Refusal("prevent_destroy", change.name, what, "", change.desired.where, hint)


def frozen(desired: DesiredState, observed: ObservedState, steps: Iterable[Step]) -> Iterator[Refusal]:
    """Frozen maps that lose slots, while the maps themselves stay."""
    for step in steps:
        if isinstance(step, DeleteSlots) and observed.maps[step.map].frozen:
            map_ = desired.maps[step.map]
            theirs = "ask its owner to remove the map, or take it out of the spec: then its slots stay"
            hint = "destroy the whole map" if map_.adopted is None else theirs
            what = "the map is frozen, and no slot of it can be deleted"
            yield Refusal("frozen", step.map, what, "", map_.where, hint)


def _foreign(observed: ObservedState) -> Iterator[Refusal]:
    """What keeps the pin root from being removed, and is not the project's to remove."""
    if observed.foreign_pins:
        what = f"the pin root has pins that are not the project's: {listed(observed.foreign_pins)}"
        yield Refusal("foreign-pins", "", what, "", None, "move or remove them")
    if observed.directories:
        what = f"the pin root has directories that are not the project's: {listed(observed.directories)}"
        yield Refusal("foreign-directories", "", what, "", None, "destroy the project in it, or move it away")


def digest_of(changes: Iterable[Change]) -> str:
    """What binds a saved plan of a destroy to what is live."""
    total = hashlib.sha256()
    for change in changes:
        match change:
            case MapChange() if change.observed is not None:
                total.update(repr((change.name, change.observed.id)).encode())
                total.update(np.ascontiguousarray(change.slots.keys).tobytes())
            case LinkChange():
                total.update(repr((change.pin, change.observed)).encode())
            case _:
                pass
    return "sha256:" + total.hexdigest()
