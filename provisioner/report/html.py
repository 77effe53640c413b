"""A plan and its result as one HTML page without external resources. Pure.

A content security policy allows only the page's own style and script: it also protects against a value that is not
escaped. Lists are folded and filtered without the script, which adds a search, and opens the parts of a large page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Final

from provisioner.model.words import plural
from provisioner.planning.hazards import Severity
from provisioner.report import page, page_parts, sentences
from provisioner.report.formats import Layout, Renderers
from provisioner.report.model import PAGE, Outcome, ReportPlan
from provisioner.report.overlaid import decided
from provisioner.report.page_tree import OPEN_MAPS, Tree, plain_text

LINES: Final = 20_000
"""Lines of the tree on one page: as many as a browser opens at once."""

_FILTERS: Final = (("delete", "deleted"), ("replace", "replaced"), ("update", "changed"), ("create", "new"))

_STYLE: Final = page.STYLE + "".join(page.FILTER.format(name) for name, _ in _FILTERS)


def render(plan: ReportPlan, end: Outcome | None = None, *, lines: int | None = LINES, made: str = "") -> Iterator[str]:
    """The page in pieces; `end` is the result of an apply or destroy. `lines` limits the tree, None for no limit.

    `made` says on which host and when.
    """
    what = "Destroy" if plan.destroy else "Plan" if end is None else "Apply"
    yield from begin(f"{what} of {plan.project}")
    yield f"<h1>{what} of <code>{plain_text(plan.project)}</code></h1>\n"
    places = f"  ({decided('', plan.sources)})" if plan.sources else ""
    yield f"<p class=soft>pin root <code>{plain_text(plan.pin_root)}</code>{plain_text(places)}</p>\n"
    about = [each for each in (made, f"revision {plan.revision}" if plan.revision else "") if each]
    if about:
        yield f"<p class=soft>{plain_text(', '.join(about))}</p>\n"
    if plan.against is not None:
        yield f"<p>{plain_text(sentences.against(plan.against))}</p>\n"
    yield from (f"<p>{plain_text(line)}</p>\n" for line in sentences.partial(plan))
    yield from _verdict(plan, end)
    yield from _alerts(plan)
    if plan.nodes:
        yield from _filter()
        yield from _tree(plan, lines, divided=True)
    if plan.steps:
        yield f"<h2>Steps</h2>\n<details><summary>{plural(len(plan.steps), 'step')}, in this order</summary>\n<ol>\n"
        yield from (f"<li>{plain_text(step.text)}</li>\n" for step in plan.steps)
        yield "</ol>\n</details>\n"
    yield f"<p class=soft>digest <code>{plain_text(plan.digest)}</code></p>\n"
    if plan.nodes:
        yield f"<script>{page.SCRIPT}</script>\n"
    yield "</body>\n</html>\n"


def begin(title: str) -> Iterator[str]:
    """The begin of a page, up to its heading. `title` is text."""
    yield "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
    yield f'<meta http-equiv=Content-Security-Policy content="{_policy()}">\n'
    yield f"<title>{plain_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"


def fragment(plan: ReportPlan, lines: int | None) -> Iterator[str]:
    """Refusals, hazards and the tree of a plan, of at most `lines` lines, for a page without the script."""
    yield from _alerts(plan)
    if plan.nodes:
        yield from _tree(plan, lines, divided=False)


def _tree(plan: ReportPlan, lines: int | None, *, divided: bool) -> Iterator[str]:
    """The tree; `divided` allows parts, which need the page's script."""
    few, tree = len(plan.nodes) <= OPEN_MAPS, Tree(lines)
    divided = divided and (lines is None or lines > page_parts.WHOLE) and page_parts.is_large(plan.nodes)
    show = page_parts.Parts(tree).node if divided else tree.node
    yield "<ul class=tree>\n"
    for node in plan.nodes:
        yield from show(node, few)
    yield "</ul>\n"


def _policy() -> str:
    """The page's policy: its own style and script, by their hashes, and nothing else."""
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_STYLE, page.SCRIPT)
    )
    allowed = f"style-src 'sha256-{style}'; script-src 'sha256-{script}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


# --- above the tree ----------------------------------------------------------------------------------------------


def _verdict(plan: ReportPlan, end: Outcome | None) -> Iterator[str]:
    if end is not None and end.status != "unchanged":
        first, *live = sentences.outcome(plan, end)
        yield f"<p class=verdict>{plain_text(first)}</p>\n"
        if live:
            yield "<ul>\n"
            yield from (f"<li>{plain_text(line.removeprefix('  - '))}</li>\n" for line in live)
            yield "</ul>\n"
    first, *rest = sentences.summary(plan)
    yield f"<p{' class=verdict' if end is None else ''}>{plain_text(first)}</p>\n"
    yield from (f"<p>{plain_text(line)}</p>\n" for line in rest)
    if plan.changed:
        yield from _counts(plan)


def _counts(plan: ReportPlan) -> Iterator[str]:
    titles = "".join(f"<th scope=col>{title}</th>" for title in sentences.COUNTED)
    yield f"<table class=counts>\n<thead><tr><td></td>{titles}</tr></thead>\n<tbody>\n"
    for title, cells in sentences.counts(plan.summary):
        yield f"<tr><th scope=row>{title}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
    yield "</tbody>\n</table>\n"


def _alerts(plan: ReportPlan) -> Iterator[str]:
    """Refusals, then dangers, then notes."""
    for refusal in plan.blocked:
        way_out = f"; {plain_text(refusal.remedy)}" if refusal.remedy else ""
        rule = f"<code>{plain_text(refusal.rule)}</code>"
        message = f"{_about(refusal.address)}{plain_text(refusal.message)} ({rule}{way_out})"
        yield f"<p class='alert refused'><b>Refused</b> {message}.</p>\n"
    for hazard in sorted(plan.hazards, key=lambda hazard: hazard.severity is not Severity.DANGER):
        kind, word = ("alert danger", "Danger") if hazard.severity is Severity.DANGER else ("alert", "Note")
        yield f"<p class='{kind}'><b>{word}</b> {_about(hazard.address)}{plain_text(hazard.message)}.</p>\n"


def _about(address: str) -> str:
    return f"<code>{plain_text(address)}</code>: " if address else ""


def _filter() -> Iterator[str]:
    yield "<h2>Changes</h2>\n<fieldset>\n<label><input type=radio name=only id=only-all checked> all</label>\n"
    for name, word in _FILTERS:
        yield f"<label><input type=radio name=only id=only-{name}> {word}</label>\n"
    yield "<label hidden>find <input type=search id=find placeholder='tenants[42]'></label>\n</fieldset>\n"


def _plan(plan: ReportPlan, end: Outcome | None, layout: Layout) -> Iterator[str]:
    return render(plan, end, lines=None if layout.full else LINES, made=layout.made)


RENDERERS: Final = Renderers(PAGE, _plan)
