"""prog_arrays: each belongs to the generation of programs that jumps through it. Pure.

Programs that run must never jump into programs of another version. So an upgrade of an object gives it new prog_arrays,
filled before any link is switched, and the old ones go with the old programs. A slot that differs is an upgrade, too.
Arrays that stay (adopted, or without an object) have their slots written in place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from msgspec.structs import replace

from provisioner.codec.program_ref import ProgramRef
from provisioner.model.desired import DesiredMap, DesiredObject, DesiredState
from provisioner.model.observed import ObservedState
from provisioner.planning.changes import Action, MapChange, ObjectChange
from provisioner.planning.diff import created
from provisioner.planning.hazards import Hazard, Severity

Diff = Callable[[DesiredMap], MapChange]
"""Compares a map, whose values are bound to live programs, with the live one."""


def compared(
    desired: DesiredState,
    observed: ObservedState,
    maps: Iterable[DesiredMap],
    objects: Mapping[str, ObjectChange],
    diff: Diff,
) -> tuple[dict[str, MapChange], dict[str, ObjectChange]]:
    """The changes of the prog_arrays among `maps`, and all objects: those whose slots differ are to be loaded again."""
    arrays, loads = [each for each in maps if isinstance(each.value, ProgramRef)], dict(objects)
    while True:
        names = {name for each in arrays if isinstance(each.value, ProgramRef) for name in each.value.names}
        live = _live_programs(desired, observed, loads, names)
        changes = {each.name: _change(each, live, loads, diff) for each in arrays}
        renewed = [name for name, change in changes.items() if _asks_for_load(change, loads)]
        if not renewed:
            return changes, loads
        for name in renewed:
            load = loads[changes[name].desired.object or ""]
            loads[load.name] = replace(load, action=Action.UPDATE, reason=f"slots of {name} differ")


def _change(desired: DesiredMap, live: Mapping[int, str], objects: Mapping[str, ObjectChange], diff: Diff) -> MapChange:
    assert isinstance(desired.value, ProgramRef)
    value = desired.value.bound(live)
    entries = replace(desired.entries, values=value.bind(desired.entries.values))
    change = diff(replace(desired, value=value, entries=entries))
    load = objects.get(desired.object or "")
    if load is None or load.action is Action.UNCHANGED or change.action is Action.CREATE:
        return change
    return created(change.desired, change.observed, f"{load.name} is loaded again")


def _asks_for_load(change: MapChange, objects: Mapping[str, ObjectChange]) -> bool:
    load = objects.get(change.desired.object or "")
    return load is not None and load.action is Action.UNCHANGED and change.action is not Action.UNCHANGED


def _live_programs(
    desired: DesiredState, observed: ObservedState, objects: Mapping[str, ObjectChange], names: Collection[str]
) -> dict[int, str]:
    """The names of programs by their ids, as prog_arrays name them; those that are loaded again have no id yet."""
    loaded = [each for each in desired.objects.values() if _stays(each, objects)]
    return {
        observed.programs[program.pin].id: name
        for each in loaded
        for program in each.programs
        if program.pin in observed.programs
        for name in (program.name, f"{each.name}.{program.name}")
        if name in names
    }


def _stays(desired: DesiredObject, objects: Mapping[str, ObjectChange]) -> bool:
    load = objects.get(desired.name)
    return load is None or load.action is Action.UNCHANGED


def dropped_slots(observed: ObservedState, objects: Iterable[ObjectChange], desired: DesiredState) -> Iterator[Hazard]:
    """Slots of old prog_arrays that neither the spec nor the object fills in the new ones: another loader did."""
    for load in objects:
        if load.action is not Action.UPDATE:
            continue
        for name, slots in observed.jump_slots.items():
            declared = desired.maps.get(name)
            lost = sorted(slots - load.desired.presets.get(name, frozenset()) - _listed(declared))
            if name in load.desired.maps and lost:
                numbers = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
                what = f"the new array does not have the programs that another loader put into slots {numbers}"
                yield Hazard("jump-slots-dropped", Severity.DANGER, name, f"{what}: list them under `entries:`")


def _listed(desired: DesiredMap | None) -> frozenset[int]:
    if desired is None or not isinstance(desired.value, ProgramRef):
        return frozenset()
    return frozenset(int.from_bytes(key.tobytes(), desired.value.byteorder) for key in desired.entries.keys)
