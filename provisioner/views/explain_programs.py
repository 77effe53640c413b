"""The facts about an object or program: its line in the spec, what is live, and what apply would do and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from provisioner.model.address import Address
from provisioner.model.desired import DesiredObject, DesiredProgram, DesiredState, Owner
from provisioner.model.pins import owner_of
from provisioner.model.words import plural
from provisioner.planning.changes import Action
from provisioner.planning.diff_variables import in_words, live_values, shown
from provisioner.planning.plan import Plan
from provisioner.report.model import Fact
from provisioner.views.attachments import attached, live_places, wanted, wanted_places, where
from provisioner.views.fact import to_do, wanted_by

_ATTACH: Final = {Action.CREATE: "attach", Action.UPDATE: "attach the new program", Action.REPLACE: "attach again"}

Named = tuple[DesiredObject, Owner | None]
"""An object, or one of its programs or attached maps."""


def named(address: Address, desired: DesiredState) -> Named | None:
    """The object, program or attached map of an address: `router`, `router.xdp_router`, or a program's pin.

    None if it is none of them. An attached map has an address with its object only.
    """
    if address.keys:
        return None
    if address.name in desired.objects:
        return desired.objects[address.name], None
    for object_ in desired.objects.values():
        for owner in object_.owners:
            pins = (owner.pin,) if isinstance(owner, DesiredProgram) else ()
            if address.name in (*pins, f"{object_.name}.{owner.name}"):
                return object_, owner
    return None


def facts(subject: Named, plan: Plan) -> Iterator[Fact]:
    """The facts about it."""
    desired, owner = subject
    return _object(desired, plan) if owner is None else _owner(desired, owner, plan)


def _object(desired: DesiredObject, plan: Plan) -> Iterator[Fact]:
    change = plan.objects[desired.name]
    text = f"{desired.file}, {plural(len(desired.maps), 'map')}, {plural(len(desired.programs), 'program')}"
    maps, programs = sorted(desired.maps), [program.name for program in desired.programs]
    yield Fact("object", text, {"kind": "object", "file": desired.file, "maps": maps, "programs": programs})
    yield wanted_by(desired.where)
    yield Fact("wanted", f"digest {desired.digest}", {"wanted": {"digest": desired.digest}})
    live = plan.observed.meta.objects.get(desired.name, "") if plan.observed.meta is not None else ""
    yield Fact("live", f"digest {live}" if live else "does not exist", {"live": {"digest": live} if live else None})
    if change.carried or change.fresh:
        carried, fresh = sorted(change.carried), sorted(change.fresh)
        text = f"{', '.join(carried) or 'none'} carried over, {', '.join(fresh) or 'none'} created"
        yield Fact("its maps", text, {"carried_maps": carried, "new_maps": fresh})
    values = list(live_values(desired, plan.observed))
    if values:
        text = ", ".join(f"{each.name} {shown(each, each.data)} (live: {shown(each, data)})" for each, data in values)
        variables = {
            each.name: {"wanted": each.decode(each.data), "live": None if data is None else each.decode(data)}
            for each, data in values
        }
        yield Fact("variables", text, {"variables": variables})
    words = {Action.CREATE: "load", Action.UPDATE: "load, and replace the old one"}
    if change.action is Action.UNCHANGED and change.variables:
        yield to_do(Action.UPDATE, in_words(change.variables), "write variables in place")
    else:
        yield to_do(change.action, change.reason, words.get(change.action, ""))


def _owner(desired: DesiredObject, owner: Owner, plan: Plan) -> Iterator[Fact]:
    observed, load = plan.observed, plan.objects[desired.name]
    kind = "program" if isinstance(owner, DesiredProgram) else "map"
    yield Fact(kind, f"{owner.name} of {desired.name}", {"kind": kind, "object": desired.name})
    yield wanted_by(owner.where)
    place = "; ".join(wanted_places(owner))
    yield Fact("wanted", f"pinned as {owner.pin}, {place}", {"wanted": wanted(owner)})
    live, number = observed.programs.get(owner.pin), observed.id_of(owner.pin)
    places = "; ".join(live_places(observed, owner.pin, owner))
    if not number:
        yield Fact("live", "does not exist", {"live": None})
    elif live is None:
        yield Fact("live", f"id {number}, {places}", {"live": {"id": number} | attached(observed, owner.pin)})
    else:
        data = {"id": live.id, "tag": live.tag} | attached(observed, owner.pin)
        yield Fact("live", f"id {live.id}, tag {live.tag}, {places}", {"live": data})
        known = {map_.id: name for name, map_ in {**observed.object_maps, **observed.maps}.items()}
        used = sorted(known[number] for number in live.map_ids if number in known)
        yield Fact("uses", ", ".join(used) or "none of the project", {"uses": used})
    own = [each for each in plan.links if owner_of(each.pin) == owner.pin]
    changed = [each for each in own if each.action is not Action.UNCHANGED]
    changed.sort(key=lambda each: each.action is Action.KEEP)
    if load.action is not Action.UNCHANGED:
        words = "load, and replace the old one" if number else "load and pin"
        yield to_do(Action.UPDATE if number else Action.CREATE, load.reason, words)
    elif changed:
        reasons = [f"{where(each, observed)}: {each.reason}" if len(own) > 1 else each.reason for each in changed]
        yield to_do(changed[0].action, "; ".join(reasons), _ATTACH.get(changed[0].action, ""))
    else:
        yield to_do(Action.UNCHANGED, "")
