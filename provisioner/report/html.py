"""A plan and its result as one HTML page without external resources. Pure.

A content security policy allows only the page's own style and script: it also protects against a value that is not
escaped. Lists are folded and filtered without the script, which only adds a search.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Final

from provisioner.codec.display import brief, format_value
from provisioner.model.types import Abridged, Hidden, Value
from provisioner.model.words import plural, visible
from provisioner.planning.hazards import Severity
from provisioner.report import page, sentences
from provisioner.report.formats import Layout, Renderers
from provisioner.report.model import PAGE, Children, Kind, Node, Outcome, ReportPlan, Verb
from provisioner.report.overlaid import decided

LINES: Final = 20_000
"""Lines of the tree on one page: as many as a browser opens at once."""

_OPEN: Final = 40
"""Inner maps that are unfolded at first; if there are more, all are folded."""

_OPEN_MAPS: Final = 20
"""The same for maps and objects."""

_VERBS: Final = {
    Verb.CREATE: ("create", "+", "create"),
    Verb.INSERT: ("create", "+", "insert"),
    Verb.UPDATE: ("update", "~", "change"),
    Verb.REPLACE: ("replace", "±", "replace"),
    Verb.DELETE: ("delete", "-", "delete"),
    Verb.SHOW: ("show", " ", "unchanged"),
}
"""The class, the sign and the word of each."""

_FILTERS: Final = (("delete", "deleted"), ("replace", "replaced"), ("update", "changed"), ("create", "new"))

_TABLE: Final = (
    "<table class=entries><thead><tr><th></th><th scope=col>key</th><th scope=col>before</th>"
    "<th scope=col>after</th></tr></thead><tbody>\n"
)

_STYLE: Final = page.STYLE + "".join(page.FILTER.format(name) for name, _ in _FILTERS)


def render(plan: ReportPlan, end: Outcome | None = None, *, lines: int | None = LINES, made: str = "") -> Iterator[str]:
    """The page in pieces; `end` is the result of an apply or destroy. `lines` limits the tree, None for no limit.

    `made` says on which host and when.
    """
    what = "Destroy" if plan.destroy else "Plan" if end is None else "Apply"
    yield from begin(f"{what} of {plan.project}")
    yield f"<h1>{what} of <code>{_text(plan.project)}</code></h1>\n"
    places = f"  ({decided('', plan.sources)})" if plan.sources else ""
    yield f"<p class=soft>pin root <code>{_text(plan.pin_root)}</code>{_text(places)}</p>\n"
    about = [each for each in (made, f"revision {plan.revision}" if plan.revision else "") if each]
    if about:
        yield f"<p class=soft>{_text(', '.join(about))}</p>\n"
    if plan.against is not None:
        yield f"<p>{_text(sentences.against(plan.against))}</p>\n"
    yield from (f"<p>{_text(line)}</p>\n" for line in sentences.partial(plan))
    yield from _verdict(plan, end)
    yield from _alerts(plan)
    if plan.nodes:
        yield from _filter()
        yield from _tree_of(plan, lines)
    if plan.steps:
        yield f"<h2>Steps</h2>\n<details><summary>{plural(len(plan.steps), 'step')}, in this order</summary>\n<ol>\n"
        yield from (f"<li>{_text(step.text)}</li>\n" for step in plan.steps)
        yield "</ol>\n</details>\n"
    yield f"<p class=soft>digest <code>{_text(plan.digest)}</code></p>\n"
    if plan.nodes:
        yield f"<script>{page.SCRIPT}</script>\n"
    yield "</body>\n</html>\n"


def begin(title: str) -> Iterator[str]:
    """The begin of a page, up to its heading. `title` is text."""
    yield "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
    yield f'<meta http-equiv=Content-Security-Policy content="{_policy()}">\n'
    yield f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"


def fragment(plan: ReportPlan, lines: int | None) -> Iterator[str]:
    """Refusals, hazards and the tree of a plan, of at most `lines` lines."""
    yield from _alerts(plan)
    if plan.nodes:
        yield from _tree_of(plan, lines)


def _tree_of(plan: ReportPlan, lines: int | None) -> Iterator[str]:
    yield "<ul class=tree>\n"
    tree, few = _Tree(lines), len(plan.nodes) <= _OPEN_MAPS
    for node in plan.nodes:
        yield from tree.node(node, few)
    yield "</ul>\n"


def plain_text(text: str) -> str:
    """Text as it is: without HTML, quotes and control characters."""
    return _text(text)


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
        yield f"<p class=verdict>{_text(first)}</p>\n"
        if live:
            yield "<ul>\n"
            yield from (f"<li>{_text(line.removeprefix('  - '))}</li>\n" for line in live)
            yield "</ul>\n"
    first, *rest = sentences.summary(plan)
    yield f"<p{' class=verdict' if end is None else ''}>{_text(first)}</p>\n"
    yield from (f"<p>{_text(line)}</p>\n" for line in rest)
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
        way_out = f"; {_text(refusal.remedy)}" if refusal.remedy else ""
        message = f"{_about(refusal.address)}{_text(refusal.message)} (<code>{_text(refusal.rule)}</code>{way_out})"
        yield f"<p class='alert refused'><b>Refused</b> {message}.</p>\n"
    for hazard in sorted(plan.hazards, key=lambda hazard: hazard.severity is not Severity.DANGER):
        kind, word = ("alert danger", "Danger") if hazard.severity is Severity.DANGER else ("alert", "Note")
        yield f"<p class='{kind}'><b>{word}</b> {_about(hazard.address)}{_text(hazard.message)}.</p>\n"


def _about(address: str) -> str:
    return f"<code>{_text(address)}</code>: " if address else ""


def _filter() -> Iterator[str]:
    yield "<h2>Changes</h2>\n<fieldset>\n<label><input type=radio name=only id=only-all checked> all</label>\n"
    for name, word in _FILTERS:
        yield f"<label><input type=radio name=only id=only-{name}> {word}</label>\n"
    yield "<label hidden>find <input type=search id=find placeholder='tenants[42]'></label>\n</fieldset>\n"


# --- the tree ----------------------------------------------------------------------------------------------------


class _Tree:
    """Nodes as nested lists, entries as tables, up to a number of lines."""

    def __init__(self, lines: int | None) -> None:
        self._left = lines

    def node(self, node: Node, unfold: bool = True) -> Iterator[str]:
        name, sign, word = _VERBS[node.verb]
        title = (
            f'<span class=sign title="{word}">{sign}</span> <bdi class=label>{_text(node.label)}</bdi> '
            f"<span>{_text(node.text)}</span>"
        )
        facts = _facts(node)
        below = node.children if node.children is not None and node.children.total else None
        head = f'<li class="{name}{"" if below or facts else " leaf"}" data-address="{_text(node.address)}">'
        if below is None and not facts:
            yield f"{head}{title}</li>\n"
            return
        yield f"{head}<details{' open' if unfold and below is not None else ''}><summary>{title}</summary>\n{facts}"
        if below is not None and below.kind is Kind.ENTRY:
            yield _TABLE
            yield from self._below(below, _entry, "<tr><td></td><td colspan=3 class=soft>{}</td></tr>\n")
            yield "</tbody></table>\n"
        elif below is not None:
            few = below.shown <= _OPEN
            yield "<ul>\n"
            yield from self._below(below, lambda child: self.node(child, few), "<li class='leaf soft'>{}</li>\n")
            yield "</ul>\n"
        yield "</details></li>\n"

    def _below(self, below: Children, show: Callable[[Node], Iterable[str]], rest: str) -> Iterator[str]:
        """The children that fit on the page, and the number of the others."""
        shown = 0
        for child in below:
            if self._left is not None and self._left <= 0:
                break
            shown += 1
            self._left = None if self._left is None else self._left - 1
            yield from show(child)
        if shown < below.total:
            yield rest.format(_text(sentences.left_out(below, below.total - shown)))


def _facts(node: Node) -> str:
    """The differences between a live map, program or object and the desired one."""
    before, after = (one if isinstance(one, dict) else {} for one in (node.before, node.after))
    if before:
        after = _without_filled(after)
    facts = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old == new or (old is None and new is None):
            continue
        sides = [_marked(old, new, "del")] * (old is not None) + [_marked(new, old, "ins")] * (new is not None)
        facts.append(f"{_text(name)} {' -&gt; '.join(sides)}")
    return f"<p class=facts><bdi>{', '.join(facts)}</bdi></p>\n" if facts else ""


def _without_filled(shape: dict[str, Value]) -> dict[str, Value]:
    """A shape without `filled_flags`: no live map has this member, so it is not a difference."""
    return {
        name: _without_filled(field) if isinstance(field, dict) else field
        for name, field in shape.items()
        if name != "filled_flags"
    }


def _entry(entry: Node) -> Iterator[str]:
    """A row of a table: sign, key, before, after. Hidden and long values have a text instead."""
    name, sign, word = _VERBS[entry.verb]
    first = f'<td><span class=sign title="{word}">{sign}</span></td><td><bdi>{_text(entry.label)}</bdi></td>'
    match entry.verb:
        case Verb.UPDATE if entry.is_long or isinstance(entry.before, Hidden | Abridged):
            cells = f"<td colspan=2>{_text(entry.text)}</td>"
        case Verb.UPDATE:
            old, new = _marked(entry.before, entry.after, "del"), _marked(entry.after, entry.before, "ins")
            cells = f"<td data-is=before><bdi>{old}</bdi></td><td data-is=after><bdi>{new}</bdi></td>"
        case Verb.DELETE:
            cells = f"<td data-is=before><bdi>{_shown(entry, entry.before)}</bdi></td><td></td>"
        case _:
            cells = f"<td></td><td data-is=after><bdi>{_shown(entry, entry.after)}</bdi></td>"
    yield f'<tr class={name} data-address="{_text(entry.address)}">{first}{cells}</tr>\n'


def _shown(entry: Node, value: Value) -> str:
    return _text(brief(value)) if entry.is_long else _plain(value)


def _marked(value: Value, other: Value, mark: str) -> str:
    """A value as a spec writes it. The parts that differ from `other` are inside an element `mark`."""
    if value == other or other is None:
        return _plain(value)
    if isinstance(value, dict) and isinstance(other, dict):
        parts = (
            f"{_text(format_value(name))}: " + (_marked(part, other[name], mark) if name in other else _plain(part))
            for name, part in value.items()
        )
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return "[" + ", ".join(_marked(part, there, mark) for part, there in zip(value, other, strict=True)) + "]"
    return f"<{mark}>{_plain(value)}</{mark}>"


def _plain(value: Value) -> str:
    return _text(format_value(value))


def _text(text: str) -> str:
    """Text as it is: without HTML, quotes and control characters."""
    return escape(visible(text))


def _plan(plan: ReportPlan, end: Outcome | None, layout: Layout) -> Iterator[str]:
    return render(plan, end, lines=None if layout.full else LINES, made=layout.made)


RENDERERS: Final = Renderers(PAGE, _plan)
