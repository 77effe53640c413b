"""What doctor found out about this host, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final

import msgspec

from provisioner.report.jsondoc import FORMAT_VERSION
from provisioner.report.style import PLAIN, Colour, Style


class Level(Enum):
    """`bad` keeps the provisioner from working here; `note` is worth knowing."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """One thing about this host. `value` is for programs and stays the same in form; `what` says it to people."""

    id: str
    level: Level
    what: str
    value: Any = None
    hint: str = ""


_SIGNS: Final[dict[Level, tuple[str, Colour]]] = {
    Level.OK: ("+", "green"),
    Level.NOTE: ("!", "yellow"),
    Level.BAD: ("x", "red"),
}


def usable(findings: Iterable[Finding]) -> bool:
    """Whether nothing keeps the provisioner from working here."""
    return all(finding.level is not Level.BAD for finding in findings)


def text(findings: tuple[Finding, ...], style: Style = PLAIN) -> Iterator[str]:
    """A line for each finding, its hint below it, and the verdict."""
    for finding in findings:
        sign, colour = _SIGNS[finding.level]
        yield f"{style(sign, colour)} {finding.id:<24}{finding.what}"
        if finding.hint:
            yield f"  {'':<24}{style(finding.hint, 'dim')}"
    yield ""
    yield "The provisioner can work here." if usable(findings) else "The provisioner cannot work here."


def document(findings: tuple[Finding, ...]) -> str:
    """The same as one JSON document."""
    listed = [msgspec.to_builtins(finding) | {"level": finding.level.value} for finding in findings]
    whole = {"format_version": FORMAT_VERSION, "usable": usable(findings), "findings": listed}
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
