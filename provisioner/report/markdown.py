"""A plan, and how it ended, as Markdown: a comment on a pull request that can be read from the top. Pure.

What may hurt comes first, the tree is folded below it. Whatever stands in a spec or in a map is inside code, where
neither Markdown, HTML nor a mention means anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from provisioner.model.words import plural, visible
from provisioner.planning.hazards import Severity
from provisioner.report import sentences
from provisioner.report.model import Kind, Node, Outcome, ReportPlan, Verb
from provisioner.report.overlaid import decided

LIMIT: Final = 65_536
"""Characters of a comment on GitHub: a longer one is refused as a whole."""

_ENOUGH: Final = 20
"""Hazards, refusals and deletes of each kind that are listed on top."""

_LINE: Final = 1_000
_SPAN: Final = 240
"""Characters of a line of the tree, and of an address or message on top: there is room for those that follow."""

_POINTER: Final = 500
"""Room for what closes a fold, and for saying that there is more."""

_SIGNS: Final = {
    Verb.CREATE: "+",
    Verb.INSERT: "+",
    Verb.UPDATE: "!",
    Verb.REPLACE: "!",
    Verb.DELETE: "-",
    Verb.SHOW: " ",
}
"""What begins a line in a block of `diff`, which is how it gets its colour."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9,.:;%'()/ -]+|->")
_WORDS: Final = re.compile(r"`[^`\n]+`|\S+|\s+")
_CUT: Final = "The rest is cut, for a comment has no more room"


def render(plan: ReportPlan, end: Outcome | None = None) -> str:
    """The comment, of at most `LIMIT` characters; `end` is there for what apply and destroy did."""
    places = f" ({prose(decided('', plan.sources))})" if plan.sources else ""
    foot = f"\nPlan {code(plan.digest[:19])} at {code(plan.pin_root)}{places}.\n"
    head = _fitting(_head(plan, end), LIMIT - _length(foot) - _POINTER)
    body = _Body(LIMIT - _length(head) - _length(foot) - _POINTER)
    for node in plan.nodes:
        if not body.add(node):
            break
    return head + body.text() + foot


# --- what stands on top ------------------------------------------------------------------------------------------


def _head(plan: ReportPlan, end: Outcome | None) -> Iterator[str]:
    """Title, counts, and what may hurt."""
    what = "destroy" if plan.destroy else "plan" if end is None else "apply"
    yield f"<!-- provisioner {what} {plan.project} -->"
    yield f"### {code(plan.project)}: {_title(plan, end)}"
    yield ""
    if plan.against is not None:
        yield from (prose(sentences.against(plan.against)), "")
    for line in sentences.partial(plan):
        yield from (prose(line), "")
    if end is not None:
        yield from _outcome(plan, end)
    yield "\\\n".join(sentences.summary(plan))  # a break after each line but the last, where it would be shown
    yield ""
    if plan.changed:
        yield from _table(plan)
    yield from _alerts(plan)
    yield from _deletes(plan)


def _title(plan: ReportPlan, end: Outcome | None) -> str:
    if end is not None:
        return end.status.replace("_", " ")
    if plan.blocked:
        return "refused as it is"
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
    """The counts, a kind of thing to a row; only rows that hold one."""
    yield f"| | {' | '.join(sentences.COUNTED)} |"
    yield "|---|" + "---:|" * len(sentences.COUNTED)
    for title, cells in sentences.counts(plan.summary):
        yield f"| {title} | {' | '.join(cells)} |"
    yield ""


def _alerts(plan: ReportPlan) -> Iterator[str]:
    """Refusals and hazards, the worst first, as GitHub's alerts: quotations, wherever else they are shown."""
    refused = [
        f"{_about(one.address)}{prose(one.message)} ({code(one.rule)}"
        + (f"; {prose(one.override)} allows it)." if one.override else ").")
        for one in plan.blocked
    ]
    dangers = [f"{_about(one.address)}{prose(one.message)}." for one in plan.hazards if one.severity is Severity.DANGER]
    notes = [f"{_about(one.address)}{prose(one.message)}." for one in plan.hazards if one.severity is Severity.NOTICE]
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
    """What goes: maps, inner maps, and the entries of those that stay."""
    found = [line for node in plan.nodes for line in _deleted(node)]
    if found:
        yield from ("**Deletes**", "")
        yield from _cut(found)
        yield ""


def _deleted(node: Node) -> Iterator[str]:
    """A line for each thing below `node` that goes; of a map that goes as a whole, one."""
    entries = node.entries.delete if node.entries is not None else 0
    if node.verb is Verb.DELETE:
        held = f", {plural(entries, 'entry', 'entries')}" if entries and node.kind is Kind.OUTER_MAP else ""
        yield f"- {code(node.address)}: {node.kind.value.replace('_', ' ')}, {prose(node.text) or 'as a whole'}{held}"
    elif node.kind is Kind.OUTER_MAP and node.children is not None:
        for child in node.children:
            entries -= child.entries.delete if child.entries is not None else 0
            yield from _deleted(child)
        if node.children.omitted and entries:
            yield f"- {code(node.address)}: {plural(entries, 'more entry', 'more entries')}, in other inner maps"
    elif entries:
        yield f"- {code(node.address)}: {plural(entries, 'entry', 'entries')}"


