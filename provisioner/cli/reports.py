"""Documents in the format of the console: a plan, what is live, an explanation, findings, projects."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from provisioner.cli.console import Console
from provisioner.doctor.finding import Finding
from provisioner.report.formats import Layout, Renderers, renderers
from provisioner.report.model import (
    ALL,
    Explanation,
    Limits,
    ListedProject,
    Outcome,
    ReportLive,
    ReportPlan,
    Validation,
)

_Document = TypeVar("_Document")


def limits(console: Console, *, full: bool) -> Limits:
    """How much of long lists is shown."""
    return ALL if full else renderers(console.format).limits


def plan(
    console: Console, report: ReportPlan, end: Outcome | None = None, *, full: bool = False, steps: bool = False
) -> None:
    """A plan; `end` says how it was carried out."""
    own = renderers(console.format)
    _put(
        console,
        own,
        own.plan(report, end, Layout(console.style, steps, full, _made() if console.format == "html" else "")),
    )


def live(console: Console, report: ReportLive) -> None:
    """What is live."""
    _write(console, renderers(console.format).live, report)


def explanation(console: Console, report: Explanation) -> None:
    """The facts about one address."""
    _write(console, renderers(console.format).explanation, report)


def validation(console: Console, report: Validation) -> None:
    """What a valid spec declares."""
    _write(console, renderers(console.format).validation, report)


def findings(console: Console, report: tuple[Finding, ...]) -> None:
    """The state of this host."""
    _write(console, renderers(console.format).findings, report)


def projects(console: Console, report: tuple[ListedProject, ...]) -> None:
    """The projects of this host."""
    _write(console, renderers(console.format).projects, report)


def _made() -> str:
    """`on edge-1, 2026-11-27 20:31:05 UTC`."""
    return f"on {os.uname().nodename}, {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}"


def _write(console: Console, render: Callable[[_Document, Layout], Iterable[str]] | None, document: _Document) -> None:
    assert render is not None, "an option offers only formats that have the document"
    _put(console, renderers(console.format), render(document, Layout(console.style)))


def _put(console: Console, own: Renderers, parts: Iterable[str]) -> None:
    if own.is_text:
        console.lines(parts)
    else:
        console.pieces(parts)
