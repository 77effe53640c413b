"""Frozen maps, which user space cannot write: the plan replaces them where policy allows it, or refuses."""

from __future__ import annotations

import pytest

from provisioner.kernel import maps
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import RefusedError
from provisioner.planning.changes import Action, Reason
from provisioner.planning.hazards import Overrides
from tests.apply.conftest import Bench
from tests.apply.test_ownership import u32
from tests.conftest import remove_tree


def spec(value: int, policy: str = "", slots: str = "", shared: bool = False) -> str:
    inner = "shared: common" if shared else f"entries: {{1: {value}}}"
    return f"""
inner_templates: {{one: {{type: hash, key: u32, value: u32, max_entries: 8, {policy}}}}}
shared_inner_maps: {{common: {{inner: one, entries: {{1: {value}}}}}}}
outer_maps:
  outer: {{type: hash_of_maps, key: u32, max_entries: 8, inner: one, inner_maps: {{1: {{{inner}}} {slots}}}}}
maps:
  plain: {{type: hash, key: u32, value: u32, max_entries: 8, entries: {{1: 1}}}}
"""


def freeze_inner(bench: Bench) -> None:
    with maps.open_id(InnerId(bench.ids("outer")[u32(1)])) as inner:
        maps.freeze(inner)


def freeze(bench: Bench, name: str) -> None:
    with maps.open_pin(bench.root / name) as fd:
        maps.freeze(fd)


@pytest.mark.parametrize("shared", [False, True])
def test_a_frozen_inner_map_is_replaced(bench: Bench, shared: bool) -> None:
    slots = ", 2: {shared: common}" if shared else ""
    bench.apply(spec(1, slots=slots, shared=shared))
    freeze_inner(bench)
    assert bench.plan(spec(1, slots=slots, shared=shared)).steps == ()
    plan, _ = bench.settle(spec(2, slots=slots, shared=shared))
    change = plan.maps["outer"].slots
    assert set(zip(change.action.tolist(), change.reason.tolist(), strict=True)) == {(Action.REPLACE, Reason.FROZEN)}
    assert bench.tree("outer")[u32(1)] == {u32(1): u32(2)}


def test_a_frozen_inner_map_is_replaced_where_its_outer_map_grows(bench: Bench) -> None:
    larger = "key: u32, max_entries: 16, inner: one, inner_maps"
    bench.apply(spec(1))
    freeze_inner(bench)
    assert refused(
        bench, spec(2, "update: in_place").replace("key: u32, max_entries: 8, inner: one, inner_maps", larger)
    )
    bench.settle(spec(2).replace("key: u32, max_entries: 8, inner: one, inner_maps", larger))
    assert bench.tree("outer")[u32(1)] == {u32(1): u32(2)}


def refused(bench: Bench, text: str) -> set[tuple[str, str]]:
    """The id and address of each refusal, by plan and apply alike."""
    plan = bench.plan(text)
    with pytest.raises(RefusedError) as error:
        bench.apply(text)
    refusals = {(one.rule, one.address) for one in plan.blocked}
    assert refusals == {(one.id, one.address) for one in error.value.problems}
    assert all(one.hint and one.where is not None for one in error.value.problems)
    return refusals


def test_a_frozen_inner_map_is_not_written_in_place(bench: Bench) -> None:
    bench.apply(spec(1, "update: in_place"))
    freeze_inner(bench)
    assert refused(bench, spec(2, "update: in_place")) == {("frozen", "outer[1]")}


def test_a_frozen_inner_map_with_entries_of_others_asks_for_on_replace(bench: Bench) -> None:
    bench.apply(spec(1, "contents: present"))
    freeze_inner(bench)
    assert refused(bench, spec(2, "contents: present")) == {("on_replace", "outer[1]")}
    bench.settle(spec(2, "contents: present, on_replace: copy"))


def test_a_frozen_outer_map_is_recreated_only_if_that_is_allowed(bench: Bench) -> None:
    bench.apply(spec(1))
    freeze(bench, "outer")
    bench.settle(spec(2))  # in place: the slots are not written
    bench.overrides = Overrides(approve_deletes=True)
    assert refused(bench, spec(2, slots=", 3: {}")) == {("recreate", "outer")}
    bench.overrides = Overrides(allow_recreate=True)
    bench.settle(spec(2, slots=", 3: {}"))
    assert set(bench.ids("outer")) == {u32(1), u32(3)}


def test_a_slot_alone_does_not_recreate_a_frozen_outer_map(bench: Bench) -> None:
    bench.apply(spec(1))
    freeze(bench, "outer")
    plan = bench.load(spec(1, slots=", 3: {}")).plan(bench.overrides, targets=["outer[3]"])
    assert [(one.rule, one.address) for one in plan.blocked] == [("frozen", "outer")]


def test_a_frozen_plain_map_is_recreated_only_if_that_is_allowed(bench: Bench) -> None:
    bench.apply(spec(1))
    freeze(bench, "plain")
    assert bench.plan(spec(1)).steps == ()
    text = spec(1).replace("entries: {1: 1}}\n", "entries: {1: 2}}\n")
    bench.overrides = Overrides()
    assert refused(bench, text) == {("recreate", "plain")}
    bench.overrides = Overrides(allow_recreate=True)
    bench.settle(text)
    assert bench.entries("plain") == {u32(1): u32(2)}


def test_a_frozen_map_of_another_owner_is_refused(bench: Bench) -> None:
    bench.apply(spec(1))
    freeze(bench, "outer")
    pin = bench.root / "outer"
    bench.root = bench.root.parent / "reader"
    bench.allow_outside = True
    text = spec(1).replace("outer: {type", f"outer: {{pin: {pin}, type").replace("1: {entries: {1: 1}}", "3: {}")
    head, _, _ = text.partition("maps:\n  plain")
    assert refused(bench, head) == {("frozen", "outer")}
    with pytest.raises(RefusedError) as caught:
        bench.apply(head)
    assert [problem.id for problem in caught.value.problems] == ["frozen"]


def test_a_slot_of_a_frozen_map_is_not_destroyed_alone(bench: Bench) -> None:
    bench.apply(spec(1))
    freeze(bench, "outer")
    project, before = bench.load(spec(1), contents=False), bench.ids("outer")
    with pytest.raises(RefusedError) as error:
        project.destroy(bench.overrides, targets=["outer[1]"])
    assert [(one.id, one.hint) for one in error.value.problems] == [("frozen", "destroy the whole map")]
    assert bench.ids("outer") == before
    bench.destroy(spec(1))


def test_a_frozen_map_of_another_owner_keeps_its_slots(bench: Bench) -> None:
    bench.apply(spec(1))
    theirs = bench.root
    bench.root, bench.allow_outside = theirs.parent / "reader", True
    text = spec(1).replace("outer: {type", f"outer: {{pin: {theirs}/outer, type")
    bench.apply(text)
    freeze(bench, f"{theirs}/outer")
    project = bench.load(text, contents=False)
    for targets in ((), ("outer",), ("outer[1]",)):
        blocked = project.plan_destroy(bench.overrides, targets=targets).blocked
        assert [(one.rule, one.address) for one in blocked] == [("frozen", "outer")]
        with pytest.raises(RefusedError):
            project.destroy(bench.overrides, targets=targets)
    assert bench.entries("plain") == {u32(1): u32(1)}
    kept = text.replace("1: {entries: {1: 1}}", "").replace("{pin: ", "{extra_inner_maps: keep, pin: ")
    bench.destroy(kept)  # without the slots, nothing of it is written
    assert not bench.root.exists()
    remove_tree(theirs)