def _cut(lines: list[str]) -> Iterator[str]:
    """The first of many lines, and how many there are more."""
    yield from lines[:_ENOUGH]
    if len(lines) > _ENOUGH:
        yield f"- ... and {len(lines) - _ENOUGH:,} more"


def _about(address: str) -> str:
    return f"{code(address)}: " if address else ""


# --- the folded tree ---------------------------------------------------------------------------------------------


class _Body:
    """Folded details, a map to a fold, until there is no more room."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._parts: list[str] = []

    def add(self, node: Node) -> bool:
        """Add one node with what is below it; False once something had to be left out."""
        label = f"{_SIGNS[node.verb]} {visible(node.label)}"
        title = f"<code>{escape(_short(label, _SPAN))}</code> {_html(_short(visible(node.text), _SPAN))}"
        if node.children is None or not node.children.total:
            return self._put(f"- {code(f'{label}  {node.text}')}\n") or self._stop()
        taken, whole = self._lines(node)
        if not taken and not whole:
            return self._stop()
        fence = _fence(taken)
        block = "\n".join((f"<details><summary>{title}</summary>\n", f"{fence}diff", *taken, fence, "\n</details>\n"))
        return (self._put(block) and whole) or self._stop()

    def text(self) -> str:
        return "".join(self._parts)

    def _lines(self, node: Node) -> tuple[list[str], bool]:
        """As many lines as there is room for, and whether these are all."""
        assert node.children is not None
        room = self._room - 4 * _SPAN
        taken: list[str] = []
        for line in _tree(node, 0):
            room -= _length(line) + 1
            if room < 0:
                return taken, False
            taken.append(line)
        return taken, True

    def _put(self, text: str) -> bool:
        if _length(text) > self._room:
            return False
        self._room -= _length(text)
        self._parts.append(text)
        return True

    def _stop(self) -> bool:
        self._parts.append(f"\n> {_CUT}: `--format html` has more of it, and `--full` all.\n")
        return False


def _tree(node: Node, depth: int) -> Iterator[str]:
    """What is below a node, its sign in the first column, its text after its label."""
    assert node.children is not None
    for child in node.children:
        label = visible(child.label)
        text = f"  {visible(child.text)}" if child.text else ""
        yield _short(f"{_SIGNS[child.verb]} {'  ' * depth}{label:<18}{text}".rstrip(), _LINE)
        if child.children is not None:
            yield from _tree(child, depth + 1)
    if node.children.omitted:
        yield f"  {'  ' * depth}{sentences.more(node.children)}"


def _fence(lines: Iterable[str]) -> str:
    """Backticks that no line holds as many of."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    return "`" * max(3, longest + 1)


# --- text that others wrote --------------------------------------------------------------------------------------


def code(text: str) -> str:
    """A code span that holds `text` as it is: no Markdown, HTML, mention or reference is read in it."""
    shown = _short(visible(text).replace("\n", " "), _SPAN)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    blank = " " if not shown or "`" in (shown[0], shown[-1]) or shown.isspace() else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def prose(text: str) -> str:
    """A message: words that Markdown could read something into are code, the others are as they are."""
    return "".join(_word(word) for word in _WORDS.findall(_short(visible(text).replace("\n", " "), _SPAN)))


def _word(word: str) -> str:
    if _PLAIN.fullmatch(word) and "://" not in word and not word.startswith("-"):
        return word
    if len(word) > 2 and word[0] == word[-1] == "`":
        return code(word[1:-1])
    stop = word[-1] if word[-1] in ".,:;" and len(word) > 1 else ""
    return code(word.removesuffix(stop)) + stop


def _html(text: str) -> str:
    """Text inside a line of HTML, where `@name` would call somebody."""
    return f"<code>{escape(text)}</code>" if "@" in text or "#" in text else escape(text)


def _short(text: str, most: int) -> str:
    """Text before anything is escaped in it: a span that is cut would end nowhere."""
    return text if len(text) <= most else f"{text[:most]} ..."


def _fitting(lines: Iterable[str], room: int) -> str:
    """As many whole lines as there is room for."""
    taken: list[str] = []
    for line in lines:
        room -= _length(line) + 1
        if room < 0:
            break
        taken.append(f"{line}\n")
    return "".join(taken)


def _length(text: str) -> int:
    """Characters as GitHub may count them: one beyond the first 65,536 of Unicode is two."""
    return len(text) + sum(char > "\uffff" for char in text)
