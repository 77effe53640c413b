"""The attachments of a program or map, wanted and live: as JSON, and as nodes of a report. Pure.

The fields of the first attachment are those of the program itself, as in the time of one attachment per program;
`attachments` has all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from provisioner.attach import of_record
from provisioner.model.attachment import Attachment, Settings
from provisioner.model.desired import DesiredProgram, Owner
from provisioner.model.observed import ObservedLink, ObservedState
from provisioner.model.types import Value
from provisioner.planning.changes import Action, LinkChange
from provisioner.report.model import Children, Kind, Node
from provisioner.views.map_nodes import VERBS

Json = dict[str, Value]

_MOST: Final = 8
"""Places that are listed of one program: an event can have hundreds of CPUs."""


def wanted(owner: Owner) -> Json:
    """What the spec says of a program, or of a map that is attached."""
    places = [_settings(attachment) for attachment in owner.attachments]
    first: Mapping[str, Value] = places[0] if places else {}
    return {"pin": owner.pin, "interface": None, "mode": None, **first, "attachments": places}


def wanted_places(owner: Owner) -> list[str]:
    """The places of a program or map in a spec, in words; the first ones of many."""
    return _few([attachment.describe() for attachment in owner.attachments], _of_map(owner))


def live_places(observed: ObservedState, pin: str, owner: Owner | None) -> list[str]:
    """The places where a program or map is attached, by its pin, in words; the first ones of many.

    `owner` is what the spec has with this pin.
    """
    counted = Counter(map(observed.place_of, observed.links_of(pin).values()))
    places = [place if number == 1 else f"{place}, {number} links" for place, number in counted.items()]
    return _few(places, _of_map(owner))


def _of_map(owner: Owner | None) -> str:
    """The map that a program is attached with; empty if it is attached by itself."""
    return owner.of_map if isinstance(owner, DesiredProgram) else ""


def _few(places: list[str], of_map: str) -> list[str]:
    if not places:
        return [f"part of map {of_map}" if of_map else "not attached"]
    return places if len(places) <= _MOST else [*places[: _MOST - 1], f"{len(places) - _MOST + 1} more"]


def attached(observed: ObservedState, owner: str) -> Json:
    """Where a program or map is attached, by its pin."""
    places = [_live(pin, link, observed) for pin, link in observed.links_of(owner).items()]
    return {"ifindex": places[0]["ifindex"] if places else None, "attachments": places}


def attached_with_mode(observed: ObservedState, program: str) -> Json:
    """The same, with the XDP mode that was recorded for the first attachment."""
    first = next(iter(observed.links_of(program)), "")
    return {**attached(observed, program), "mode": _mode(first, observed)}


def where(change: LinkChange, observed: ObservedState) -> str:
    """The place of an attachment: as the spec has it, or as it was made if the spec does not."""
    if change.attach is not None:
        return change.attach.describe()
    recorded = observed.meta.attachments.get(change.pin) if observed.meta is not None else None
    made = of_record(recorded, change.observed) if change.observed is not None else None
    if made is not None:
        return made.hook
    return observed.place_of(change.observed) if change.observed is not None else change.pin


def several(links: Sequence[LinkChange], address: str, observed: ObservedState) -> Children | None:
    """A node for each attachment of a program that has several; None for others."""
    shown = [link for link in links if link.action in VERBS]
    if len(links) < 2 or not shown:
        return None

    def make() -> Iterator[Node]:
        for link in shown:
            yield _node(link, address, observed)

    return Children(Kind.ATTACHMENT, len(shown), len(shown), make)


def _node(link: LinkChange, address: str, observed: ObservedState) -> Node:
    hook = link.attach.hook if link.attach is not None else where(link, observed)
    verb, place = VERBS[link.action], where(link, observed)
    rest = place.removeprefix(hook).removeprefix(", ")
    reason = "" if link.action is Action.CREATE else link.reason
    text = ": ".join(filter(None, (rest, reason)))
    live = link.observed
    before = None if live is None else _live(link.pin, live, observed)
    after = None if link.attach is None else {"pin": link.pin, **_settings(link.attach)}
    return Node(Kind.ATTACHMENT, verb, f"{address}[{hook}]", hook, text, link.reason, before, after)


def _live(pin: str, live: ObservedLink, observed: ObservedState) -> Json:
    place = {"pin": pin, "id": live.id, "place": observed.place_of(live), "ifindex": live.ifindex}
    return {**place, "mode": _mode(pin, observed)}


def _mode(pin: str, observed: ObservedState) -> str | None:
    recorded: Settings = observed.meta.attachments.get(pin, {}) if observed.meta is not None else {}
    return recorded.get("mode")


def _settings(attachment: Attachment) -> Json:
    return {"attach": attachment.kind, **attachment.settings()}
