"""The formats of results, each registered here once, with the documents that it can write.

A format is a module with a constant `RENDERERS`. It is imported when it is used: the renderers need NumPy to show
values, and `--help` needs the names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from provisioner.report.style import PLAIN, Style

if TYPE_CHECKING:
    from provisioner.doctor.finding import Finding
    from provisioner.report.model import Explanation, Limits, ListedProject, Outcome, ReportLive, ReportPlan, Validation

Document = Literal["plan", "live", "explanation", "validation", "findings", "projects"]


class Layout(msgspec.Struct, frozen=True):
    """How a document is written. `steps` lists the steps of a plan; `full` leaves nothing out.

    `made` says on which host and when, for a page that is kept.
    """

    style: Style = PLAIN
    steps: bool = False
    full: bool = False
    made: str = ""


class Renderers(msgspec.Struct, frozen=True):
    """One function for each document, None where the format does not have it. Each gives the text in pieces.

    `limits` are how much of a plan is listed. Text of a format that `is_text` goes to a terminal as lines without
    ends; everything else is a document that is written as it is.
    """

    limits: Limits
    plan: Callable[[ReportPlan, Outcome | None, Layout], Iterable[str]]
    live: Callable[[ReportLive, Layout], Iterable[str]] | None = None
    explanation: Callable[[Explanation, Layout], Iterable[str]] | None = None
    validation: Callable[[Validation, Layout], Iterable[str]] | None = None
    findings: Callable[[tuple[Finding, ...], Layout], Iterable[str]] | None = None
    projects: Callable[[tuple[ListedProject, ...], Layout], Iterable[str]] | None = None
    is_text: bool = False


class _Format(msgspec.Struct, frozen=True):
    module: str
    documents: tuple[Document, ...]


_ALL: Final[tuple[Document, ...]] = ("plan", "live", "explanation", "validation", "findings", "projects")

FORMATS: Final[Mapping[str, _Format]] = {
    "text": _Format("text", _ALL),
    "json": _Format("jsondoc", _ALL),
    "markdown": _Format("markdown", ("plan",)),
    "html": _Format("html", ("plan",)),
}


def names(document: Document) -> tuple[str, ...]:
    """The formats that a document can be written in."""
    return tuple(name for name, one in FORMATS.items() if document in one.documents)


def renderers(name: str) -> Renderers:
    """The functions of a format."""
    renderers = import_module(f"provisioner.report.{FORMATS[name].module}").RENDERERS
    assert isinstance(renderers, Renderers), name
    return renderers
