"""A graph in the languages of drawing tools, each registered in `FORMATS`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from provisioner.report.graph import BoxKind, Graph

_DOT: Final = {
    BoxKind.OBJECT: 'shape=component, fillcolor="#f6f8fa"',
    BoxKind.PROGRAM: 'shape=box, style="rounded,filled", fillcolor="#ddf4ff"',
    BoxKind.OUTER_MAP: 'shape=box, fillcolor="#fff8c5"',
    BoxKind.MAP: 'shape=box, fillcolor="#ffffff"',
    BoxKind.INNER_MAP: 'shape=box, fillcolor="#dafbe1"',
    BoxKind.INNER_MAPS: 'shape=box, peripheries=2, fillcolor="#dafbe1"',
}
_MERMAID: Final = {
    BoxKind.OBJECT: ("[[", "]]"),
    BoxKind.PROGRAM: ("([", "])"),
    BoxKind.OUTER_MAP: ("[", "]"),
    BoxKind.MAP: ("[", "]"),
    BoxKind.INNER_MAP: ("[", "]"),
    BoxKind.INNER_MAPS: ("[[", "]]"),
}
_CLASSES: Final = {
    BoxKind.PROGRAM: "fill:#ddf4ff,stroke:#0969da,color:#1f2328",
    BoxKind.OUTER_MAP: "fill:#fff8c5,stroke:#9a6700,color:#1f2328",
    BoxKind.INNER_MAP: "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    BoxKind.INNER_MAPS: "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
}


def dot(graph: Graph) -> Iterator[str]:
    """Lines of DOT."""
    numbers = {box.id: f"n{number}" for number, box in enumerate(graph.boxes)}
    yield "digraph provisioner {"
    yield f'  graph [rankdir=LR, fontname="sans-serif", labelloc=t, label="{_dot(graph.title)}"];'
    yield '  node [style=filled, fontname="sans-serif", fontsize=11, margin="0.15,0.08"];'
    yield '  edge [fontname="sans-serif", fontsize=10];'
    for box in graph.boxes:
        label = "\\n".join(_dot(line) for line in box.lines)
        yield f'  {numbers[box.id]} [label="{label}", {_DOT[box.kind]}];'
    for arrow in graph.arrows:
        label = f' [label="{_dot(arrow.label)}"]' if arrow.label else ""
        yield f"  {numbers[arrow.source]} -> {numbers[arrow.target]}{label};"
    yield "}"


def _dot(text: str) -> str:
    """Text inside a string of DOT, in which backslashes and entities are special."""
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def mermaid(graph: Graph) -> Iterator[str]:
    """Lines of a Mermaid flowchart."""
    numbers = {box.id: f"n{number}" for number, box in enumerate(graph.boxes)}
    yield "flowchart LR"
    yield f"  accTitle: {_mermaid(graph.title)}"
    for box in graph.boxes:
        opens, closes = _MERMAID[box.kind]
        label = "<br/>".join(_mermaid(line) for line in box.lines)
        yield f'  {numbers[box.id]}{opens}"{label}"{closes}'
    for arrow in graph.arrows:
        label = f'|"{_mermaid(arrow.label)}"|' if arrow.label else ""
        yield f"  {numbers[arrow.source]} -->{label} {numbers[arrow.target]}"
    for kind, style in _CLASSES.items():
        members = [numbers[box.id] for box in graph.boxes if box.kind is kind]
        if members:
            yield f"  classDef {kind.value} {style}"
            yield f"  class {','.join(members)} {kind.value}"


def _mermaid(text: str) -> str:
    """Text inside quotes. Entity codes hide what is special in Mermaid, Markdown and HTML."""
    return re.sub(r"[^\w ,.:/()\[\]>-]", lambda match: f"#{ord(match[0])};", text)


FORMATS: Final[Mapping[str, Callable[[Graph], Iterator[str]]]] = {"dot": dot, "mermaid": mermaid}
"""A function for each format, which gives lines without their ends."""
