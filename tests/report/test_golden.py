"""What people and machines read of a plan, case by case: specs and what is expected stand in `cases`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from provisioner.language import schema_file
from provisioner.planning.changes import Reason
from provisioner.report import html, jsondoc, markdown
from provisioner.report.model import ALL
from provisioner.views import plan_report
from provisioner.views.map_nodes import REASONS
from tests.report import support

NAMES = sorted(path.name for path in support.CASES.iterdir())


@pytest.mark.parametrize("case", NAMES)
def test_a_plan_is_reported_as_expected(case: str) -> None:
    for name, output in support.rendered(case).items():
        assert output == (support.CASES / case / name).read_text(), name


@pytest.mark.parametrize("case", NAMES)
def test_the_document_is_what_the_schema_says(case: str) -> None:
    validator = Draft202012Validator(schema_file.load(schema_file.OUTPUT_SCHEMA))
    document = json.loads(support.rendered(case)["plan.json"])
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("case", NAMES)
def test_secrets_are_in_no_output(case: str) -> None:
    for output in (*support.rendered(case).values(), support.page(case)):
        assert not any(secret in output for secret in ("111111", "222222", "333333", "123456"))


def test_nothing_is_left_out_when_all_is_asked_for() -> None:
    before, after = (support.load(support.CASES / "cut" / name) for name in ("before.yaml", "after.yaml"))
    plan = support.plan(before, after)
    document = json.loads("".join(jsondoc.render(plan_report.report(plan, ALL))))
    changes = document["changes"]
    assert all(change.get("omitted", 0) == 0 for change in changes)
    actions = [change["action"] for change in changes if change["kind"] == "entry"]
    summary = document["summary"]["entries"]
    assert actions.count("insert") == summary["insert"]
    # Those of the inner map that goes as a whole are counted, not listed.
    assert actions.count("delete") == summary["delete"] - 2


def test_flags_that_were_filled_in_are_reported_for_new_maps_only(tmp_path: Path) -> None:
    routes = "routes: {type: lpm_trie, key: cidr4, value: u8, max_entries: 8, entries: {0.0.0.0/0: %d}}"
    before, after = (tmp_path / name for name in ("before.yaml", "after.yaml"))
    before.write_text("version: 1\nname: edge\nmaps:\n  " + routes % 1)
    after.write_text("version: 1\nname: edge\nmaps:\n  " + routes % 2)
    made = plan_report.report(support.plan(None, support.load(before)))
    (node,) = made.nodes
    assert node.text == "lpm_trie cidr4 -> u8, 1 entry; filled in: no_prealloc"
    assert node.after["filled_flags"] == ["no_prealloc"]
    assert "filled in: no_prealloc" in markdown.render(made)
    changed = plan_report.report(support.plan(support.load(before), support.load(after)))
    (node,) = changed.nodes
    assert "filled in" not in node.text
    assert "filled_flags" not in "".join(html.render(changed)), "no live map has that: it is no difference"


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(Reason)


def test_where_a_list_is_cut_deletes_are_not() -> None:
    document = json.loads(support.rendered("cut")["plan.json"])
    by_address = {change["address"]: change for change in document["changes"]}
    assert by_address["busy[35]"]["action"] == "delete"
    assert [by_address[f"busy[1][{key}]"]["action"] for key in range(5)] == ["delete"] * 5
    assert by_address["busy"]["omitted"] == 10
    assert by_address["busy[1]"]["omitted"] == 15
