"""Plans, live states and findings as lines of text.

Lines carry marks for colors, and may contain text of others: `style.on_terminal` makes them safe to print.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from provisioner.doctor.finding import Finding, Level, usable
from provisioner.model.kernel_versions import Effect
from provisioner.model.words import plural, size
from provisioner.planning.hazards import Severity
from provisioner.report import sentences
from provisioner.report.formats import Layout, Renderers
from provisioner.report.model import (
    CUT,
    Explanation,
    Kind,
    ListedProject,
    Node,
    Outcome,
    ReportLive,
    ReportPlan,
    Totals,
    Validation,
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
"""Where the column of texts may start; a longer label pushes its own text to the right."""

_MEASURED: Final = 2000
"""Nodes that decide the column: enough for every list that a person reads."""


def render(plan: ReportPlan, style: Style = PLAIN, *, steps: bool = False, blocked: bool = True) -> Iterator[str]:
    """Lines without their ends. `steps` lists the steps; without `blocked`, refusals are left to an error message."""
    if plan.against is not None:
        yield sentences.against(plan.against)
        yield ""
    if plan.nodes or plan.hazards or (plan.blocked and blocked):
        yield f"{style(plan.project, 'bold')}  {with_source(f'pin root {plan.pin_root}', '', plan.sources)}"
        yield ""
    yield from fragment(plan, style, blocked=blocked)
    if steps and plan.steps:
        yield "Steps:"
        yield from (f"  {number}. {step.text}" for number, step in enumerate(plan.steps, start=1))
        yield ""
    yield from sentences.summary(plan)
    yield from sentences.partial(plan)


def fragment(plan: ReportPlan, style: Style = PLAIN, *, blocked: bool = True) -> Iterator[str]:
    """The tree of a plan, its hazards and, if `blocked`, its refusals; each part ends with an empty line."""
    if plan.nodes:
        yield from tree(plan.nodes, style)
        yield ""
    notes = [*_hazards(plan, style), *(_refusals(plan, style) if blocked else ())]
    if notes:
        yield from notes
        yield ""


def tree(nodes: Iterable[Node], style: Style) -> Iterator[str]:
    """Nodes and their children, with their texts in one column."""
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
    """Entries are indented more than inner maps, and equally in every map."""
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
        way_out = f"; {refusal.remedy}" if refusal.remedy else ""
        yield f"{style('Refused', 'red')}: {_about(refusal.address)}{refusal.message} ({refusal.rule}{way_out})."


def _about(address: str) -> str:
    return f"{address}: " if address else ""


def _plan(plan: ReportPlan, end: Outcome | None, layout: Layout) -> Iterator[str]:
    yield from render(plan, layout.style, steps=layout.steps)
    if end is not None:
        yield from sentences.outcome(plan, end)


def _live(report: ReportLive, layout: Layout) -> Iterator[str]:
    state = "" if report.exists else " (does not exist)"
    yield f"{layout.style(report.project, 'bold')}  pin root {report.pin_root}{state}"
    yield ""
    yield from tree(report.nodes, layout.style)
    if report.totals is not None and report.exists:
        yield ""
        yield f"{_in_words(report.totals)}."
    if report.revision:
        state = "this is live" if report.matches else "the live state differs"
        yield from (*([] if report.exists else [""]), f"Revision {report.revision[:19]}: {state}.")


def _in_words(totals: Totals) -> str:
    """`1 outer map, 3 inner maps, 12 entries, 4.1 KiB`."""
    counts = [
        plural(totals.outer_maps, "outer map"),
        plural(totals.inner_maps, "inner map"),
        plural(totals.maps, "map"),
        plural(totals.entries, "entry", "entries"),
        plural(totals.programs, "program"),
    ]
    kept = [count for count in counts if not count.startswith("0 ")] or ["no maps"]
    return ", ".join([*kept, *([size(totals.memory)] if totals.memory else [])])


def _projects(listed: tuple[ListedProject, ...], layout: Layout) -> Iterator[str]:
    if not listed:
        yield "No projects on this host."
    for each in listed:
        yield f"{layout.style(each.project, 'bold')}  pin root {each.pin_root}"
        what = f"cannot be read: {each.problem}" if each.totals is None else _in_words(each.totals)
        revision = f", revision {each.revision[:19]}" if each.revision else ""
        yield f"  {what}; last change {each.changed}{revision}"


def _explanation(report: Explanation, layout: Layout) -> Iterator[str]:
    if report.against is not None:
        yield sentences.against(report.against)
        yield ""
    width = max(len(fact.label) for fact in report.facts) + 2
    yield layout.style(report.address, "bold")
    yield from (f"  {fact.label:{width}}{fact.text}" for fact in report.facts)


_EFFECTS: Final[dict[Effect, Colour]] = {Effect.SLOW: "yellow", Effect.NOTE: "dim"}


def _validation(report: Validation, layout: Layout) -> Iterator[str]:
    desired = report.desired
    outer = [each for each in desired.maps.values() if each.outer is not None]
    counts = [
        plural(len(outer), "outer map"),
        plural(sum(len(each.slots.keys) for each in outer), "inner map"),
        plural(len(desired.maps) - len(outer), "map"),
        plural(sum(int(each.entries.counts.sum()) for each in desired.maps.values()), "entry", "entries"),
        plural(len(desired.objects), "object"),
    ]
    listed = ", ".join(count for count in counts if not count.startswith("0 "))
    yield f"{desired.project} is valid: {listed or 'it declares nothing'}."
    for advice in report.advice or ():
        place = f"{advice.address}: " if advice.address else ""
        effect = layout.style(advice.effect.value, _EFFECTS[advice.effect])
        yield f"  {effect}  {place}{advice.message} ({advice.source})"


_LEVELS: Final[dict[Level, tuple[str, Colour]]] = {
    Level.OK: ("+", "green"),
    Level.NOTE: ("!", "yellow"),
    Level.BAD: ("x", "red"),
}


def _findings(findings: tuple[Finding, ...], layout: Layout) -> Iterator[str]:
    for finding in findings:
        sign, colour = _LEVELS[finding.level]
        yield f"{layout.style(sign, colour)} {finding.id:<24}{finding.what}"
        if finding.hint:
            yield f"  {'':<24}{layout.style(finding.hint, 'dim')}"
    yield ""
    yield "provisioner works on this host." if usable(findings) else "provisioner does not work on this host."


RENDERERS: Final = Renderers(CUT, _plan, _live, _explanation, _validation, _findings, _projects, is_text=True)
