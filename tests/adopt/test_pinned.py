"""A project by its pins, without its spec: shown, explained, drawn, listed and destroyed as with it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

import provisioner
from provisioner.adopt import pinned
from provisioner.model.errors import InputError, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.planning.changes import Action
from provisioner.report.model import Node, Totals
from tests.adopt.conftest import Others
from tests.apply.conftest import Bench

SPEC = """
types:
  verdict: {enum: {deny: 0, allow: 1}, base: u8}
  service: {struct: {vip: ipv4, port: be16, proto: u8}}
  account: {struct: {owner: "char[8]", token: {type: u32, sensitive: true}, ttl: {type: u32, unit: ms}}}
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: verdict, max_entries: 8, flags: [no_prealloc]}
  count: {type: percpu_array, key: u32, value: u64, max_entries: 2, contents: ignore}
outer_maps:
  services:
    {type: hash_of_maps, key: service, max_entries: 8, inner: acl, inner_maps: [
      {key: {vip: 192.0.2.1, port: 53, proto: 17}, entries: {10.0.0.0/8: deny, 0.0.0.0/0: allow}}]}
  counts: {type: array_of_maps, key: u32, max_entries: 4, inner: count, inner_maps: {3: {}}}
  empty: {type: hash_of_maps, key: u32, max_entries: 4, inner: acl}
maps:
  accounts:
    {type: hash, key: be16, value: account, max_entries: 4, prevent_destroy: true, entries: {
      80: {owner: web, token: 7, ttl: 2s}}}
"""


def lines(nodes: tuple[Node, ...]) -> list[tuple[str, str]]:
    """The address and the beginning of the text of every node."""
    lines_ = []
    for node in nodes:
        lines_.append((node.address, node.text.split(",")[0]))
        lines_ += lines(tuple(node.children or ()))
    return lines_


def test_what_is_shown_is_what_the_spec_shows(bench: Bench) -> None:
    bench.settle(SPEC)
    with_spec, without = bench.load(SPEC).live(), provisioner.load_pinned(bench.root).live()
    expected = [
        (
            address,
            text.replace("-> lpm_trie acl", f"-> lpm_trie {address}_inner").replace(
                "array count", "array counts_inner"
            ),
        )
        for address, text in lines(with_spec.nodes)
    ]
    assert lines(without.nodes) == expected
    assert (without.project, without.pin_root) == (with_spec.project, with_spec.pin_root)
    assert with_spec.totals is not None
    assert without.totals == with_spec.totals == Totals(3, 2, 1, 3, 0, with_spec.totals.memory)


def test_what_is_sensitive_stays_hidden_without_the_spec(bench: Bench) -> None:
    bench.settle(SPEC)
    (entry,) = (text for address, text in lines(provisioner.load_pinned(bench.root / "accounts").live().nodes)[1:])
    assert entry.startswith("{owner: web")
    facts = provisioner.load_pinned(bench.root).explain("accounts[80]")
    assert "token: 7" not in str(facts)
    assert {fact.label for fact in facts} == {"map", "key", "live"}


SECRET_KEYS = """
types: {token: {type: "char[8]", sensitive: true}, pair: {struct: {user: u32, token: token}}}
inner_templates: {logins: {type: hash, key: token, value: u32, max_entries: 4}}
maps: {users: {type: hash, key: pair, value: u32, max_entries: 4, entries: [{key: {user: 1, token: HUNTER}, value: 1}]}}
outer_maps:
  tenants: {type: hash_of_maps, key: token, max_entries: 4, inner: logins, inner_maps: {HUNTER: {entries: {HUNTER: 2}}}}
