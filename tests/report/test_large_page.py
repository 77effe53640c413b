"""A page of many rows: few elements until they are opened or found, and all of it where no script runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from provisioner.report import html, page_parts
from provisioner.report.model import ALL, ReportPlan
from provisioner.views import plan_report
from tests.report import support
from tests.report.browser import ask

HOSTILE = "</noscript><script>parent.hit=1</script>"
SPEC = """\
version: 1
name: edge
inner_templates: {{rules: {{type: hash, key: u32, value: 'char[64]', max_entries: 8192}}}}
outer_maps:
  tenants: {{type: hash_of_maps, key: u32, max_entries: 1024, inner: rules, inner_maps: {{{}}}}}
"""
NINE = ", ".join(f"{key}: v{key}" for key in range(9))


def report(tmp_path: Path, after: str, before: str = "") -> ReportPlan:
    specs = []
    for text in (before, after):
        (tmp_path / "edge.yaml").write_text(SPEC.format(text))
        specs.append(support.load(tmp_path / "edge.yaml") if text else None)
    live, desired = specs
    assert desired is not None
    return plan_report.report(support.plan(live, desired), ALL)


@pytest.fixture
def large(tmp_path: Path) -> ReportPlan:
    """600 inner maps; in one of them an entry is deleted, and another one is hostile."""
    rules = f"{{entries: {{{NINE}}}}}"
    after = f"0..576: {rules}, 577: {{entries: {{1: '{HOSTILE}'}}}}, 578..599: {rules}"
    return report(tmp_path, after, "577: {entries: {1000: gone}}")


def outside(page: str) -> str:
    return re.sub("<noscript>.*?</noscript>", "", page, flags=re.DOTALL)


def addresses(page: str) -> list[str]:
    return re.findall('<(?:li|tr) class="?[a-z ]+"? data-address="([^"]*)"', page)


def test_it_has_the_rows_of_a_whole_one_in_parts(large: ReportPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "".join(html.render(large, lines=None))
    assert addresses(outside(page)) == ["tenants"]
    assert 5 <= page.count("<noscript>") <= 8
    assert "noscript>" not in outside(page), "none in another"
    assert HOSTILE not in page
    monkeypatch.setattr(page_parts, "WHOLE", 1_000_000)
    whole = "".join(html.render(large, lines=None))
    assert addresses(whole) == addresses(page)
    assert "<noscript>" not in whole


def test_a_limit_holds_and_a_fragment_has_no_parts(large: ReportPlan) -> None:
    assert "<noscript>" not in "".join(html.fragment(large, 20_000))
    page = "".join(html.render(large, lines=5_505))
    assert len(addresses(page)) == 5_505 + 1
    assert page.count("... and ") == 2, "an inner map, the outer map"


def test_an_inner_map_of_many_entries_is_divided_itself(tmp_path: Path) -> None:
    many = ", ".join(f"{key}: v{key}" for key in range(6_000))
    page = "".join(html.render(report(tmp_path, f"1: {{}}, 2: {{entries: {{{many}}}}}, 3: {{}}"), lines=None))
    assert addresses(outside(page)) == ["tenants", "tenants[2]"]
    groups = re.findall(r"<bdi class=label>(\S+)</bdi> \.\.\. <bdi class=label>(\S+)</bdi>", page)
    assert len(groups) == 6
    assert (groups[0][0], groups[-1][1]) == ("0", "5999")
    assert len(addresses(page)) == 6_004


def test_many_outer_maps_are_folded_with_a_part_each(tmp_path: Path) -> None:
    (tenants,) = report(tmp_path, f"0..59: {{entries: {{{NINE}}}}}").nodes
    plan = report(tmp_path, "1: {}")
    page = "".join(html.render(replace(plan, nodes=(tenants,) * 10), lines=None))
    assert page.count("<noscript>") == len(addresses(outside(page))) == 10
    assert "<details open" not in page


def test_parts_are_opened_found_and_filtered(large: ReportPlan, tmp_path: Path) -> None:
    script = """
      const seen = () => shown('.tree .label, .tree tbody td:nth-child(2)').map((label) => label.textContent);
      const box = page.getElementById('find');
      const find = async (text) => {
        box.value = text; box.dispatchEvent(new Event('input')); await wait(500); return seen();
      };
      const rows = () => page.querySelectorAll('tr[data-address]').length;
      const answer = {before: rows(), parts: shown('.tree li li').length};
      page.getElementById('only-delete').checked = true;
      answer.deleted = shown('.tree li li').length;
      page.getElementById('only-all').checked = true;
      answer.many = (await find('v8')).length;
      answer.after = rows();
      shown('.tree li li details')[0].open = true;
      await wait(100);
      answer.opened = new Set([...shown('tr[data-address]')].map((row) => row.textContent)).size;
      answer.address = await find('tenants[577][1]');
      answer.value = await find('</noscript><SCRIPT>');
      answer.none = await find('nowhere');
      answer.all = (await find('')).length;
      answer.hit = window.hit ?? null;
      answer.text = page.querySelector('[data-address="tenants[577][1]"]').textContent;
      return answer;
    """
    shown = ask("".join(html.render(large, lines=None)), script, tmp_path)
    assert shown["before"] == 0
    assert shown["deleted"] == 1
    assert shown["many"] == 1 + 2 * shown["parts"], "too many to open at once, none hidden"
    assert shown["after"] == 0
    assert shown["opened"] == 1, "only what is searched for"
    assert shown["address"] == shown["value"] == ["tenants", *shown["value"][1:-2], "[577]", "1"]
    assert shown["none"] == []
    assert shown["all"] > 100
    assert shown["hit"] is None
    assert HOSTILE in shown["text"]


def test_all_of_it_is_there_without_a_script(large: ReportPlan, tmp_path: Path) -> None:
    script = """
      page.querySelectorAll('details').forEach((each) => { each.open = true; });
      const all = shown('tr[data-address]').length;
      page.getElementById('only-delete').checked = true;
      return {all, deleted: shown('tr[data-address]').map((row) => row.dataset.address)};
    """
    shown = ask("".join(html.render(large, lines=None)), script, tmp_path, scripts=False)
    assert shown == {"all": 599 * 9 + 2, "deleted": ["tenants[577][1000]"]}
