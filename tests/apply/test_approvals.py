"""Approvals in a spec: what they allow, once, until their day, and how they are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

import provisioner
from provisioner import Project, RefusedError
from provisioner.model.approval import Approval
from provisioner.model.location import Location
from provisioner.model.record import Meta
from provisioner.planning import approved
from provisioner.planning.hazards import Refusal
from provisioner.report.logs import LogLine
from provisioner.watch import events
from provisioner.watch.machine import Verdict
from provisioner.watch.reconcile import PassResult
from tests.document.support import read

HERE = Location("edge.yaml", 3, 5)
REFUSAL = Refusal("delete_percent", "tenants", "too many", "--approve-deletes")
SPEC = """\
version: 1
name: edge
maps:
  m: {{type: hash, key: u32, value: {value}, max_entries: 64, entries: {entries}}}
{approvals}
"""


def approval(**changes: str) -> Approval:
    fields = {"rule": "delete_percent", "address": "tenants", "until": "", "id": ""} | changes
    return Approval(**fields, where=HERE, is_current=True)


def meta(*keys: str) -> Meta:
    return Meta("edge", {}, {}, {}, {}, approvals=keys)


def load(folder: Path, root: Path, *, count: int, value: str = "u32", approvals: str = "") -> Project:
    entries = "{" + ", ".join(f"{key}: 1" for key in range(count)) + "}"
    spec = folder / "edge.yaml"
    spec.write_text(SPEC.format(value=value, entries=entries, approvals=approvals))
    return provisioner.load(spec, pin_root=str(root))


def test_an_approval_lifts_the_refusal_of_its_rule_and_address() -> None:
    for fits, changes in ((True, {}), (False, {"rule": "recreate"}), (False, {"address": "tenants[1]"})):
        left, lifted = approved.judge([REFUSAL], [approval(**changes)], None)
        assert (bool(lifted), bool(left)) == (fits, not fits)


def test_one_that_was_used_or_is_not_current_lifts_nothing_and_says_why() -> None:
    used, old = approval(id="CHG-1"), approval(until="2026-01-01")
    for each, record in ((used, meta(used.key)), (Approval(*(old.rule, old.address, old.until, "", HERE)), meta())):
        (left,), lifted = approved.judge([REFUSAL], [each], record)
        assert not lifted and each.name in left.hint
    assert approved.judge([REFUSAL], [used, approval(id="CHG-2")], meta(used.key))[1][0].approval.id == "CHG-2"


def test_rules_that_protect_from_others_cannot_be_approved(tmp_path: Path) -> None:
    ownership = Refusal("ownership", "tenants", "x", "--take-over")
    assert approved.judge([ownership], [approval(rule="ownership")], None)[1] == ()
    head = "version: 1\nname: edge\napprovals:\n"
    assert read(f"{head}- {{rule: ownership, address: m}}\n", tmp_path)[1] == ["spec.yaml:4:10: unknown-value"]
    assert read(f"{head}- {{rule: recreate}}\n", tmp_path)[1] == ["spec.yaml:4:3: missing-field"]
    assert read(f"{head}- {{rule: recreate, address: m, until: 31.12.}}\n", tmp_path)[1] == [
        "spec.yaml:4:39: invalid-name"
    ]
    twice = "- {rule: recreate, address: m}\n" * 2
    assert read(head + twice, tmp_path)[1] == ["spec.yaml:5:3: duplicate-key"]


def test_a_day_in_utc_ends_it(tmp_path: Path) -> None:
    desired = load(
        tmp_path, tmp_path, count=1, approvals="approvals: [{rule: recreate, address: m, until: 2026-05-31}]"
    ).desired
    days = ("2026-05-30", "2026-05-31", "2026-06-01")
    assert [desired.on(day).approvals[0].is_current for day in days] == [True, True, False]
    assert not desired.approvals[0].is_current, "nobody has checked the date"


def test_the_record_forgets_approvals_only_with_the_next_use() -> None:
    first, second = approval(id="1"), approval(id="2")
    assert approved.recorded(meta(first.key), [], []) == (first.key,)
    lifted = [approved.Approved(REFUSAL, second)]
    assert approved.recorded(meta(first.key), [second], lifted) == (second.key,)
    assert approved.recorded(meta(first.key), [first, second], lifted) == tuple(sorted((first.key, second.key)))


def test_a_watch_logs_it() -> None:
    result = PassResult(Verdict.APPLIED, approved=(approved.Approved(REFUSAL, approval(id="CHG-1")),))
    line: LogLine = next(iter(events.lines(result, None, 0)))
    assert (line.event, line.fields["approval"]) == ("approved", "CHG-1 (edge.yaml:3)")


def test_it_is_used_once_on_a_host(pin_root: Path, tmp_path: Path) -> None:
    root = pin_root / "edge"
    load(tmp_path, root, count=40).apply()
    approvals = "approvals: [{{rule: delete_percent, address: m, id: {}}}]"
    with pytest.raises(RefusedError):
        load(tmp_path, root, count=1).apply()
    first = load(tmp_path, root, count=1, approvals=approvals.format("a"))
    plan = first.plan()
    assert [str(each) for each in plan.approved] == [f"delete_percent of m by a ({tmp_path}/edge.yaml:5)"]
    assert "approved" in {hazard.id for hazard in plan.hazards}
    assert provisioner.describe(plan).approved == plan.approved
    assert first.apply(expected=plan.digest)[0].approved == plan.approved
    assert not first.plan().changed, "the second apply does nothing"
    load(tmp_path, root, count=40, approvals=approvals.format("a")).apply()
    with pytest.raises(RefusedError) as caught:
        load(tmp_path, root, count=1, approvals=approvals.format("a")).apply()
    assert "was used" in caught.value.problems[0].hint
    load(tmp_path, root, count=1, approvals=approvals.format("b")).apply()
    recreate = "approvals: [{rule: recreate, address: m}]"
    load(tmp_path, root, count=1, value="u64", approvals=recreate).apply()
    assert not load(tmp_path, root, count=1, value="u64").plan().changed, "a used approval that goes is no change"
    load(tmp_path, root, count=1).destroy()
    assert not root.exists()
