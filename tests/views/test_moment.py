"""`show` and `explain` read the kernel once: each inner map by one lookup, for the comparison and for the view."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.kernel import libbpf
from provisioner.model.errors import InputError
from tests.apply.conftest import Bench

SPEC = """
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 8}
  counters: {type: hash, key: u32, value: u32, max_entries: 8, contents: ignore}
outer_maps:
  tenants: {type: hash_of_maps, key: u32, max_entries: 64, inner: rules, inner_maps: {0..19: {entries: {1: 2}}}}
  counts: {type: array_of_maps, key: u32, max_entries: 4, inner: counters, inner_maps: {0: {}, 1: {}}}
"""
MAPS = 2
INNER_MAPS = 22


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each batch lookup."""
    made: list[None] = []
    for name in ("map_lookup_batch", "try_map_lookup_batch"):
        original = getattr(libbpf, name)

        def counted(*arguments: Any, original: Any = original) -> int:
            made.append(None)
            result: int = original(*arguments)
            return result

        monkeypatch.setattr(libbpf, name, counted)
    return made


def test_a_live_state_is_read_once(bench: Bench, lookups: list[None]) -> None:
    bench.apply(SPEC)
    project = bench.load(SPEC)
    lookups.clear()
    live = project.live()
    nodes = {node.address: list(node.children or ()) for node in live.nodes}
    assert (len(nodes["tenants"]), len(nodes["counts"])) == (20, 2)
    assert [entry.label for slot in nodes["tenants"] for entry in slot.children or ()] == ["1"] * 20
    assert len(lookups) == MAPS + INNER_MAPS


def test_a_plan_reads_no_contents_that_are_ignored(bench: Bench, lookups: list[None]) -> None:
    bench.apply(SPEC)
    project = bench.load(SPEC)
    lookups.clear()
    assert not project.plan().changed
    assert len(lookups) == MAPS + 20


def test_what_is_shown_besides_does_not_change_the_comparison(bench: Bench) -> None:
    bench.apply(SPEC)
    (node,) = [node for node in bench.load(SPEC).live("counts").nodes if node.address == "counts"]
    assert {slot.verb.value for slot in node.children or ()} == {"show"}


def test_an_address_is_read_and_no_other_slot(bench: Bench, lookups: list[None]) -> None:
    bench.apply(SPEC)
    project = bench.load(SPEC)
    lookups.clear()
    facts = {fact.label: fact.text for fact in project.explain("tenants[3][1]")}
    assert facts["live"].startswith("2 ")
    assert len(lookups) == MAPS + 1


@pytest.mark.parametrize("address", ["counts[4]", "counts[99][1]"])
def test_an_index_that_the_array_does_not_have_is_an_error(bench: Bench, address: str) -> None:
    for live in (False, True):
        if live:
            bench.apply(SPEC)
        with pytest.raises(InputError) as caught:
            bench.load(SPEC).explain(address)
        (problem,) = caught.value.problems
        assert (problem.id, problem.address) == ("index-out-of-range", address)
