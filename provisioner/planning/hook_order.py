"""The order of the programs at a hook: what the spec wants, and what is live. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from provisioner.model.attachment import Attachment
from provisioner.model.desired import Owner
from provisioner.model.observed import ObservedState
from provisioner.planning.changes import Action, LinkChange

_NEW = (Action.CREATE, Action.REPLACE)


class Wish(msgspec.Struct, frozen=True):
    """An attachment of a program or map of an object, and the name of its pin."""

    object: str
    owner: Owner
    pin: str
    attach: Attachment


def neighbours_first(wishes: Sequence[Wish]) -> list[Wish]:
    """Attachments, each after the one that it is to run before or after, and the last ones last.

    The spec has no cycles.
    """
    placed: dict[str, Wish] = {}

    def place(wish: Wish) -> None:
        if wish.pin in placed:
            return
        neighbour = wish.attach.neighbour
        if neighbour is not None and neighbour.name:
            for other in wishes:
                if other.owner.pin == neighbour.name and other.attach.is_beside(wish.attach):
                    place(other)
        placed[wish.pin] = wish

    for wish in sorted(wishes, key=lambda wish: _is_last_of_all(wish.attach)):
        place(wish)
    return list(placed.values())


def missing(attach: Attachment, observed: ObservedState) -> str:
    """What is missing of the program that an attachment names by the path of a pin; empty if it is attached."""
    neighbour, order = attach.neighbour, observed.orders.get(attach.describe())
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
    neighbour, order = attach.neighbour, observed.orders.get(attach.describe())
    if neighbour is None or order is None:
        return ""
    at_hook = [change for change in before if change.attach is not None and change.attach.is_beside(attach)]
    if _is_last_of_all(attach) and any(change.action in _NEW for change in at_hook):
        return "others are attached after it"
    other = order.neighbour
    if neighbour.name and not neighbour.is_foreign:
        named = next((each for each in at_hook if each.owner and each.owner.pin == neighbour.name), None)
        if named is not None and named.action in _NEW:
            return "" if neighbour.is_before and _is_last(named) else f"{neighbour.name} is attached again"
        other = named.observed.program_id if named is not None and named.observed is not None else 0
    if neighbour.holds(observed.links[pin].program_id, other, order.programs):
        return ""
    return f"it does not run {neighbour.describe()}: it is detached and attached again"


def _is_last_of_all(attach: Attachment) -> bool:
    neighbour = attach.neighbour
    return neighbour is not None and not neighbour.name and not neighbour.is_before


def _is_last(change: LinkChange) -> bool:
    """Whether an attachment that is made goes to the end."""
    return change.attach is not None and change.attach.neighbour is None
