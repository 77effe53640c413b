"""The tree of a plan in HTML: nodes as nested lists, entries as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from provisioner.codec.display import brief, format_value
from provisioner.model.types import Abridged, Hidden, Value
from provisioner.model.words import visible
from provisioner.report import sentences
from provisioner.report.model import Children, Kind, Node, Verb

OPEN: Final = 40
"""Inner maps that are unfolded at first; if there are more, all are folded."""

OPEN_MAPS: Final = 20
"""The same for maps and objects."""

VERBS: Final = {
    Verb.CREATE: ("create", "+", "create"),
    Verb.INSERT: ("create", "+", "insert"),
    Verb.UPDATE: ("update", "~", "change"),
    Verb.REPLACE: ("replace", "±", "replace"),
    Verb.DELETE: ("delete", "-", "delete"),
    Verb.SHOW: ("show", " ", "unchanged"),
}
"""The class, the sign and the word of each."""

TABLE: Final = (
    "<table class=entries><thead><tr><th></th><th scope=col>key</th><th scope=col>before</th>"
    "<th scope=col>after</th></tr></thead><tbody>\n",
    "</tbody></table>\n",
)
LIST: Final = ("<ul>\n", "</ul>\n")
"""The begin and the end around entries, and around inner maps."""


class Tree:
    """Nodes as nested lists, entries as tables, up to a number of lines.

    `verbs` collects the classes of what is shown.
    """

    def __init__(self, lines: int | None) -> None:
        self._left = lines
        self.verbs: set[str] = set()

    def node(self, node: Node, unfold: bool = True) -> Iterator[str]:
        self.verbs.add(VERBS[node.verb][0])
        head, title, facts = opening(node)
        below = node.children if node.children is not None and node.children.total else None
        if below is None and not facts:
            yield f"{head}{title}</li>\n"
            return
        yield f"{head}<details{' open' if unfold and below is not None else ''}><summary>{title}</summary>\n{facts}"
        if below is not None:
            begin, end = TABLE if below.kind is Kind.ENTRY else LIST
            few, shown = below.shown <= OPEN, 0
            yield begin
            for child in self.fitting(below):
                shown += 1
                yield from self.child(child, few)
            yield self.rest(below, shown, below.kind)
            yield end
        yield "</details></li>\n"

    def child(self, child: Node, unfold: bool) -> Iterator[str]:
        """An item of a list, or a row of a table."""
        if child.kind is not Kind.ENTRY:
            yield from self.node(child, unfold)
            return
        self.verbs.add(VERBS[child.verb][0])
        yield _entry(child)

    def fitting(self, below: Children) -> Iterator[Node]:
        """The children that fit on the page."""
        for child in below:
            if self._left is not None and self._left <= 0:
                return
            self._left = None if self._left is None else self._left - 1
            yield child

    @staticmethod
    def rest(below: Children, shown: int, among: Kind) -> str:
        """The number of the other children, as a row among entries or as an item of a list."""
        if shown >= below.total:
            return ""
        text = plain_text(sentences.left_out(below, below.total - shown))
        if among is Kind.ENTRY:
            return f"<tr><td></td><td colspan=3 class=soft>{text}</td></tr>\n"
        return f"<li class='leaf soft'>{text}</li>\n"


def opening(node: Node) -> tuple[str, str, str]:
    """The begin of a node's item, its title, and the facts below the title."""
    name, sign, word = VERBS[node.verb]
    title = (
        f'<span class=sign title="{word}">{sign}</span> <bdi class=label>{plain_text(node.label)}</bdi> '
        f"<span>{plain_text(node.text)}</span>"
    )
    facts = _facts(node)
    leaf = "" if facts or (node.children is not None and node.children.total) else " leaf"
    return f'<li class="{name}{leaf}" data-address="{plain_text(node.address)}">', title, facts


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
        facts.append(f"{plain_text(name)} {' -&gt; '.join(sides)}")
    return f"<p class=facts><bdi>{', '.join(facts)}</bdi></p>\n" if facts else ""


def _without_filled(shape: dict[str, Value]) -> dict[str, Value]:
    """A shape without `filled_flags`: no live map has this member, so it is not a difference."""
    return {
        name: _without_filled(field) if isinstance(field, dict) else field
        for name, field in shape.items()
        if name != "filled_flags"
    }


def _entry(entry: Node) -> str:
    """A row of a table: sign, key, before, after. Hidden and long values have a text instead."""
    name, sign, word = VERBS[entry.verb]
    first = f'<td><span class=sign title="{word}">{sign}</span></td><td><bdi>{plain_text(entry.label)}</bdi></td>'
    match entry.verb:
        case Verb.UPDATE if entry.is_long or isinstance(entry.before, Hidden | Abridged):
            cells = f"<td colspan=2>{plain_text(entry.text)}</td>"
        case Verb.UPDATE:
            old, new = _marked(entry.before, entry.after, "del"), _marked(entry.after, entry.before, "ins")
            cells = f"<td data-is=before><bdi>{old}</bdi></td><td data-is=after><bdi>{new}</bdi></td>"
        case Verb.DELETE:
            cells = f"<td data-is=before><bdi>{_shown(entry, entry.before)}</bdi></td><td></td>"
        case _:
            cells = f"<td></td><td data-is=after><bdi>{_shown(entry, entry.after)}</bdi></td>"
    return f'<tr class={name} data-address="{plain_text(entry.address)}">{first}{cells}</tr>\n'


def _shown(entry: Node, value: Value) -> str:
    return plain_text(brief(value)) if entry.is_long else _plain(value)


def _marked(value: Value, other: Value, mark: str) -> str:
    """A value as a spec writes it. The parts that differ from `other` are inside an element `mark`."""
    if value == other or other is None:
        return _plain(value)
    if isinstance(value, dict) and isinstance(other, dict):
        parts = (
            f"{_plain(name)}: " + (_marked(part, other[name], mark) if name in other else _plain(part))
            for name, part in value.items()
        )
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return "[" + ", ".join(_marked(part, there, mark) for part, there in zip(value, other, strict=True)) + "]"
    return f"<{mark}>{_plain(value)}</{mark}>"


def _plain(value: Value) -> str:
    return plain_text(format_value(value))


def plain_text(text: str) -> str:
    """Text as it is: without HTML, quotes and control characters."""
    return escape(visible(text))
