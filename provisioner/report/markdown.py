"""A plan and its result as Markdown, for a comment on a pull request. Pure.

Refusals, hazards and deletes come first; the tree is folded below them. Text from specs and maps is inside code, where
Markdown, HTML and mentions have no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from provisioner.model.words import plural, visible
from provisioner.planning.hazards import Severity
from provisioner.report import sentences
from provisioner.report.formats import Layout, Renderers
from provisioner.report.model import CUT, Kind, Node, Outcome, ReportPlan, Verb
from provisioner.report.overlaid import decided

LIMIT: Final = 65_536
"""The longest comment that GitHub accepts, in characters."""

_ENOUGH: Final = 20
"""Hazards, refusals and deletes of each kind that are listed at the top."""

_LINE: Final = 1_000
_SPAN: Final = 240
"""The longest line of the tree, and the longest address or message at the top, in characters."""

_POINTER: Final = 500
"""Room for the end of a fold and for the note that the rest is cut."""

_SIGNS: Final = {
    Verb.CREATE: "+",
    Verb.INSERT: "+",
    Verb.UPDATE: "!",
    Verb.REPLACE: "!",
    Verb.DELETE: "-",
    Verb.SHOW: " ",
}
"""The first character of a line in a `diff` block, which decides its color."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9,.:;%'()/ -]+|->")
_AROUND: Final = re.compile(r"(\(*)(.*?)([).,:;]*)", re.DOTALL)
_WORDS: Final = re.compile(r"`[^`\n]+`|\S+|\s+")
_CUT: Final = "The rest is cut: a comment has a limited length"


def render(plan: ReportPlan, end: Outcome | None = None) -> str:
    """The comment, of at most `LIMIT` characters; `end` is the result of an apply or destroy."""
    places = f" ({prose(decided('', plan.sources))})" if plan.sources else ""
    foot = f"\nPlan {code(plan.digest[:19])} at {code(plan.pin_root)}{places}.\n"
    head = _fitting(_head(plan, end), LIMIT - length(foot) - _POINTER)
    body = _Body(LIMIT - length(head) - length(foot) - _POINTER)
    for node in plan.nodes:
        if not body.add(node):
            break
    return head + body.text() + foot


def fragment(plan: ReportPlan, room: int) -> str:
    """Refusals, hazards, deletes and the folded tree of a plan, of at most `room` characters."""
    head = _fitting((*_alerts(plan), *_deletes(plan)), room - _POINTER)
    body = _Body(room - length(head) - _POINTER)
    for node in plan.nodes:
        if not body.add(node):
            break
    return head + body.text()


# --- the top ------------------------------------------------------------------------------------------


def _head(plan: ReportPlan, end: Outcome | None) -> Iterator[str]:
    """Title, counts, refusals, hazards and deletes."""
    what = "destroy" if plan.destroy else "plan" if end is None else "apply"
    yield f"<!-- provisioner {what} {visible(plan.project)} -->"
    yield f"### {code(plan.project)}: {_title(plan, end)}"
    yield ""
    if plan.against is not None:
        yield from (prose(sentences.against(plan.against)), "")
    for line in sentences.partial(plan):
        yield from (prose(line), "")
    if end is not None:
        yield from _outcome(plan, end)
    summary = sentences.summary(plan)
    # A backslash breaks a line; at the end of a paragraph it would be shown.
    yield "\\\n".join(summary if plan.changed else map(prose, summary))
    yield ""
    if plan.changed:
        yield from _table(plan)
    yield from _alerts(plan)
    yield from _deletes(plan)


def _title(plan: ReportPlan, end: Outcome | None) -> str:
    if end is not None:
        return end.status.replace("_", " ")
    if plan.blocked:
        return "refused"
    if not plan.changed:
        return "nothing to destroy" if plan.destroy else "no changes"
    return "to destroy" if plan.destroy else "changes"


def _outcome(plan: ReportPlan, end: Outcome) -> Iterator[str]:
    if end.status != "unchanged":
        first, *live = sentences.outcome(plan, end)
        yield from (f"**{prose(first)}**", "")
        if live:
            yield from (*_cut([f"- {code(line.removeprefix('  - '))}" for line in live]), "")


def _table(plan: ReportPlan) -> Iterator[str]:
    """The counts: one row for each kind of thing that changes or exists."""
    yield f"| | {' | '.join(sentences.COUNTED)} |"
    yield "|---|" + "---:|" * len(sentences.COUNTED)
    for title, cells in sentences.counts(plan.summary):
        yield f"| {title} | {' | '.join(cells)} |"
    yield ""


def _alerts(plan: ReportPlan) -> Iterator[str]:
    """Refusals and hazards as GitHub's alerts, the most severe first. Elsewhere they look like quotations."""
    refused = [
        f"{_about(refusal.address)}{prose(refusal.message)} ({code(refusal.rule)}"
        + (f"; {prose(refusal.remedy)})." if refusal.remedy else ").")
        for refusal in plan.blocked
    ]
    dangers = [
        f"{_about(hazard.address)}{prose(hazard.message)}."
        for hazard in plan.hazards
        if hazard.severity is Severity.DANGER
    ]
    notes = [
        f"{_about(hazard.address)}{prose(hazard.message)}."
        for hazard in plan.hazards
        if hazard.severity is Severity.NOTICE
    ]
    for kind, title, lines in (
        ("CAUTION", "Refused", refused),
        ("WARNING", "Danger", dangers),
        ("NOTE", "Note", notes),
    ):
        if lines:
            yield from (f"> [!{kind}]", f"> **{title}**")
            yield from (f"> {line}" for line in _cut([f"- {line}" for line in lines]))
            yield ""


