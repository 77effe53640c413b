"""The findings of doctor as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import msgspec

from provisioner.doctor.finding import Finding, Level, usable
from provisioner.report.jsondoc import FORMAT_VERSION
from provisioner.report.style import PLAIN, Colour, Style

_SIGNS: Final[dict[Level, tuple[str, Colour]]] = {
    Level.OK: ("+", "green"),
    Level.NOTE: ("!", "yellow"),
    Level.BAD: ("x", "red"),
}


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
