"""The facts that all explanations have in common. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from provisioner.model.location import Location
from provisioner.model.overlays import Fields
from provisioner.planning.changes import Action
from provisioner.report.model import Fact

DONE: Final = {
    Action.UNCHANGED: "nothing: it matches the spec",
    Action.CREATE: "create",
    Action.UPDATE: "change in place",
    Action.REPLACE: "replace with a new map",
    Action.DELETE: "delete",
    Action.KEEP: "nothing: it is not managed here",
}


def wanted_by(where: Location | None) -> Fact:
    """The line of the spec that declares it."""
    if where is None:
        return Fact("wanted by", "not in the spec", {"wanted_by": None, "wanted": None})
    place = where.short() if where.line else where.file
    return Fact("wanted by", place, {"wanted_by": {"file": where.file, "line": where.line or None}})


def decided_by(fields: Fields) -> Iterator[Fact]:
    """The fields that overlays and variables set."""
    if fields:
        text = ", ".join(f"{field}: {place}" for field, place in fields.items())
        yield Fact("set by", text, {"sources": dict(fields)})


def to_do(action: Action, reason: str, words: str = "") -> Fact:
    """The action on a map, slot, object or program; `words` replace the usual ones."""
    text = words or DONE[action]
    nothing = action in (Action.UNCHANGED, Action.KEEP)
    return doing(f"{text}: {reason}" if reason else text, None if nothing else action.name.lower(), reason)


def doing(text: str, action: str | None, reason: str = "") -> Fact:
    """The action in words, and as `action` of a plan's changes, None for nothing."""
    return Fact("to do", text, {"action": action, "reason": reason, "to_do": text})
