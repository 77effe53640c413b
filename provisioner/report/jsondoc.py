"""Plans, live states and findings as JSON documents; schemas/plan.schema.json describes them.

They are written in pieces, one change per line, so that a plan of millions of entries is never one object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import to_builtins

from provisioner.doctor.finding import Finding, usable
from provisioner.planning.approved import Approved
from provisioner.planning.hazards import Hazard, Refusal
from provisioner.report.formats import Layout, Renderers
from provisioner.report.jsontext import dumps
from provisioner.report.model import (
    CUT,
    Explanation,
    Kind,
    ListedProject,
    Node,
    Outcome,
    ReportLive,
    ReportPlan,
    Validation,
    Verb,
)

FORMAT_VERSION: Final = "1.0"
"""The first number changes when a key is removed or changes its meaning. New keys can be added at any time."""


def render(plan: ReportPlan, end: Outcome | None = None) -> Iterator[str]:
    """The document in pieces of whole lines; `end` is the result of an apply or destroy."""
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
    if plan.revision:
        head["revision"] = plan.revision
    if plan.approved:
        head["approved"] = list(map(_approved, plan.approved))
    yield "{\n"
    for key, value in head.items():
        yield f"  {dumps(key)}: {dumps(value)},\n"
    yield from listed("changes", (change(node) for node in _walk(plan.nodes)))
    yield ",\n"
    yield from listed("steps", ({"kind": step.kind, "description": step.text} for step in plan.steps))
    yield ",\n"
    yield from listed("hazards", map(_hazard, plan.hazards))
    yield ",\n"
    yield from listed("blocked", map(_refusal, plan.blocked))
    yield f',\n  "grace_periods": {plan.grace_periods}'
    yield f',\n  "kernel_memory": {dumps(to_builtins(plan.memory))}'
    if end is not None:
        result = to_builtins(end) | {
            "seconds": round(end.seconds, 6),
            "live": list(end.live),
            "window_seconds": round(end.window_seconds, 6),
        }
        yield f',\n  "result": {dumps(result)}'
    yield "\n}\n"


def listed(key: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """`"key": [...]`, one item per line, computed as it is written."""
    yield f"  {dumps(key)}: ["
    empty = True
    for item in items:
        yield f"{'' if empty else ','}\n    {dumps(item)}"
        empty = False
    yield "]" if empty else "\n  ]"


def change(node: Node) -> dict[str, Any]:
    """One change; `omitted` is the number of children that are not listed."""
    document: dict[str, Any] = {
        "address": node.address,
        "kind": node.kind.value,
        "action": node.verb.value,
        "reason": node.reason,
        "before": node.before,
        "after": node.after,
    }
    if node.source:
        document["source"] = node.source
    if node.sources:
        document["sources"] = dict(node.sources)
    if node.entries is not None:
        document["entries"] = to_builtins(node.entries)
    if node.children is not None:
        document["omitted"] = node.children.omitted
    return document


def _walk(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if node.children is not None:
            yield from _walk(node.children)


def changes(plan: ReportPlan) -> Iterator[dict[str, Any]]:
    """Each change with its address and values; those of sensitive types are hidden, and long lists are cut."""
    return (change(node) for node in _walk(plan.nodes) if node.verb is not Verb.SHOW)


def fragment(plan: ReportPlan) -> dict[str, Any]:
    """What a plan changes, as a value: summary, changes, hazards and refusals."""
    return {
        "summary": to_builtins(plan.summary),
        "changes": [change(node) for node in _walk(plan.nodes)],
        "hazards": [_hazard(each) for each in plan.hazards],
        "blocked": [_refusal(each) for each in plan.blocked],
    }


def _hazard(hazard: Hazard) -> dict[str, Any]:
    named = {"id": hazard.id, "severity": hazard.severity.value}
    return {**named, "address": hazard.address, "message": hazard.message}


def _approved(each: Approved) -> dict[str, Any]:
    where = each.approval.where
    place = {"id": each.approval.id, "until": each.approval.until or None, "file": where.file, "line": where.line}
    return {"rule": each.refusal.rule, "address": each.refusal.address, "message": each.refusal.message, **place}


def _refusal(refusal: Refusal) -> dict[str, Any]:
    named = {"rule": refusal.rule, "address": refusal.address, "override": refusal.override or None}
    return {**named, "message": refusal.message}


def live(report: ReportLive) -> Iterator[str]:
    """A live state as one document: maps, with their inner maps, with their entries."""
    yield "{\n"
    head = {
        "format_version": FORMAT_VERSION,
        "project": report.project,
        "pin_root": report.pin_root,
        "exists": report.exists,
    }
    if report.revision:
        head |= {"revision": report.revision, "matches": report.matches}
    for key, value in head.items():
        yield f"  {dumps(key)}: {dumps(value)},\n"
    maps = (node for node in report.nodes if node.kind in (Kind.OUTER_MAP, Kind.MAP))
    yield from listed("maps", (_live_map(node) for node in maps))
    yield ",\n"
    programs = (node for node in report.nodes if node.kind is Kind.PROGRAM)
    yield from listed("programs", ({"pin": node.address} | node.after for node in programs))
    yield ",\n"
    yield f'  "other_pins": {dumps([node.address for node in report.nodes if node.kind is Kind.PIN])}'
    if report.totals is not None:
        yield f',\n  "totals": {dumps(to_builtins(report.totals))}'
    yield "\n}\n"


def _live_map(node: Node) -> dict[str, Any]:
    document: dict[str, Any] = {
        "address": node.address,
        "kind": node.kind.value,
        "live": node.after,
        **_difference(node),
    }
    if node.children is None:
        return document
    if node.kind is Kind.OUTER_MAP:
        document["inner_maps"] = [_live_inner_map(slot) for slot in node.children]
        return document | {"omitted": node.children.omitted}
    return document | _entries(node)


def _live_inner_map(slot: Node) -> dict[str, Any]:
    nothing: dict[str, Any] = {"id": None, "memory": None, "pins": [], "programs": []}
    return {"address": slot.address, "key": slot.key} | (slot.after or nothing) | _difference(slot) | _entries(slot)


def _difference(node: Node) -> dict[str, Any]:
    """What apply would do; null for nothing."""
    return {"action": None if node.verb is Verb.SHOW else node.verb.value}


def _entries(node: Node) -> dict[str, Any]:
    if node.children is None:
        return {"count": 0, "entries": [], "omitted": 0} if node.kind is Kind.INNER_MAP else {}
    entries = [{"key": entry.key, "value": entry.before} | _wanted(entry) for entry in node.children]
    return {"count": node.children.total, "entries": entries, "omitted": node.children.omitted}


def _wanted(entry: Node) -> dict[str, Any]:
    return {} if entry.verb is Verb.SHOW else {"action": entry.verb.value, "wanted": entry.after}


def _explanation(report: Explanation, _: Layout) -> Iterator[str]:
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "project": report.project,
        "address": report.address,
    }
    if report.against is not None:
        document["against"] = to_builtins(report.against)
    for fact in report.facts:
        document |= fact.data
    yield dumps(document, indent=2) + "\n"


def _validation(report: Validation, _: Layout) -> Iterator[str]:
    document: dict[str, Any] = {"format_version": FORMAT_VERSION, "project": report.desired.project, "valid": True}
    document["revision"] = report.desired.revision
    if report.advice is not None:
        document["advice"] = [to_builtins(each) | {"effect": each.effect.value} for each in report.advice]
    yield dumps(document) + "\n"


def _findings(findings: tuple[Finding, ...], _: Layout) -> Iterator[str]:
    listed = [to_builtins(finding) | {"level": finding.level.value} for finding in findings]
    document = {"format_version": FORMAT_VERSION, "usable": usable(findings), "findings": listed}
    yield dumps(document, indent=2) + "\n"


def _plan(plan: ReportPlan, end: Outcome | None, _: Layout) -> Iterator[str]:
    return render(plan, end)


def _live(report: ReportLive, _: Layout) -> Iterator[str]:
    return live(report)


def _projects(listed: tuple[ListedProject, ...], _: Layout) -> Iterator[str]:
    document = {"format_version": FORMAT_VERSION, "projects": [to_builtins(each) for each in listed]}
    yield dumps(document, indent=2) + "\n"


RENDERERS: Final = Renderers(CUT, _plan, _live, _explanation, _validation, _findings, _projects)
