"""The plan that takes a project away: what apply does backwards, and nothing more than the project owns. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from provisioner.model.desired import DesiredState
from provisioner.model.observed import ObservedState
from provisioner.model.pins import META_PIN, adopted_pins
from provisioner.planning.changes import Action, Change, LinkChange, MapChange
from provisioner.planning.diff import deleted
from provisioner.planning.hazards import Hazard, Overrides, Refusal, Severity
from provisioner.planning.plan import Plan, publishing_order
from provisioner.planning.rules import adopted_shape, has_own_pins
from provisioner.planning.steps import DeleteSlots, Detach, RemovePinRoot, Step, Sweep, Unpin, UnpinInnerMaps


def plan_destroy(desired: DesiredState, observed: ObservedState, overrides: Overrides) -> Plan:
    """Detach first, so that no program reads what goes; then slots in adopted maps, pins, the record, the folder.

    A pin root that adopted maps are pinned in is somebody else's folder: it stays, with all that is theirs.
    """
    if not observed.exists:
        return Plan(desired, observed, (), (), (), (), _digest(()))
    maps = [
        deleted(desired.maps[name], observed.maps[name])
        for name in reversed(publishing_order(list(desired.maps.values())))
        if name in observed.maps
    ]
    links = [
        LinkChange("", None, pin, Action.DELETE, "the project is destroyed", link.target, link)
        for pin, link in sorted(observed.links.items())
    ]
    changes: tuple[Change, ...] = (*maps, *links)
    kept = [pin for name, pin in adopted_pins(desired).items() if name in observed.maps]
    kept += [pin for pin in observed.other_pins if kept and pin not in observed.own_pins]
    return Plan(
        desired,
        observed,
        changes,
        tuple(_steps(desired, observed, maps, links, keep_root=bool(kept))),
        _left(kept),
        tuple(_refusals(desired, observed, maps, overrides, keep_root=bool(kept))),
        _digest(changes),
    )


def _left(pins: list[str]) -> tuple[Hazard, ...]:
    """What is said of a pin root that stays, for somebody else pins there."""
    if not pins:
        return ()
    names = ", ".join(sorted(pins)[:5]) + (", ..." if len(pins) > 5 else "")
    what = f"the pin root is where somebody else pins ({names}): it stays, and so do these"
    return (Hazard("pin-root-stays", Severity.NOTICE, "", what),)


def _steps(
    desired: DesiredState, observed: ObservedState, maps: list[MapChange], links: list[LinkChange], *, keep_root: bool
) -> Iterable[Step]:
    if observed.leftovers:
        yield Sweep()
    for link in links:
        yield Detach(link.pin)
    for change in maps:
        rows = change.slots.where(Action.DELETE)
        if change.desired.adopted is not None and change.desired.outer is not None and len(rows):
            yield DeleteSlots(change.name, rows)
    own = [name for name, one in desired.maps.items() if one.adopted is None and name in observed.maps]
    for pin in sorted({*own, *observed.object_maps, *observed.programs, *observed.own_pins}):
        yield Unpin(pin)
    if observed.meta is not None:
        yield Unpin(META_PIN)
    if not keep_root:
        yield RemovePinRoot()
    elif any(observed.inner_pins.values()):
        yield UnpinInnerMaps()


def _refusals(
    desired: DesiredState, observed: ObservedState, maps: list[MapChange], overrides: Overrides, *, keep_root: bool
) -> Iterable[Refusal]:
    if observed.meta is not None and observed.meta.project != desired.project and not overrides.take_over:
        yield Refusal("ownership", "", f"the pin root belongs to project `{observed.meta.project}`", "--take-over")
    if observed.meta is None and has_own_pins(desired, observed) and not overrides.take_over:
        yield Refusal("ownership", "", "there is no record that this project made these pins", "--take-over")
    protected = set(observed.meta.protected) if observed.meta is not None else set()
    for change in maps:
        if change.action is Action.KEEP:  # it is not the one that the spec adopts
            yield adopted_shape(change)
        if change.desired.prevent_destroy or change.name in protected:
            yield Refusal("prevent_destroy", change.name, "it is protected", "")
    foreign = [pin for pin in observed.other_pins if pin not in observed.own_pins]
    if foreign and not keep_root:
        yield Refusal(
            "foreign-pins", "", f"the pin root holds pins that are not the project's: {', '.join(foreign[:5])}", ""
        )


def _digest(changes: Iterable[Change]) -> str:
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
