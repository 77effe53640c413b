"""The tree of a large page in parts, which a browser adds when they are opened. Pure.

A browser takes seconds for 100,000 rows. So what is folded is the text of `noscript` elements. Where the page's script
runs, a part stays text until it is opened or the search finds something in it; where no scripts run, a browser shows it
like the rest. Parts are not nested: the element ends at its first end tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from provisioner.model.words import plural
from provisioner.report.model import Children, Kind, Node, Verb
from provisioner.report.page_tree import LIST, OPEN, TABLE, VERBS, Tree, opening, plain_text

WHOLE: Final = 5_000
"""Lines of a tree that is not divided."""

CHANGES: Final = tuple(VERBS[verb] for verb in (Verb.DELETE, Verb.REPLACE, Verb.UPDATE, Verb.CREATE))

PART: Final = 1_000
"""Lines of a part; the last inner map in it can exceed them."""


class Parts:
    """Nodes as nested lists; what is folded is in parts."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def node(self, node: Node, unfold: bool = True) -> Iterator[str]:
        below = node.children
        if below is None or not below.total:
            yield from self._tree.node(node, unfold)
            return
        head, title, facts = opening(node)
        items = self._items(below)
        first, second = next(items, None), next(items, None)
        if isinstance(first, _PagePart) and second is None:
            yield f"{head}<details><summary>{title} {first.signs()}</summary>\n{facts}{first.text()}</details></li>\n"
            return
        yield f"{head}<details{' open' if unfold else ''}><summary>{title}</summary>\n{facts}<ul>\n"
        for item in chain((first, second), items):
            if item is not None:
                yield item.folded() if isinstance(item, _PagePart) else item
        yield "</ul>\n</details></li>\n"

    def _items(self, below: Children) -> Iterator[_PagePart | str]:
        """Parts, and between them inner maps that are divided themselves."""
        few, shown = below.shown <= OPEN, 0
        part = _PagePart(below.kind, self._tree)
        for child in self._tree.fitting(below):
            shown += 1
            if _below(child) > PART:
                if part.labels:
                    yield part
                part = _PagePart(below.kind, self._tree)
                yield from self.node(child, few)
                continue
            part.add(child, few)
            if part.lines >= PART:
                yield part
                part = _PagePart(below.kind, self._tree)
        if part.labels:
            part.pieces.append(self._tree.rest(below, shown, below.kind))
            yield part
        elif shown < below.total:
            yield self._tree.rest(below, shown, Kind.INNER_MAP)


class _PagePart:
    """Children of one node that a browser adds together; `verbs` are the classes of all that is in them."""

    def __init__(self, kind: Kind, tree: Tree) -> None:
        self._kind = kind
        self._tree = tree
        self._verbs: set[str] = set()
        self.labels: list[str] = []
        self.pieces: list[str] = []
        self.lines = 0

    def add(self, child: Node, unfold: bool) -> None:
        self.labels.append(child.label)
        self._tree.verbs = self._verbs
        self.pieces.extend(self._tree.child(child, unfold))
        self.lines += 1 + _below(child)

    def text(self) -> str:
        begin, end = TABLE if self._kind is Kind.ENTRY else LIST
        return f"<noscript>{begin}{''.join(self.pieces)}{end}</noscript>"

    def signs(self) -> str:
        """The kinds of changes in it. By them the filters, which see no text, keep it."""
        signs = {name: f'<span class=sign title="{word}">{sign}</span>' for name, sign, word in CHANGES}
        return "".join(f"<span class={name}>{sign}</span>" for name, sign in signs.items() if name in self._verbs)

    def folded(self) -> str:
        """The part as an item of a list."""
        ends = (self.labels[0], self.labels[-1])[: len(self.labels)]
        title = " ... ".join(f"<bdi class=label>{plain_text(label)}</bdi>" for label in ends)
        held = plural(len(self.labels), *(("entry", "entries") if self._kind is Kind.ENTRY else ("inner map",)))
        return (
            f"<li><details><summary>{title} <span>{held}</span> {self.signs()}</summary>{self.text()}</details></li>\n"
        )


def is_large(nodes: Iterable[Node]) -> bool:
    """Whether these are more lines than a browser takes at once."""
    lines = 0
    for more in _line_counts(nodes):
        lines += more
        if lines > WHOLE:
            return True
    return False


def _line_counts(nodes: Iterable[Node]) -> Iterator[int]:
    """Numbers of lines, all of them together; no entry is made to count it."""
    for node in nodes:
        if node.children is None or node.children.kind is Kind.ENTRY:
            yield 1 + _below(node)
        else:
            yield 1
            yield from _line_counts(node.children)


def _below(node: Node) -> int:
    return node.children.shown if node.children is not None else 0
