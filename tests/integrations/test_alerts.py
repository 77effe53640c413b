"""The alerts for Prometheus: promtool runs each one on series of its cause, and their metrics exist."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml

from provisioner.watch.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "integrations" / "prometheus"
RULES: Final = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
CASES: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())
OF_PROMETHEUS: Final = {"up"}
"""Metrics of Prometheus itself."""


def promtool(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool from the PATH, or the one that `make setup` installs."""
    path = f"{os.environ['PATH']}:{ROOT / 'build' / 'tools'}"
    command = ["sh", "-c", 'exec promtool "$@"', "promtool", *words]
    return subprocess.run(command, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True)


def test_each_alert_fires_for_its_cause_alone_and_resolves() -> None:
    done = promtool("test", "rules", "alerts.test.yml", cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    claims = [claim for case in CASES["tests"] for claim in case.get("alert_rule_test", ())]
    for rule in RULES:
        outcomes = {bool(claim["exp_alerts"]) for claim in claims if claim["alertname"] == rule["alert"]}
        assert outcomes == {True, False}, rule["alert"]


def test_a_rule_that_never_fires_fails_its_cases(tmp_path: Path) -> None:
    """The cases detect each rule that never fires: promtool reports them by rule, so one run has all such rules."""
    rules = (FOLDER / "alerts.yml").read_text()
    never, count = re.subn(
        r"(alert: \w+\n)(.*?)(        labels)", r"\1        expr: vector(0) > 1\n\3", rules, flags=re.DOTALL
    )
    assert count == len(RULES)
    (tmp_path / "alerts.yml").write_text(never)
    (tmp_path / "alerts.test.yml").write_text((FOLDER / "alerts.test.yml").read_text())
    done = promtool("test", "rules", "alerts.test.yml", cwd=tmp_path)
    assert done.returncode == 1
    assert set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr)) == {rule["alert"] for rule in RULES}


def test_alerts_are_over_metrics_that_exist() -> None:
    exported = {family.name for family in Metrics().families()}
    exported |= {f"{name}_total" for name in exported}
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and rule["annotations"]["summary"]
        named = set(selected(promql_parser.parse(rule["expr"])))
        assert named and named <= exported | OF_PROMETHEUS, rule["alert"]


def selected(expression: Any) -> Iterator[str]:
    """The names of all metrics that an expression of PromQL selects."""
    if isinstance(expression, promql_parser.VectorSelector) and expression.name is not None:
        yield expression.name
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from selected(inner)
    arguments = getattr(expression, "args", None) or ()
    for argument in arguments:
        yield from selected(argument)


def test_selected_finds_every_metric_of_an_expression() -> None:
    expression = "sum by (a) (rate(x_total[5m])) / on (a) max(y) > time() - abs(z) unless on (b) up == 0"
    assert set(selected(promql_parser.parse(expression))) == {"x_total", "y", "z", "up"}
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (provisioner_drift > 0")


def test_the_documentation_lists_every_alert() -> None:
    listed = re.findall(r"^\| `(Provisioner\w+)`", (ROOT / "docs" / "watch.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(rule["alert"] for rule in RULES)
