"""A plan, and how it ended, as one JSON document; schemas/plan.schema.json describes it.

Written in pieces, a change to a line, so that a plan of millions of entries is never one object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import to_builtins

from provisioner.model.desired import DesiredState
from provisioner.model.kernel_versions import Advice
from provisioner.report.model import Against, Fact, Kind, Node, Outcome, ReportLive, ReportPlan, Verb

FORMAT_VERSION: Final = "1.0"
"""Goes up in its first part when a key goes or changes its meaning; new keys may come at any time."""


def render(plan: ReportPlan, end: Outcome | None = None) -> Iterator[str]:
    """The document in pieces of whole lines; `end` is there for what apply and destroy did."""
    head = {
        "format_version": FORMAT_VERSION,
        "project": plan.project,
        "pin_root": plan.pin_root,
        "digest": plan.digest,
        "changed": plan.changed,
        "summary": to_builtins(plan.summary),
    }
    if plan.against is not None:
        head["against"] = to_builtins(plan.against)
    if plan.targets:
        head["targets"] = list(plan.targets)
    if plan.sources:
        head["sources"] = dict(plan.sources)
    yield "{\n"
    for key, value in head.items():
        yield f"  {_dumps(key)}: {_dumps(value)},\n"
    yield from listed("changes", (change(node) for node in _walk(plan.nodes)))
    yield ",\n"
    yield from listed("steps", ({"kind": step.kind, "description": step.text} for step in plan.steps))
    yield ",\n"
    hazards = (
        {"id": one.id, "severity": one.severity.value, "address": one.address, "message": one.message}
        for one in plan.hazards
    )
    yield from listed("hazards", hazards)
    yield ",\n"
    blocked = (
        {"rule": one.rule, "address": one.address, "override": one.override or None, "message": one.message}
        for one in plan.blocked
    )
    yield from listed("blocked", blocked)
    yield f',\n  "grace_periods": {plan.grace_periods}'
    yield f',\n  "kernel_memory": {_dumps(to_builtins(plan.memory))}'
    if end is not None:
        result = to_builtins(end) | {
            "seconds": round(end.seconds, 6),
            "live": list(end.live),
            "window_seconds": round(end.window_seconds, 6),
        }
        yield f',\n  "result": {_dumps(result)}'
    yield "\n}\n"


def listed(key: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """`"key": [...]`, an item to a line, made as it is written."""
    yield f"  {_dumps(key)}: ["
    empty = True
    for item in items:
        yield f"{'' if empty else ','}\n    {_dumps(item)}"
        empty = False
    yield "]" if empty else "\n  ]"


def change(node: Node) -> dict[str, Any]:
    """One change; what has children says how many of them are left out."""
    found: dict[str, Any] = {
        "address": node.address,
        "kind": node.kind.value,
        "action": node.verb.value,
        "reason": node.reason,
        "before": node.before,
        "after": node.after,
    }
    if node.source:
        found["source"] = node.source
    if node.sources:
        found["sources"] = dict(node.sources)
    if node.entries is not None:
        found["entries"] = to_builtins(node.entries)
    if node.children is not None:
        found["omitted"] = node.children.omitted
    return found


def _walk(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if node.children is not None:
            yield from _walk(node.children)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def live(found: ReportLive) -> Iterator[str]:
    """What is live as one document: maps, their inner maps, and their entries, below each other."""
    yield "{\n"
    head = {
        "format_version": FORMAT_VERSION,
        "project": found.project,
        "pin_root": found.pin_root,
        "exists": found.exists,
    }
    for key, value in head.items():
        yield f"  {_dumps(key)}: {_dumps(value)},\n"
    maps = (node for node in found.nodes if node.kind in (Kind.OUTER_MAP, Kind.MAP))
    yield from listed("maps", (_live_map(node) for node in maps))
    yield ",\n"
    programs = (node for node in found.nodes if node.kind is Kind.PROGRAM)
    yield from listed("programs", ({"pin": node.address} | node.after for node in programs))
    yield ",\n"
    yield f'  "other_pins": {_dumps([node.address for node in found.nodes if node.kind is Kind.PIN])}\n}}\n'


def _live_map(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"address": node.address, "kind": node.kind.value, "live": node.after, **_difference(node)}
    if node.children is None:
        return found
    if node.kind is Kind.OUTER_MAP:
        found["inner_maps"] = [_live_inner_map(slot) for slot in node.children]
        return found | {"omitted": node.children.omitted}
    return found | _entries(node)


def _live_inner_map(slot: Node) -> dict[str, Any]:
    nothing: dict[str, Any] = {"id": None, "memory": None, "pins": [], "programs": []}
    return {"address": slot.address, "key": slot.key} | (slot.after or nothing) | _difference(slot) | _entries(slot)


def _difference(node: Node) -> dict[str, Any]:
    """What an apply would do about it, null for nothing."""
    return {"action": None if node.verb is Verb.SHOW else node.verb.value}


def _entries(node: Node) -> dict[str, Any]:
    if node.children is None:
        return {"count": 0, "entries": [], "omitted": 0} if node.kind is Kind.INNER_MAP else {}
    found = [{"key": entry.key, "value": entry.before} | _wanted(entry) for entry in node.children]
    return {"count": node.children.total, "entries": found, "omitted": node.children.omitted}


def _wanted(entry: Node) -> dict[str, Any]:
    return {} if entry.verb is Verb.SHOW else {"action": entry.verb.value, "wanted": entry.after}


def explained(project: str, address: str, facts: Iterable[Fact], against: Against | None = None) -> str:
    """What `explain` says of an address, as one document."""
    found: dict[str, Any] = {"format_version": FORMAT_VERSION, "project": project, "address": address}
    if against is not None:
        found["against"] = to_builtins(against)
    for fact in facts:
        found |= fact.data
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def valid(desired: DesiredState, advice: Iterable[Advice] | None = None) -> Iterator[str]:
    """What `validate` says of a sound spec; `advice` is there where a kernel was named."""
    found: dict[str, Any] = {"format_version": FORMAT_VERSION, "project": desired.project, "valid": True}
    if advice is not None:
        found["advice"] = [to_builtins(one) | {"effect": one.effect.value} for one in advice]
    yield _dumps(found) + "\n"
