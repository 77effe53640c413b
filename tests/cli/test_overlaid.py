"""What overlays decide: the plan names each field, and each row of a table, with the file and line that decided it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.support import run

REPO: Final = Path(__file__).parents[2]

BASE: Final = """\
version: 1
name: edge
types:
  verdict: {enum: {deny: 0, allow: 1}, base: u8}
  rule: {struct: {what: verdict, note: "bytes[3]"}}
inner_templates:
  acl: {type: hash, key: u32, value: rule, max_entries: 64}
  plain: {type: hash, key: u32, value: u32, max_entries: 64}
shared_inner_maps:
  usual: {inner: plain, entries: {1: 1}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: acl
    inner_maps:
      1: {max_entries: 8}
      2: {max_entries: 8}
  others: {type: hash_of_maps, key: u32, max_entries: 64, inner: plain, inner_maps: {7: {shared: usual}}}
maps:
  active: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def planned(*overlays: str) -> dict[str, Any]:
    """The plan as JSON with files laid over the base: `one.yaml`, `two.yaml` and so on."""
    words: list[str] = []
    for name, text in zip(("one.yaml", "two.yaml"), overlays, strict=False):
        Path(name).write_text(text)
        words += ["--overlay", name]
    return run("plan", "base.yaml", *words, "--against", "empty", "--format", "json").document


def sources(*overlays: str) -> dict[str, dict[str, str]]:
    """By address, with `` for the project itself: the fields that overlays decided."""
    document = planned(*overlays)
    by_address = {change["address"]: change["sources"] for change in document["changes"] if "sources" in change}
    return by_address | ({"": document["sources"]} if "sources" in document else {})


def test_a_field_of_a_map_or_a_slot() -> None:
    assert sources("outer_maps:\n  tenants:\n    max_entries: 128\n    inner_maps:\n      2: {max_entries: 9}\n") == {
        "tenants": {"max_entries": "one.yaml:3"},
        "tenants[2]": {"max_entries": "one.yaml:5"},
    }
    assert sources("maps: {active: {contents: present}}") == {"active": {"contents": "one.yaml:1"}}


def test_a_field_that_is_new_and_one_inside_another() -> None:
    over = "outer_maps:\n  tenants:\n    limits: {at_least: 5}\n"
    assert sources(over) == {"tenants": {"limits": "one.yaml:3"}}
    assert sources(over, "\n" + over) == {"tenants": {"limits": "one.yaml:3", "limits.at_least": "two.yaml:4"}}


def test_a_template_a_type_and_a_shared_inner_map_where_they_are_used() -> None:
    assert sources("inner_templates: {acl: {max_entries: 128}}") == {
        "tenants": {"inner_templates.acl.max_entries": "one.yaml:1"}
    }
    assert sources("types: {verdict: {enum: {drop: 2}}}") == {"tenants": {"types.verdict.enum.drop": "one.yaml:1"}}
    assert sources("shared_inner_maps: {usual: {max_entries: 4}}") == {
        "others[7]": {"shared_inner_maps.usual.max_entries": "one.yaml:1"}
    }


def test_what_a_later_file_decides_again_is_the_later_ones() -> None:
    first, second = "inner_templates: {acl: {max_entries: 128}}", "\ninner_templates: {acl: {max_entries: 256}}"
    assert sources(first, second) == {"tenants": {"inner_templates.acl.max_entries": "two.yaml:2"}}


def test_what_an_overlay_adds_is_reported_as_a_whole_and_what_a_later_one_changes_in_it_by_field() -> None:
    new = "maps: {fresh: {type: array, key: u32, value: u32, max_entries: 1}}"
    document = planned(new, "maps: {fresh: {max_entries: 3}}")
    fresh = next(change for change in document["changes"] if change["address"] == "fresh")
    assert (fresh["source"], fresh["sources"]) == ("one.yaml:1", {"max_entries": "two.yaml:1"})


def test_the_top_of_the_spec_is_reported_with_the_project_in_every_report() -> None:
    assert sources("pin_root: /sys/fs/bpf/elsewhere\nlimits: {delete_percent: 1}\n") == {
        "": {"pin_root": "one.yaml:1", "limits": "one.yaml:2"}
    }
    words = ("plan", "base.yaml", "--overlay", "one.yaml", "--against", "empty")
    assert "pin root /sys/fs/bpf/elsewhere  (pin_root: one.yaml:1, limits: one.yaml:2)\n" in run(*words).out
    assert "(`pin_root`: one.yaml:1, limits: one.yaml:2).\n" in run(*words, "--format", "markdown").out
    assert "(pin_root: one.yaml:1, limits: one.yaml:2)</p>" in run(*words, "--format", "html").out


def test_an_object_and_the_interface_of_a_program() -> None:
    Path("one.yaml").write_text("objects: {router: {programs: {xdp_router: {attach: {xdp: {interface: eth9}}}}}}")
    done = run("plan", REPO / "examples/edge.yaml", "--overlay", "one.yaml", "--against", "empty", "--format", "json")
    by_address = {change["address"]: change.get("sources") for change in done.document["changes"]}
    assert by_address["router.xdp_router"] == {"attach.xdp.interface": "one.yaml:1"}
    assert by_address["router"] is None


def test_rows_of_a_table_that_an_overlay_names_tell_the_tables_lines() -> None:
    Path("base.yaml").write_text(BASE.replace("{shared: usual}", "{entries: {from: seven.csv, key: k, value: v}}"))
    Path("seven.csv").write_text("k,v\n1,10\n")
    Path("eight.csv").write_text("k,v\n1,10\n2,20\n")
    document = planned("outer_maps: {others: {inner_maps: {8: {entries: {from: eight.csv, key: k, value: v}}}}}")
    by_address = {change["address"]: change.get("source") for change in document["changes"]}
    assert by_address["others[7][1]"] is None
    assert (by_address["others[8]"], by_address["others[8][2]"]) == ("one.yaml:1", "eight.csv:3")


def test_another_table_for_a_slot_of_the_base() -> None:
    Path("base.yaml").write_text(BASE.replace("{shared: usual}", "{entries: {from: seven.csv, key: k, value: v}}"))
    Path("eight.csv").write_text("k,v\n1,10\n")
    document = planned("outer_maps: {others: {inner_maps: {7: {entries: {from: eight.csv}}}}}")
    by_address = {change["address"]: (change.get("source"), change.get("sources")) for change in document["changes"]}
    assert by_address["others[7]"] == (None, {"entries.from": "one.yaml:1"})
    assert by_address["others[7][1]"] == ("eight.csv:2", None)


def test_a_line_of_text_names_a_few_fields_and_counts_the_rest() -> None:
    fields = ("max_entries: 65", "contents: present", "update: replace", "on_replace: copy", "prevent_destroy: true")
    planned("inner_templates:\n  acl:\n" + "".join(f"    {field}\n" for field in fields))
    done = run("plan", "base.yaml", "--overlay", "one.yaml", "--against", "empty").out
    line = next(line for line in done.splitlines() if line.startswith("  + tenants "))
    assert line.endswith("inner_templates.acl.on_replace: one.yaml:6, and 1 more)")


def test_nothing_is_said_without_overlays_and_of_what_an_overlay_leaves() -> None:
    assert sources() == {}
    assert sources("{}") == {}


def test_explain_tells_it_too(pin_root: Path) -> None:
    Path("one.yaml").write_text("outer_maps: {tenants: {inner_maps: {2: {max_entries: 9}}}}")
    words = ("explain", "base.yaml", "tenants[2]", "--overlay", "one.yaml", "--pin-root", pin_root)
    assert "max_entries: one.yaml:1\n" in run(*words).out
    assert run(*words, "--format", "json").document["sources"] == {"max_entries": "one.yaml:1"}


def test_variables_are_named_with_their_sources_like_overlays() -> None:
    Path("base.yaml").write_text(BASE.replace("name: edge", "name: edge-${site}").replace("2: {max", "${slot}: {max"))
    over = "vars: {site: ams}\nouter_maps: {tenants: {max_entries: '${size}'}}"
    Path("one.yaml").write_text(over)
    words = ("plan", "base.yaml", "--overlay", "one.yaml", "--var", "slot=2", "--var", "size=32", "--against", "empty")
    document = run(*words, "--format", "json").document
    assert document["sources"] == {"name": "${site}: one.yaml:1"}
    by_address = {change["address"]: (change.get("source"), change.get("sources")) for change in document["changes"]}
    assert by_address["tenants"] == (None, {"max_entries": "one.yaml:2, ${size}: --var"})
    assert by_address["tenants[2]"] == ("${slot}: --var", None)
    wrong = run("validate", "base.yaml", "--var", "slot")
    assert (wrong.status, "--var" in wrong.err) == (64, True)


def test_explain_names_the_variables_of_an_entry(kernel: Path) -> None:
    Path("base.yaml").write_text(BASE.replace("entries: {0: 1}", "entries: {0: '${rate}'}"))
    shown = run("explain", "base.yaml", "--pin-root", kernel / "edge", "--var", "rate=5", "active[0]")
    assert "entry: ${rate}: --var" in shown.out
