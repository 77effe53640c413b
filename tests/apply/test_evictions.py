"""An LRU map keeps all that the plan does not warn of: what the kernel would evict is refused."""

from __future__ import annotations

import pytest

from provisioner.model.errors import RefusedError
from tests.apply.conftest import Bench


def spec(count: int, room: int, update: str) -> str:
    entries = ", ".join(f"{key}: 1" for key in range(count))
    return f"""
inner_templates:
  one:
    {{type: lru_hash, key: u32, value: u32, max_entries: {room}, contents: present, update: {update}, on_replace: drop}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 4, inner: one, inner_maps: {{1: {{entries: {{{entries}}}}}}}}}
"""


@pytest.mark.parametrize("update", ["in_place", "replace"])
def test_an_lru_keeps_what_the_plan_does_not_warn_of(bench: Bench, update: str) -> None:
    plan, _ = bench.settle(spec(700, 1000, update))
    assert plan.hazards == ()
    assert len(bench.tree("outer")[(1).to_bytes(4, "little")]) == 700


def test_an_lru_that_cannot_keep_its_entries_is_refused(bench: Bench) -> None:
    text = spec(900, 1000, "in_place")
    assert [(one.rule, one.address) for one in bench.plan(text).blocked] == [("lru-eviction", "outer[1]")]
    with pytest.raises(RefusedError):
        bench.apply(text)
    assert not bench.root.exists()
