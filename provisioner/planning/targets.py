"""A plan that is limited to a part of the spec: which maps, slots and objects it is about, and what comes with them.

The whole spec is still compared with what is pinned; only changes of what is targeted are found, so that nothing else
can be touched. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from provisioner.codec.display import format_value
from provisioner.model import address, entry_table
from provisioner.model.desired import DesiredMap, DesiredSlots, DesiredState, OuterPolicy
from provisioner.model.errors import InputError, Problem, Problems, ProvisionerError, did_you_mean
from provisioner.model.observed import ObservedState
from provisioner.model.pins import owner_of
from provisioner.model.record import Meta, RecordedTypes
from provisioner.model.types import Bytes
from provisioner.planning.changes import LinkChange, MapChange, ObjectChange
from provisioner.planning.hazards import Hazard, Severity
from provisioner.planning.recreation import replaced_because


class SlotTarget(msgspec.Struct, frozen=True):
    """One slot of an outer map: its outer key in the kernel's bytes, shape (key size,)."""

    address: str
    map: str
    key: Bytes


class Targets(msgspec.Struct, frozen=True):
    """What a plan is limited to: names of whole maps, single slots, and names of objects."""

    maps: frozenset[str]
    slots: tuple[SlotTarget, ...]
    objects: frozenset[str]

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is targeted, in an order that does not depend on the input."""
        return tuple(sorted({*self.maps, *self.objects, *(one.address for one in self.slots)}))


def find(texts: Iterable[str], desired: DesiredState) -> Targets:
    """The targets that addresses name. Raises InputError with all addresses that name nothing, or too small a part."""
    maps, objects, problems = set(), set(), Problems()
    slots: dict[tuple[str, bytes], SlotTarget] = {}
    for text in texts:
        try:
            parsed = address.parse(text, desired)
            if parsed.name not in desired.maps:
                objects.add(_object(parsed, desired))
                continue
            place = address.find(parsed, desired)
            if place.entry is not None:
                raise _too_small(place, parsed, desired)
            if place.slot is None or place.map.outer is None:
                maps.add(place.map.name)
            else:
                slots[place.map.name, place.slot.tobytes()] = _slot(place.map, place.map.outer, place.slot)
        except ProvisionerError as error:
            problems.extend(error.problems)
    problems.raise_if_any(InputError)
    return Targets(frozenset(maps), tuple(slots[one] for one in sorted(slots)), frozenset(objects))


def _slot(desired: DesiredMap, outer: OuterPolicy, key: Bytes) -> SlotTarget:
    """A slot by its key, in any spelling; a sensitive key is concealed."""
    label = format_value(outer.key.conceal(outer.key.decode(key[np.newaxis])[0]))
    return SlotTarget(f"{desired.name}[{label}]", desired.name, key)


def _object(parsed: address.Address, desired: DesiredState) -> str:
    if parsed.name in desired.objects and not parsed.keys:
        return parsed.name
    owner = parsed.name.partition(".")[0]
    names = [*desired.maps, *desired.objects]
    near = f"target the object: {owner}" if owner in desired.objects else did_you_mean(parsed.name, names)
    new = next((move.new for move in desired.moved if move.old == parsed.name), None)
    near = f"`moved` gives it the name {new}" if new is not None else near
    shown = address.shown(parsed, desired)
    raise InputError(
        Problem(f"the spec has no map or object `{parsed.name}`", hint=near, address=shown, id="unknown-reference")
    )


def _too_small(place: address.Place, parsed: address.Address, desired: DesiredState) -> InputError:
    keys = () if place.map.outer is None else parsed.keys[:1]
    whole = address.shown(replace(parsed, keys=keys), desired)
    what = "an entry cannot be targeted: a plan is limited to maps, slots or objects"
    return InputError(Problem(what, hint=f"target {whole}", address=place.address, id="entry-target"))


class Scope(msgspec.Struct, frozen=True):
    """What a plan compares: maps, cut to the slots that are targeted, and objects to load.

    `whole` are the addresses of those that are not cut.
    """

    maps: dict[str, DesiredMap]
    objects: dict[str, ObjectChange]
    whole: frozenset[str]


def scope(
    targets: Targets, desired: DesiredState, observed: ObservedState, objects: Mapping[str, ObjectChange]
) -> Scope:
    """The targets, and what they cannot do without.

    An object comes along only where a targeted map is not there without it. What it then makes comes whole, for its
    programs run with it at once; so does a map that is recreated, which would lose its other slots otherwise.
    """
    require_in_range(targets, desired, observed)
    slots: dict[str, list[Bytes]] = {}
    for target in targets.slots:
        if target.map in observed.maps or _declares(desired.maps[target.map], target.key):
            slots.setdefault(target.map, []).append(target.key)
    named = targets.maps | slots.keys()
    loads = {name for name, change in objects.items() if name in targets.objects or named & set(change.fresh)}
    made = {name for owner in loads for name in objects[owner].fresh}
    whole, maps = loads - desired.maps.keys(), {}
    for name, wanted in desired.maps.items():
        live = observed.maps.get(name)
        recreated = live is not None and name in named and bool(replaced_because(wanted, live, observed.meta))
        if name in made | targets.maps or recreated:
            maps[name] = wanted
            whole.add(name)
        elif name in slots:
            maps[name] = _cut(wanted, slots[name])
    return Scope(maps, {name: change for name, change in objects.items() if name in loads}, frozenset(whole))


def require_in_range(targets: Targets, desired: DesiredState, observed: ObservedState) -> None:
    """Raise InputError for slots that arrays of maps cannot have, neither that of the spec nor the live one."""
    problems = Problems()
    for target in targets.slots:
        wanted, live = desired.maps[target.map], observed.maps.get(target.map)
        if wanted.outer is not None and wanted.shape.is_array:
            capacity = max(wanted.shape.max_entries, live.shape.max_entries if live is not None else 0)
            try:
                address.require_index(target.key, wanted.outer.key, capacity, target.address)
            except InputError as error:
                problems.extend(error.problems)
    problems.raise_if_any(InputError)


def _declares(desired: DesiredMap, key: Bytes) -> bool:
    """Whether the spec has a slot: a map is not created for another one, which would leave it empty."""
    return bool(entry_table.among(key[np.newaxis], desired.slots.keys).any())


def _cut(desired: DesiredMap, keys: Sequence[Bytes]) -> DesiredMap:
    """An outer map with the slots of `keys` alone, and those that share an inner map with one of them."""
    assert desired.outer is not None
    asked = np.stack(keys)
    asked = asked[entry_table.distinct(asked)[0]]
    slots = desired.slots
    chosen = entry_table.among(slots.keys, asked)
    shares = np.unique(slots.shared[chosen])
    chosen |= np.isin(slots.shared, shares[shares >= 0])
    rows = np.flatnonzero(chosen)
    both = np.concatenate((asked, slots.keys[rows]))
    entries, kept = entry_table.part(desired.entries, rows)
    return replace(
        desired,
        outer=replace(desired.outer, only=both[entry_table.distinct(both)[0]]),
        slots=DesiredSlots(
            slots.keys[rows],
            slots.max_entries[rows],
            slots.contents[rows],
            slots.shared[rows],
            tuple(slots.places[row] for row in rows.tolist()),
            slots.members[rows] if slots.members is not None else None,
        ),
        entries=entries,
        sources=desired.sources.part(kept),
    )


def vacant(targets: Targets, maps: Iterable[MapChange]) -> Iterator[Hazard]:
    """Targeted slots that neither the spec nor the live map has: probably a mistake."""
    known = {change.name: change.slots.keys for change in maps}
    for target in targets.slots:
        keys = known.get(target.map)
        if keys is None or not entry_table.among(target.key[np.newaxis], keys).any():
            what = "neither the spec nor the live map has this slot: there is nothing to do about it"
            yield Hazard("target-vacant", Severity.NOTICE, target.address, what)


def merged_meta(part: Meta, observed: ObservedState, desired: DesiredState) -> Meta:
    """The record after a limited apply: `part`, that of what `desired` was cut to, and what stays of the old one."""
    before = observed.meta
    if before is None:
        return part
    own = {owner.pin for one in desired.objects.values() for owner in one.owners}
    return replace(
        part,
        objects=dict(sorted({**before.objects, **part.objects}.items())),
        templates=dict(sorted({**before.templates, **part.templates}.items())),
        attachments={pin: kept for pin, kept in before.attachments.items() if owner_of(pin) not in own}
        | dict(part.attachments),
        protected=tuple(sorted({name for name in before.protected if name not in desired.maps} | {*part.protected})),
        pins=tuple(sorted({*before.pins, *part.pins})),
        settings={name: one for name, one in before.settings.items() if name not in desired.objects}
        | dict(part.settings),
        types=dict(sorted({**before.types, **part.types, **_types_left(before, observed, desired)}.items())),
        places=dict(sorted({**before.places, **part.places}.items())),
    )


def _types_left(before: Meta, observed: ObservedState, desired: DesiredState) -> dict[str, RecordedTypes]:
    """The recorded types of live maps of which only some slots are targeted: the others still have them."""
    outers = {name: map_.outer for name, map_ in desired.maps.items() if name in observed.maps}
    cut = {name for name, outer in outers.items() if outer is not None and outer.only is not None}
    return {name: types for name, types in before.types.items() if name in cut}


def links_of(objects: Iterable[ObjectChange], links: Iterable[LinkChange]) -> tuple[LinkChange, ...]:
    """The attachments of these objects' programs and maps."""
    pins = {owner.pin for change in objects for owner in change.desired.owners}
    return tuple(link for link in links if owner_of(link.pin) in pins)