def _deletes(plan: ReportPlan) -> Iterator[str]:
    """Deleted maps and inner maps, and deleted entries of the others."""
    lines = [line for node in plan.nodes for line in _deleted(node)]
    if lines:
        yield from ("**Deletes**", "")
        yield from _cut(lines)
        yield ""


def _deleted(node: Node) -> Iterator[str]:
    """A line for each deleted thing below `node`; one line for a map that is deleted as a whole."""
    entries = node.entries.delete if node.entries is not None else 0
    if node.verb is Verb.DELETE:
        held = f", {plural(entries, 'entry', 'entries')}" if entries and node.kind is Kind.OUTER_MAP else ""
        yield f"- {code(node.address)}: {node.kind.value.replace('_', ' ')}, {prose(node.text) or 'as a whole'}{held}"
    elif node.kind in (Kind.OUTER_MAP, Kind.PROGRAM) and node.children is not None:
        for child in node.children:
            entries -= child.entries.delete if child.entries is not None else 0
            yield from _deleted(child)
        if node.children.omitted and entries:
            yield f"- {code(node.address)}: {plural(entries, 'more entry', 'more entries')}, in other inner maps"
    elif entries:
        yield f"- {code(node.address)}: {plural(entries, 'entry', 'entries')}"


def _cut(lines: list[str]) -> Iterator[str]:
    """The first lines, and the number of the others."""
    yield from lines[:_ENOUGH]
    if len(lines) > _ENOUGH:
        yield f"- ... and {len(lines) - _ENOUGH:,} more"


def _about(address: str) -> str:
    return f"{code(address)}: " if address else ""


# --- the folded tree ---------------------------------------------------------------------------------------------


class _Body:
    """Folded details, one fold per map, up to a length."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._parts: list[str] = []

    def add(self, node: Node) -> bool:
        """Add a node with its children; False if something was left out."""
        label = f"{_SIGNS[node.verb]} {visible(node.label)}"
        title = f"<code>{escape(_short(label, _SPAN))}</code> {_html(_short(visible(node.text), _SPAN))}"
        if node.children is None or not node.children.total:
            return self._put(f"- {code(f'{label}  {node.text}')}\n") or self._stop()
        taken, whole = self._lines(node)
        if not taken and not whole:
            return self._stop()
        marks = fence(taken)
        block = "\n".join((f"<details><summary>{title}</summary>\n", f"{marks}diff", *taken, marks, "\n</details>\n"))
        return (self._put(block) and whole) or self._stop()

    def text(self) -> str:
        return "".join(self._parts)

    def _lines(self, node: Node) -> tuple[list[str], bool]:
        """The lines that fit, and whether these are all."""
        assert node.children is not None
        room = self._room - 4 * _SPAN
        taken: list[str] = []
        for line in _tree(node, 0):
            room -= length(line) + 1
            if room < 0:
                return taken, False
            taken.append(line)
        return taken, True

    def _put(self, text: str) -> bool:
        if length(text) > self._room:
            return False
        self._room -= length(text)
        self._parts.append(text)
        return True

    def _stop(self) -> bool:
        self._parts.append(f"\n> {_CUT}: `--format html` shows more, and `--full` shows all.\n")
        return False


def _tree(node: Node, depth: int) -> Iterator[str]:
    """The children of a node, with the sign in the first column."""
    assert node.children is not None
    for child in node.children:
        label = visible(child.label)
        text = f"  {visible(child.text)}" if child.text else ""
        yield _short(f"{_SIGNS[child.verb]} {'  ' * depth}{label:<18}{text}".rstrip(), _LINE)
        if child.children is not None:
            yield from _tree(child, depth + 1)
    if node.children.omitted:
        yield f"  {'  ' * depth}{sentences.more(node.children)}"


def fence(lines: Iterable[str]) -> str:
    """More backticks than any line has in a row."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    return "`" * max(3, longest + 1)


# --- text of others --------------------------------------------------------------------------------------


def code(text: str) -> str:
    """A code span with `text` as it is: without Markdown, HTML, mentions and references."""
    shown = _short(visible(text), _SPAN)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    blank = " " if not shown or "`" in (shown[0], shown[-1]) or shown.isspace() else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def prose(text: str) -> str:
    """A message: words that can be special in Markdown are code spans, the others are as they are."""
    return "".join(_word(word) for word in _WORDS.findall(_short(visible(text), _SPAN)))


def _word(word: str) -> str:
    """A word, as code if it can be special; brackets and punctuation around it stay outside of the code."""
    if _PLAIN.fullmatch(word) and "://" not in word and not word.startswith("-"):
        return word
    start, body, stop = _AROUND.fullmatch(word).groups()  # type: ignore[union-attr]
    if len(body) > 2 and body[0] == body[-1] == "`":
        body = body[1:-1]
    return f"{start}{code(body)}{stop}" if body else code(word)


def _html(text: str) -> str:
    """Text inside a line of HTML. `@name` outside code would notify a user."""
    return f"<code>{escape(text)}</code>" if "@" in text or "#" in text else escape(text)


def _short(text: str, most: int) -> str:
    """Text of limited length. It is cut before it is escaped, so that no span loses its end."""
    return text if len(text) <= most else f"{text[:most]} ..."


def _fitting(lines: Iterable[str], room: int) -> str:
    """The first whole lines that fit."""
    taken: list[str] = []
    for line in lines:
        room -= length(line) + 1
        if room < 0:
            break
        taken.append(f"{line}\n")
    return "".join(taken)


def length(text: str) -> int:
    """Characters as GitHub counts them at most: a character beyond U+FFFF counts twice."""
    return len(text) + sum(char > "\uffff" for char in text)


def _plan(plan: ReportPlan, end: Outcome | None, _: Layout) -> Iterator[str]:
    yield render(plan, end)


RENDERERS: Final = Renderers(CUT, _plan)
