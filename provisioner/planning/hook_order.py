"""The order of the programs at a hook: what the spec wants, and what is live. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provisioner.model.attachment import Attachment
from provisioner.model.desired import DesiredProgram
from provisioner.model.observed import ObservedState
from provisioner.model.pins import link_pin
from provisioner.planning.changes import Action, LinkChange

_NEW = (Action.CREATE, Action.REPLACE)


def neighbours_first(programs: Sequence[tuple[str, DesiredProgram]]) -> list[tuple[str, DesiredProgram]]:
    """Programs with their objects, each after the one that it is attached before or after, and the last ones last.

    The spec has no cycles.
    """
    placed: dict[str, tuple[str, DesiredProgram]] = {}
    known = {program.pin: (name, program) for name, program in programs}

    def place(pin: str) -> None:
        if pin in placed or pin not in known:
            return
        attach = known[pin][1].attach
        if attach is not None and attach.neighbour is not None:
            place(attach.neighbour.name)
        placed[pin] = known[pin]

    for _, program in sorted(programs, key=lambda pair: _is_last_of_all(pair[1].attach)):
        place(program.pin)
    return list(placed.values())


def missing(attach: Attachment, pin: str, observed: ObservedState) -> str:
    """What is missing of the program that an attachment names by the path of a pin; empty if it is attached."""
    neighbour, order = attach.neighbour, observed.orders.get(pin)
    if neighbour is None or not neighbour.is_foreign or order is None:
        return ""
    if not order.neighbour:
        return f"{neighbour.name} is not the pin of a program or a link"
    if order.programs and order.neighbour not in order.programs:
        return f"program {order.neighbour} at {neighbour.name} is not attached to this hook"
    return ""


def misplaced(attach: Attachment, pin: str, observed: ObservedState, before: Iterable[LinkChange]) -> str:
    """Why the live link at `pin` must be made again for its place; empty if it need not.

    `before` are the changes of the attachments that come before it.
    """
    neighbour, order = attach.neighbour, observed.orders.get(pin)
    if neighbour is None or order is None:
        return ""
    if _is_last_of_all(attach) and any(change.action in _NEW and _is_at(change, attach) for change in before):
        return "others are attached after it"
    other = order.neighbour
    if neighbour.name and not neighbour.is_foreign:
        named = link_pin(neighbour.name)
        change = next((change for change in before if change.pin == named), None)
        if change is not None and change.action in _NEW:
            return "" if neighbour.is_before and _is_last(change) else f"{neighbour.name} is attached again"
        other = observed.links[named].program_id if named in observed.links else 0
    if neighbour.holds(observed.links[pin].program_id, other, order.programs):
        return ""
    return f"it does not run {neighbour.describe()}: it is detached and attached again"


def _is_last_of_all(attach: Attachment | None) -> bool:
    neighbour = None if attach is None else attach.neighbour
    return neighbour is not None and not neighbour.name and not neighbour.is_before


def _is_at(change: LinkChange, attach: Attachment) -> bool:
    """Whether a program is attached to the same hook."""
    other = change.program.attach if change.program is not None else None
    return other is not None and (other.point, other.request()) == (attach.point, attach.request())


def _is_last(change: LinkChange) -> bool:
    """Whether an attachment that is made goes to the end."""
    attach = change.program.attach if change.program is not None else None
    return attach is not None and attach.neighbour is None
