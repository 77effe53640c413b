"""The pins of the attachments of programs and maps. Pure.

The first attachment of a program has a pin without a hook in its name: once, programs had one attachment only. It keeps
that name for as long as it exists, wherever the spec lists it: the record, or the link itself, says which one it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from provisioner import attach
from provisioner.model.attachment import Attachment
from provisioner.model.desired import DesiredState, Owner
from provisioner.model.observed import POINT_LINKS, ObservedLink, ObservedState
from provisioner.model.pins import link_pin
from provisioner.model.uapi import LinkType


def named(owner: Owner, observed: ObservedState) -> dict[str, Attachment]:
    """The attachments of a program or map in the order of the spec, by the names of their pins."""
    first = link_pin(owner.pin)
    names = [link_pin(owner.pin, attachment.hook) for attachment in owner.attachments]
    free = [at for at, name in enumerate(names) if name not in observed.links]
    live = observed.links.get(first)
    same = [] if live is None else [at for at in free if _is_made(owner.attachments[at], first, live, observed)]
    if live is not None and not live.is_detached:  # it goes elsewhere, unless that does not exist yet: then it goes
        free = [at for at in free if _exists(owner.attachments[at], observed)]
    for at in (same or free)[:1]:
        names[at] = first
    return dict(zip(names, owner.attachments, strict=True))


def at_hook(desired: DesiredState, observed: ObservedState, pin: str, beside: Attachment) -> str | None:
    """The pin of the attachment that a program, by its pin, has at the same hook as `beside`; None if it has none."""
    programs = (program for each in desired.objects.values() for program in each.programs if program.pin == pin)
    names = (
        name for program in programs for name, other in named(program, observed).items() if other.is_beside(beside)
    )
    return next(names, None)


def all_named(desired: DesiredState, observed: ObservedState) -> Iterator[tuple[str, Attachment]]:
    """All attachments of the spec, with the names of their pins."""
    for each in desired.objects.values():
        for owner in each.owners:
            yield from named(owner, observed).items()


def _exists(attachment: Attachment, observed: ObservedState) -> bool:
    return attachment.point is None or attachment.point in observed.points


def _is_made(attachment: Attachment, pin: str, live: ObservedLink, observed: ObservedState) -> bool:
    """Whether the live link at `pin` is that of an attachment, with any program and any mode.

    A link shows where it is, unless it is detached, or its kind is not attached to a thing of the host. That has
    another name if it was renamed.
    """
    number = observed.points.get(attachment.point) if attachment.point is not None else None
    if live.target and number is not None and live.type in (*POINT_LINKS, LinkType.UNSPEC):
        return live.target == number and not attachment.differs(live, None)
    recorded = observed.meta.attachments.get(pin) if observed.meta is not None else None
    made = attach.of_record(recorded, live)
    return made is not None and made.hook == attachment.hook
