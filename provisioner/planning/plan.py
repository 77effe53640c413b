"""From changes to a plan: ordered steps, hazards and refusals. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from provisioner.model.desired import DesiredState
from provisioner.model.observed import ObservedState
from provisioner.planning import approved, carried, evictions, members, moves, relaid
from provisioner.planning.approved import Approved
from provisioner.planning.changes import Change, LinkChange, MapChange, ObjectChange
from provisioner.planning.diff_objects import shared_out
from provisioner.planning.fingerprint import Part, digest, fingerprints
from provisioner.planning.hazards import Hazard, Overrides, Refusal, deferred, hazards
from provisioner.planning.jumps import dropped_slots
from provisioner.planning.ordering import publishing_order, steps_in_order
from provisioner.planning.room import no_room
from provisioner.planning.rules import refusals
from provisioner.planning.steps import MovePins, MoveRoot, MoveSlots, PinInnerMaps, SetAccess, Step
from provisioner.planning.wanted_record import wanted_meta

if TYPE_CHECKING:
    from provisioner.planning.targets import Targets


class Plan(msgspec.Struct, frozen=True, dict=True):
    """Everything there is to know before anything is done. `bind` computes its digest.

    `targets` are the addresses that it is limited to, none for all of the spec; `whole` those of
    the maps and objects that it then changes as a whole. `recreate` are the addresses that are recreated on request.
    `approved` are refusals that the spec approves.
    """

    desired: DesiredState
    observed: ObservedState
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    hazards: tuple[Hazard, ...]
    blocked: tuple[Refusal, ...]
    bind: Callable[[], str]
    targets: tuple[str, ...] = ()
    whole: frozenset[str] = frozenset()
    recreate: tuple[str, ...] = ()
    approved: tuple[Approved, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    @cached_property
    def digest(self) -> str:
        """What binds a saved plan to both states. It takes as long as hashing all entries, and many plans need none."""
        return self.bind()

    @property
    def fingerprints(self) -> Mapping[str, Part]:
        """What `digest` is made of, by address: it shows where two plans differ."""
        return fingerprints(self.changes)

    @cached_property
    def maps(self) -> Mapping[str, MapChange]:
        return {change.name: change for change in self.changes if isinstance(change, MapChange)}

    @cached_property
    def objects(self) -> Mapping[str, ObjectChange]:
        return {change.name: change for change in self.changes if isinstance(change, ObjectChange)}

    @cached_property
    def links(self) -> tuple[LinkChange, ...]:
        return tuple(change for change in self.changes if isinstance(change, LinkChange))


def make_plan(
    desired: DesiredState,
    observed: ObservedState,
    maps: Iterable[MapChange],
    objects: Iterable[ObjectChange],
    links: Iterable[LinkChange],
    overrides: Overrides = Overrides(),
    targets: Targets | None = None,
    whole: frozenset[str] = frozenset(),
) -> Plan:
    """Order the changes into steps, and judge them.

    With `targets`, changes are those of what is targeted alone; `whole` names those that are not cut to some slots.
    """
    cpus = desired.host.possible_cpus
    by_name = {change.name: change for change in maps}
    order = publishing_order(list(desired.maps.values()))
    ordered = [by_name[name] for name in order if name in by_name]
    loads = shared_out(sorted(objects, key=lambda change: change.name))
    attachments = tuple(links)
    part = desired if targets is None else _part(desired, ordered, loads)
    limited = targets is not None
    blocked, lifted = approved.judge(
        (
            *refusals(desired, observed, ordered, loads, overrides),
            *no_room(ordered),
            *moves.refusals(observed, overrides),
            *moves.converted(desired, ordered),
            *evictions.refusals(ordered, cpus),
        ),
        desired.approvals,
        observed.meta,
    )
    steps = steps_in_order(part, observed, ordered, loads, attachments, overrides, limited, lifted)
    changes: tuple[Change, ...] = (*loads, *ordered, *attachments)
    known = (
        *hazards(observed, ordered, loads, overrides),
        *relaid.hazards(ordered, loads),
        *carried.hazards(ordered),
        *members.hazards(ordered),
        *evictions.hazards(ordered, cpus),
        *dropped_slots(observed, loads, desired),
        *deferred(attachments),
        *approved.hazards(lifted),
    )
    meta = wanted_meta(part, observed, limited=limited, lifted=lifted)
    bind = partial(digest, desired.project, desired.pin_root, meta, changes)
    wishes = tuple(_pin_wishes(desired, observed, steps))
    if targets is None:
        return Plan(desired, observed, changes, steps, known, blocked, partial(bind, wishes), approved=lifted)
    from provisioner.planning.targets import vacant  # only a limited plan needs it

    known = (*known, *vacant(targets, ordered))
    bind = partial(bind, (*wishes, repr(targets.addresses)))
    return Plan(desired, observed, changes, steps, known, blocked, bind, targets.addresses, whole, approved=lifted)


def _part(desired: DesiredState, maps: Iterable[MapChange], objects: Iterable[ObjectChange]) -> DesiredState:
    """What is desired of that which a limited plan is about."""
    return replace(
        desired,
        maps={change.name: change.desired for change in maps},
        objects={change.name: change.desired for change in objects},
    )


def _pin_wishes(desired: DesiredState, observed: ObservedState, steps: Iterable[Step]) -> Iterable[str]:
    """What steps do to pins, which is in no change."""
    for step in steps:
        match step:
            case PinInnerMaps():
                yield repr((step.map, step.slots.tolist()))
            case MoveRoot():
                yield repr((step.old, step.new))
            case MovePins():
                yield repr([each.renames for each in step.moves])
            case MoveSlots():
                yield repr([(slot.move.old, slot.move.new, slot.id) for slot in step.slots])
            case SetAccess():
                access = [(pin, observed.access[pin]) for pin in step.pins]
                yield repr((desired.pin_mode, observed.gid, access))
            case _:
                pass
