"""Of an array, a plan reads the range that the spec owns; an address reads what it names. Counted in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provisioner.kernel import arrays, maps
from provisioner.kernel.bpffs import open_pin
from provisioner.kernel.fd import MapFd
from provisioner.planning.changes import Action
from provisioner.views import plan_report
from tests.apply.conftest import Bench

SIZE = 300_000
SPEC = """
maps:
  big: {type: array, key: u32, value: u32, max_entries: 300000, owned_keys: 1000..1999, entries: {1000: 7, 1500: 8}}
  other: {type: hash, key: u32, value: u32, max_entries: 8, entries: {1: 2}}
"""
PRESENT = SPEC.replace("owned_keys: 1000..1999", "contents: present")
EXACT = SPEC.replace("owned_keys: 1000..1999, ", "")


@pytest.fixture
def elements(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of elements that each batch of an array asks for."""
    asked: list[int] = []
    original = arrays._BatchReader.read

    def counted(self: Any, first: int, count: int) -> int:
        asked.append(count)
        return original(self, first, count)

    monkeypatch.setattr(arrays._BatchReader, "read", counted)
    return asked


def write(root: Path, index: int, value: int) -> None:
    with open_pin(root / "big", MapFd) as fd:
        maps.update(fd, index.to_bytes(4, "little"), value.to_bytes(4, "little"))


def big(bench: Bench) -> dict[int, int]:
    """All elements that are not zero."""
    with open_pin(bench.root / "big", MapFd) as fd:
        keys, values = arrays.read_nonzero(fd, maps.info(fd).shape, 1)
    return dict(zip(keys.view(np.uint32).ravel().tolist(), values.view(np.uint32).ravel().tolist(), strict=True))


def test_only_the_owned_range_is_read_and_written(bench: Bench, elements: list[int]) -> None:
    bench.settle(SPEC)
    for index, value in ((999, 1), (1500, 9), (1999, 3), (2000, 4)):
        write(bench.root, index, value)
    elements.clear()
    plan = bench.plan(SPEC)
    assert (elements, plan.maps["big"].action) == ([1000], Action.UPDATE)
    summary = plan_report.report(plan).summary.entries
    assert (summary.insert, summary.update, summary.delete) == (0, 1, 1)
    assert bench.load(SPEC).plan(against=bench.load(SPEC).snapshot()).digest == plan.digest
    elements.clear()
    bench.settle(SPEC)
    assert set(elements) == {1000}
    assert big(bench) == {999: 1, 1000: 7, 1500: 8, 2000: 4}


def test_of_what_is_present_only_the_listed_are_read(bench: Bench, elements: list[int]) -> None:
    bench.settle(PRESENT)
    write(bench.root, 1500, 9)
    write(bench.root, 299_999, 5)
    elements.clear()
    bench.settle(PRESENT)
    assert set(elements) == {1}
    assert big(bench) == {1000: 7, 1500: 8, 299_999: 5}


def test_what_is_exact_is_read_whole(bench: Bench, elements: list[int]) -> None:
    bench.settle(EXACT)
    write(bench.root, 299_999, 5)
    elements.clear()
    assert bench.plan(EXACT).changed
    assert sum(elements) == SIZE
    bench.settle(EXACT)
    assert big(bench) == {1000: 7, 1500: 8}


def test_an_address_reads_what_it_names(bench: Bench, elements: list[int]) -> None:
    bench.settle(EXACT)
    write(bench.root, 1500, 9)
    write(bench.root, 4, 5)
    project = bench.load(EXACT)
    elements.clear()
    (node,) = project.live("other").nodes
    assert [entry.label for entry in node.children or ()] == ["1"]
    assert {fact.label: fact.text for fact in project.explain("other[1]")}["live"].startswith("2 ")
    assert not project.plan(targets=["other"]).changed
    assert elements == []
    facts = {index: {fact.label: fact.text for fact in project.explain(f"big[{index}]")} for index in (1500, 4, 5)}
    assert [facts[index]["live"].split()[0] for index in (1500, 4, 5)] == ["9", "5", "0"]
    assert [facts[index]["to do"].split()[0] for index in (1500, 4, 5)] == ["update", "delete", "nothing:"]
    (node,) = project.live("big[4]").nodes
    assert [(entry.label, entry.verb.value) for entry in node.children or ()] == [("4", "delete")]
    assert set(elements) == {1}


def test_a_map_that_can_be_mapped_is_read_by_no_batch(bench: Bench, elements: list[int]) -> None:
    """Although its pin is opened read-only, and the kernel maps no such fd."""
    text = EXACT.replace("max_entries: 300000", "max_entries: 300000, flags: [mmapable]")
    bench.settle(text)
    write(bench.root, 299_999, 5)
    elements.clear()
    summary = plan_report.report(bench.plan(text)).summary.entries
    assert (summary.delete, elements) == (1, [])


INNER = """
inner_templates:
  slots: {type: array, key: u32, value: u32, max_entries: 5000, owned_keys: 10..19, update: in_place}
outer_maps:
  out: {type: hash_of_maps, key: u32, max_entries: 4, inner: slots, inner_maps: {1: {entries: {10: 1}}, 2: {}}}
"""


def test_large_inner_arrays_are_read_in_ranges_too(bench: Bench, elements: list[int]) -> None:
    bench.settle(INNER)
    elements.clear()
    assert not bench.plan(INNER).changed
    assert elements == [10, 10]
    assert bench.tree("out")[(1).to_bytes(4, "little")][(10).to_bytes(4, "little")] == (1).to_bytes(4, "little")
