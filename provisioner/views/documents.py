"""A plan as a value, as text and as a JSON document, for programs that do not print piece by piece."""

from __future__ import annotations

import json
from typing import Any

from provisioner.planning.plan import Plan
from provisioner.report import jsondoc, text
from provisioner.report.model import ALL, CUT, ReportPlan
from provisioner.report.style import on_terminal
from provisioner.views import plan_report


def describe(plan: Plan, *, full: bool = True) -> ReportPlan:
    """The report of a plan: counts, and a tree of decoded changes; without `full`, long lists are cut."""
    return plan_report.report(plan, ALL if full else CUT)


def to_text(plan: Plan, *, full: bool = False) -> str:
    """The text of `plan`, without colors."""
    return "".join(f"{on_terminal(line)}\n" for line in text.render(describe(plan, full=full)))


def to_json(plan: Plan, *, full: bool = False) -> dict[str, Any]:
    """The document that `plan --format json` writes; schemas/plan.schema.json describes it."""
    document: dict[str, Any] = json.loads("".join(jsondoc.render(describe(plan, full=full))))
    return document
