"""Boxes, text and arrows in an SVG 360 units wide, for the pictures of the documentation.

On a phone, a unit is about a pixel, so text has at least 12.7 units. The colors follow the color scheme of the system.
On the site, which includes the SVG in its pages, they follow the scheme that the reader chooses there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal

WIDTH: Final = 360

Kind = Literal["outer", "inner", "entry", "new", "process", "plain"]
Anchor = Literal["start", "middle", "end"]

_LIGHT: Final = {
    "paper": "#ffffff",
    "ink": "#1f2933",
    "dim": "#52606d",
    "line": "#7b8794",
    "outer": "#e0f2f1",
    "outer-line": "#00796b",
    "inner": "#fff3e0",
    "inner-line": "#b45f06",
    "new": "#e3f2fd",
    "new-line": "#1565c0",
    "process": "#f3e8fd",
    "process-line": "#6a3fb5",
    "bad": "#b3261e",
    "good": "#1b7a3d",
}
_DARK: Final = {
    "paper": "#1b222b",
    "ink": "#e6edf3",
    "dim": "#a9b6c2",
    "line": "#8494a3",
    "outer": "#12403c",
    "outer-line": "#4db6ac",
    "inner": "#43300f",
    "inner-line": "#ffb74d",
    "new": "#10355a",
    "new-line": "#82b7f0",
    "process": "#37294f",
    "process-line": "#c3a6f5",
    "bad": "#ff9a91",
    "good": "#7fd69a",
}


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--{name}:{color};" for name, color in colors.items())


STYLE: Final = (
    f".picture{{{_variables(_LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{.picture{{{_variables(_DARK)}}}}}"
    f'[data-md-color-scheme="default"] .picture{{{_variables(_LIGHT)}}}'
    f'[data-md-color-scheme="slate"] .picture{{{_variables(_DARK)}}}'
    ".picture text{font:13px system-ui,sans-serif;fill:var(--ink)}"
    ".picture .mono{font:12.7px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    ".picture .strong{font-weight:600}"
    ".picture .dim{fill:var(--dim)}.picture .bad{fill:var(--bad)}.picture .good{fill:var(--good)}"
    ".picture rect{stroke-width:1.5}"
    ".picture .paper{fill:var(--paper);stroke:none}"
    ".picture .plain,.picture .entry{fill:var(--paper);stroke:var(--line)}"
    + "".join(
        f".picture .{kind}{{fill:var(--{kind});stroke:var(--{kind}-line)}}"
        for kind in ("outer", "inner", "new", "process")
    )
    + ".picture path{fill:none;stroke:var(--line);stroke-width:1.5}.picture marker path{fill:var(--line);stroke:none}"
    ".picture .dashed{stroke-dasharray:4 3}"
)
_HEAD: Final = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
    'markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z"/></marker>'
)


@dataclass(slots=True)
class Picture:
    """A picture in the making; screen readers read its `title`."""

    title: str
    height: int
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, kind: Kind, *, dashed: bool = False) -> None:
        classes = f"{kind} dashed" if dashed else kind
        self.parts.append(f'<rect class="{classes}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>')

    def text(self, x: float, y: float, words: str, style: str = "", anchor: Anchor = "start") -> None:
        """One line of text; `y` is its base line."""
        classes = f' class="{style}"' if style else ""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(f'<text{classes} x="{x}" y="{y}"{where} xml:space="preserve">{escape(words)}</text>')

    def lines(self, x: float, y: float, words: str, style: str = "", step: float = 17) -> None:
        for number, line in enumerate(words.splitlines()):
            self.text(x, y + number * step, line, style)

    def label(self, x: float, y: float, width: float, height: float, kind: Kind, words: str, style: str = "") -> None:
        """A box with one line of text in its middle."""
        self.box(x, y, width, height, kind)
        self.text(x + width / 2, y + height / 2 + 4.5, words, style, "middle")

    def arrow(self, *points: tuple[float, float], dashed: bool = False, head: bool = True) -> None:
        path = "L".join(f"{x} {y}" for x, y in points)
        end = ' marker-end="url(#head)"' if head else ""
        classes = ' class="dashed"' if dashed else ""
        self.parts.append(f'<path{classes} d="M{path}"{end}/>')

    def svg(self) -> str:
        return "\n".join(
            (
                f'<svg class="picture" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
                f'width="{WIDTH * 1.3:.0f}" height="{self.height * 1.3:.0f}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}</style>",
                f"<defs>{_HEAD}</defs>",
                f'<rect class="paper" width="{WIDTH}" height="{self.height}" rx="8"/>',
                *self.parts,
                "</svg>",
                "",
            )
        )
