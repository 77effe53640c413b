"""A plan in the format that was asked for; what formats it is imported when it is used."""

from __future__ import annotations

from provisioner.cli.console import Console, Format
from provisioner.report.model import ALL, CUT, PAGE, Limits, Outcome, ReportPlan


def limits(form: Format, full: bool) -> Limits:
    """How much of long lists a format shows."""
    if full:
        return ALL
    return PAGE if form == "html" else CUT


def write(console: Console, report: ReportPlan, end: Outcome | None = None, *, full: bool = False) -> None:
    """The whole result in any format but text, of which apply shows the plan before it ends."""
    match console.format:
        case "html":
            from provisioner.report import html

            console.pieces(html.render(report, end, lines=None if full else html.LINES))
        case "markdown":
            from provisioner.report import markdown

            console.pieces([markdown.render(report, end)])
        case _:
            from provisioner.report import jsondoc

            console.pieces(jsondoc.render(report, end))