"""


def test_sensitive_keys_stay_hidden_without_the_spec(bench: Bench) -> None:
    bench.settle(SECRET_KEYS)
    project = provisioner.load_pinned(bench.root)
    shown = lines(project.live().nodes)
    assert len(shown) == 5
    assert "HUNTER" not in str(shown)
    with pytest.raises(InputError) as refused:
        project.export()
    assert {problem.id for problem in refused.value.problems} == {"sensitive-export"}
    project.destroy()
    assert not bench.root.exists()


def test_a_pin_is_an_address_of_its_project(bench: Bench) -> None:
    bench.settle(SPEC)
    assert [node.address for node in provisioner.load_pinned(bench.root / "counts").live().nodes] == ["counts"]
    boxes = provisioner.load_pinned(bench.root).graph().boxes
    assert "services" in {box.lines[0] for box in boxes}


def test_a_protected_project_is_refused_and_another_is_destroyed(bench: Bench) -> None:
    bench.settle(SPEC)
    with pytest.raises(RefusedError) as refused:
        provisioner.load_pinned(bench.root).destroy(bench.overrides)
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("prevent_destroy", "accounts")]
    assert str(refused.value.problems[0].where).startswith(f"<live state of {bench.root}>:")
    bench.settle(SPEC.replace("prevent_destroy: true, ", ""))
    plan, _ = provisioner.load_pinned(bench.root).destroy(bench.overrides)
    assert plan.changed
    assert not bench.root.exists()


def test_a_pin_of_a_map_is_destroyed_alone(bench: Bench) -> None:
    bench.settle(SPEC)
    assert provisioner.load_pinned(bench.root / "counts").plan_destroy().targets == ("counts",)
    provisioner.load_pinned(bench.root / "counts").destroy(bench.overrides)
    assert {path.name for path in bench.root.iterdir()} >= {"services", "empty", "accounts"}
    assert not (bench.root / "counts").exists()


def test_projects_are_listed(bench: Bench) -> None:
    assert provisioner.projects() == ()
    bench.settle(SPEC)
    (listed,) = provisioner.projects()
    assert (listed.project, listed.pin_root, listed.problem) == ("edge", str(bench.root), "")
    assert listed.totals is not None
    assert listed.totals.entries == 3
    assert listed.changed.endswith("+00:00")
    assert listed.revision == bench.load(SPEC).desired.revision


@pytest.mark.parametrize("before", ["changed", "read"])
def test_a_project_that_is_destroyed_meanwhile_is_not_listed(
    before: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPEC.replace(" prevent_destroy: true,", "")
    bench.settle(spec)
    function = getattr(pinned, before)

    def destroyed(root: Path) -> object:
        monkeypatch.undo()
        bench.destroy(spec)
        return function(root)

    monkeypatch.setattr(pinned, before, destroyed)
    assert provisioner.projects() == ()
    assert not bench.root.exists()


def test_a_record_that_cannot_be_read_is_listed_with_its_problem(bench: Bench, others: Others) -> None:
    others.plain("_meta", MapShape(MapType.ARRAY, 4, 8, 1), {})
    (listed,) = provisioner.projects()
    assert listed.totals is None
    assert "not the record of a project" in listed.problem
    assert not bench.root.exists() or bench.root == others.folder


def test_maps_of_another_owner_are_shown_and_not_destroyed(others: Others) -> None:
    others.plain("stats", MapShape(MapType.HASH, 4, 8, 16), {b"\1\0\0\0": bytes(8)})
    project = provisioner.load_pinned(others.folder)
    assert lines(project.live().nodes)[0][0] == "stats"
    assert project.live().pin_root == str(others.folder)
    with pytest.raises(RefusedError) as refused:
        project.destroy()
    assert [problem.id for problem in refused.value.problems] == ["not-a-project"]


def test_a_pin_can_have_a_name_that_is_no_name_of_a_map(others: Others) -> None:
    for name in ("${x}", "a b", "'q\"", "-rf"):
        others.plain(name, MapShape(MapType.HASH, 4, 8, 16), {})
    live = provisioner.load_pinned(others.folder).live()
    assert sorted(address for address, _ in lines(live.nodes)) == ["a_b", "q_", "rf", "x_"]


def test_pins_that_a_spec_cannot_name_are_reported(others: Others) -> None:
    names = ("\x1b[31mred", "a\nb", "\udcff")
    for name in names:
        others.plain(name, MapShape(MapType.HASH, 4, 8, 16), {})
    with pytest.raises(InputError) as refused:
        provisioner.load_pinned(others.folder)
    problems = {(problem.id, problem.address) for problem in refused.value.problems}
    assert problems == {("invalid-name", str(others.folder / name)) for name in names}


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\udcff"])
def test_a_pin_root_has_visible_characters(name: str, kernel: Path) -> None:
    with pytest.raises(InputError) as refused:
        provisioner.load({"version": 1, "name": "edge"}, pin_root=str(kernel / name))
    assert [problem.id for problem in refused.value.problems] == ["invalid-name"]


@pytest.mark.parametrize("verb", ["load", "load_pinned"])
def test_a_pin_in_the_place_of_a_spec_is_named(verb: str, kernel: Path) -> None:
    with pytest.raises(InputError) as refused:
        getattr(provisioner, verb)(kernel)
    assert [problem.id for problem in refused.value.problems] == ["pin-not-spec" if verb == "load" else "no-such-pin"]


def test_what_is_live_is_written_as_a_spec(bench: Bench) -> None:
    text = SPEC.replace("{type: u32, sensitive: true}", "u32")
    bench.settle(text)
    for project in (bench.load(text), provisioner.load_pinned(bench.root)):
        exported = project.export()
        assert "10.0.0.0/8: deny" in exported.spec
        again = provisioner.load("-", stdin=io.StringIO(exported.spec))
        assert (again.desired.project, again.desired.pin_root) == ("edge", str(bench.root))
        assert {change.action for change in again.plan().maps.values()} == {Action.UNCHANGED}
    only = provisioner.load_pinned(bench.root / "services").export()
    assert "accounts" not in only.spec


def test_keys_of_outer_maps_that_only_btf_can_name(bench: Bench, bpf_object: Callable[[str], Path]) -> None:
    bench.allow_outside = True
    text = f"""
types: {{endpoint: {{btf: struct endpoint, from: o}}}}
objects: {{o: {{file: {bpf_object("unions")}}}}}
inner_templates: {{inner: {{type: hash, key: endpoint, value: u32, max_entries: 4}}}}
outer_maps:
  ends: {{type: hash_of_maps, key: endpoint, max_entries: 4, inner: inner, inner_maps: [
    {{key: {{v4: 1, port: 2}}, entries: [{{key: {{v4: 3, port: 4}}, value: 5}}]}}]}}
"""
    bench.settle(text)
    exported = bench.load(text).export("ends")
    assert exported.spec.count(f'key: {{btf: "struct endpoint", from: {bench.root}/ends}}') == 2, exported.spec
    assert "- key: {v4: 1, port: 2}" in exported.spec
    again = provisioner.load("-", stdin=io.StringIO(exported.spec)).plan()
    assert again.maps["ends"].action is Action.UNCHANGED


def test_a_sensitive_value_is_not_written(bench: Bench) -> None:
    bench.settle(SPEC)
    with pytest.raises(InputError) as refused:
        bench.load(SPEC).export()
    assert [problem.id for problem in refused.value.problems] == ["sensitive-export"]
