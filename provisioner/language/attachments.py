"""What a schema cannot express about attachments: hooks with room for one program, and the order at others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.attach.tcx import Tcx
from provisioner.model.attachment import Attachment
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import Program, Spec

Hook = tuple[str, str]
"""The interface and the direction of a tcx hook."""


def check(spec: Spec, problems: Problems) -> None:
    """Report programs that would be attached where another one is, and orders that cannot be."""
    taken: dict[str, tuple[str, Location]] = {}
    ordered: dict[str, tuple[str, Program, Tcx]] = {}
    for declared in spec.objects.values():
        for program in declared.programs:
            if program.attach is not None:
                address = f"{declared.name}.{program.name}"
                _room(program.attach, address, taken, problems)
                if isinstance(program.attach, Tcx):
                    ordered[program.pin] = address, program, program.attach
    for pin, (address, _, attach) in ordered.items():
        _order(pin, address, attach, ordered, problems)


def _room(attach: Attachment, address: str, taken: dict[str, tuple[str, Location]], problems: Problems) -> None:
    place = attach.room_for_one or _end(attach)
    if not place:
        return
    first, where = taken.setdefault(place, (address, attach.where))
    if where != attach.where:
        what = f"{place} has room for one program, which is `{first}` ({where})"
        problems.add(what, attach.where, attach.instead, address, id="hook-occupied")


def _end(attach: Attachment) -> str:
    """The first or last place at a hook."""
    is_end = isinstance(attach, Tcx) and attach.order is not None and not attach.order.name
    return attach.describe() if is_end else ""


def _order(
    pin: str, address: str, attach: Tcx, programs: Mapping[str, tuple[str, Program, Tcx]], problems: Problems
) -> None:
    neighbour = attach.order
    if attach.has_two_orders:
        what = "only one of `before`, `after` and `order` can be written"
        problems.add(what, attach.where, "remove the others", address, id="conflicting-fields")
    if neighbour is None or not neighbour.name or neighbour.is_foreign:
        return
    at_hook = {name for name, (_, _, other) in programs.items() if _hook(other) == _hook(attach) and name != pin}
    if neighbour.name not in at_hook:
        what = f"`{neighbour.name}` is not another program that the spec attaches to this hook"
        hint = did_you_mean(neighbour.name, at_hook) or "write the pin of a program, or the path of a pin"
        problems.add(what, attach.where, hint, address, id="unknown-reference")
    elif _is_circle(pin, programs):
        what = f"`{pin}` and `{neighbour.name}` are attached beside each other: none can be the first to be attached"
        problems.add(what, attach.where, "write the order at one of them", address, id="circular-reference")


def _is_circle(pin: str, programs: Mapping[str, tuple[str, Program, Tcx]]) -> bool:
    """Whether a program comes back to itself by the programs that are named."""
    seen: list[str] = []
    while pin in programs and pin not in seen:
        seen.append(pin)
        order = programs[pin][2].order
        pin = "" if order is None else order.name
    return pin == seen[0]


def _hook(attach: Tcx) -> Hook:
    return attach.interface, attach.direction
