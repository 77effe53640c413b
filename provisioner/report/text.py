"""A plan, and how it ended, as people read it on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from provisioner.model.desired import DesiredState
from provisioner.model.kernel_versions import Advice, Effect
from provisioner.model.words import plural
from provisioner.planning.hazards import Severity
from provisioner.report import sentences
from provisioner.report.model import (
    Kind,
    Node,
    ReportLive,
    ReportPlan,
    Verb,
)
from provisioner.report.overlaid import with_source
from provisioner.report.style import PLAIN, Colour, Style

_SIGNS: Final[dict[Verb, tuple[str, Colour | None]]] = {
    Verb.CREATE: ("+", "green"),
    Verb.INSERT: ("+", "green"),
    Verb.UPDATE: ("~", "yellow"),
    Verb.REPLACE: ("±", "magenta"),
    Verb.DELETE: ("-", "red"),
    Verb.SHOW: ("", None),
}
_INDENT: Final = {0: 2, 1: 4, 2: 8}
_NARROW, _WIDE = 26, 44
"""Where the column of texts may begin; longer labels push their own text aside."""

_MEASURED: Final = 2000
"""Nodes looked at for that: all of what is shown, unless it is far more than anybody reads."""


def render(plan: ReportPlan, style: Style = PLAIN, *, steps: bool = False, blocked: bool = True) -> Iterator[str]:
    """Lines without their ends. `steps` lists the work; `blocked` False leaves the refusals to an error message."""
    if plan.against is not None:
        yield sentences.against(plan.against)
        yield ""
    told = bool(plan.nodes or plan.hazards or (plan.blocked and blocked))
    if told:
        yield f"{style(plan.project, 'bold')}  {with_source(f'pin root {plan.pin_root}', '', plan.sources)}"
        yield ""
    if plan.nodes:
        yield from tree(plan.nodes, style)
        yield ""
    notes = [*_hazards(plan, style), *(_refusals(plan, style) if blocked else ())]
    if notes:
        yield from notes
        yield ""
    if steps and plan.steps:
        yield "Steps:"
        yield from (f"  {number}. {step.text}" for number, step in enumerate(plan.steps, start=1))
        yield ""
    yield from sentences.summary(plan)
    yield from sentences.partial(plan)


def tree(nodes: Iterable[Node], style: Style) -> Iterator[str]:
    """Nodes with what is below them, their texts in one column."""
    shown = tuple(nodes)
    widths = (_INDENT[depth] + 4 + len(node.label) for depth, node in islice(_walk(shown), _MEASURED))
    column = max(_NARROW, max((width for width in widths if width <= _WIDE), default=0))
    for node in shown:
        yield from _lines(node, 0, column, style)


def _walk(nodes: Iterable[Node], depth: int = 0) -> Iterator[tuple[int, Node]]:
    for node in nodes:
        yield depth, node
        if node.children is not None:
            yield from _walk(node.children, _below(node, depth))


def _below(node: Node, depth: int) -> int:
    """Entries stand deeper than inner maps, in the same place for every map."""
    return 2 if node.children is not None and node.children.kind is Kind.ENTRY and depth == 1 else depth + 1


def _lines(node: Node, depth: int, column: int, style: Style) -> Iterator[str]:
    sign, colour = _SIGNS[node.verb]
    indent = " " * _INDENT[depth]
    label = f"{indent}{sign} {node.label}" if sign else f"{indent}{node.label}"
    gap = " " * max(2, column - len(label))
    painted = f"{indent}{style(sign, colour)}{label[len(indent) + 1 :]}" if colour else label
    yield f"{painted}{gap}{node.text}" if node.text else painted
    if node.children is not None:
        below = _below(node, depth)
        for child in node.children:
            yield from _lines(child, below, column, style)
        if node.children.omitted:
            yield " " * _INDENT[below] + style(sentences.more(node.children), "dim")


def _hazards(plan: ReportPlan, style: Style) -> Iterator[str]:
    for hazard in plan.hazards:
        danger = hazard.severity is Severity.DANGER
        word = style("Danger", "red") if danger else style("Note", "cyan")
        yield f"{word}: {_about(hazard.address)}{hazard.message}."


def _refusals(plan: ReportPlan, style: Style) -> Iterator[str]:
    for refusal in plan.blocked:
        way_out = f"; {refusal.override} allows it" if refusal.override else ""
        yield f"{style('Refused', 'red')}: {_about(refusal.address)}{refusal.message} ({refusal.rule}{way_out})."


def _about(address: str) -> str:
    return f"{address}: " if address else ""


def live(found: ReportLive, style: Style = PLAIN) -> Iterator[str]:
    """What is live, as one tree."""
    yield f"{style(found.project, 'bold')}  pin root {found.pin_root}" + ("" if found.exists else ", not there")
    yield ""
    yield from tree(found.nodes, style)


def valid(desired: DesiredState) -> str:
    """What a sound spec declares."""
    outer = [one for one in desired.maps.values() if one.outer is not None]
    counts = [
        (len(outer), "outer map", ""),
        (sum(len(one.slots.keys) for one in outer), "inner map", ""),
        (len(desired.maps) - len(outer), "map", ""),
        (sum(int(one.entries.counts.sum()) for one in desired.maps.values()), "entry", "entries"),
        (len(desired.objects), "object", ""),
    ]
    listed = ", ".join(plural(count, one, many) for count, one, many in counts if count)
    return f"{desired.project} is valid: {listed or 'nothing is declared'}."


_EFFECTS: Final[dict[Effect, Colour]] = {Effect.SLOW: "yellow", Effect.NOTE: "dim"}


def advice(found: Iterable[Advice], style: Style = PLAIN) -> Iterator[str]:
    """What a kernel would do with a spec, each with its source."""
    for one in found:
        place = f"{one.address}: " if one.address else ""
        yield f"{style(one.effect.value, _EFFECTS[one.effect])}: {place}{one.message} ({one.source})"
