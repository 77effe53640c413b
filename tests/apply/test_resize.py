"""An outer map that gets another max_entries takes its inner maps along: same ids, same contents."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

from provisioner.apply import contents, pins, programs, waves
from provisioner.apply.transaction import Transaction
from provisioner.kernel import bpffs, maps, reading
from provisioner.kernel.fd import InnerId
from provisioner.model.errors import ApplyError, HostError, Problem, ProvisionerError, RefusedError
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from provisioner.observed.live_source import LiveSource
from provisioner.observed.sources import SeenMap
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from provisioner.planning.steps import CommitObject
from tests.apply.conftest import ALL, Bench
from tests.problems import raises

Compile = Callable[[str], Path]
NO_OVERRIDES = Overrides()


def spec(size: int, inner_maps: str, kind: str = "hash_of_maps", policy: str = "", template: str = "") -> str:
    return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: 8{template}}}}}
outer_maps:
  tenants: {{type: {kind}, key: u32, max_entries: {size}, inner: inner, {policy} inner_maps: {{{inner_maps}}}}}
"""


BEFORE = "1: {entries: {1: 1}}, 2: {entries: {2: 2}}, 3: {entries: {3: 3}}"

COPIED = ", contents: present, on_replace: copy"


@pytest.fixture
def tenants(bench: Bench) -> Bench:
    bench.overrides = NO_OVERRIDES
    return bench


def occupied(bench: Bench) -> dict[int, int]:
    return {int.from_bytes(key, "little"): number for key, number in bench.ids("tenants").items() if number}


@pytest.mark.parametrize("kind", ["hash_of_maps", "array_of_maps"])
@pytest.mark.parametrize("size", [4, 64])
def test_inner_maps_stay_the_same(kind: str, size: int, tenants: Bench) -> None:
    tenants.settle(spec(8, BEFORE, kind))
    before = occupied(tenants)
    plan, _ = tenants.settle(spec(size, BEFORE, kind))
    assert plan.maps["tenants"].action is Action.REPLACE
    assert (plan.hazards, plan.blocked) == ((), ())
    assert occupied(tenants) == before
    with maps.open_pin(tenants.root / "tenants") as fd:
        assert maps.info(fd).shape.max_entries == size


def test_a_third_size_after_an_apply_that_was_killed(tenants: Bench) -> None:
    """The new outer map has the pin, and the record has the id of the old one: it is still the project's."""
    tenants.settle(spec(8, BEFORE))
    before = occupied(tenants)
    if (child := os.fork()) == 0:
        pins.record = lambda *_: os._exit(9)
        try:
            tenants.apply(spec(16, BEFORE))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert "_old_tenants" in bpffs.list_pins(tenants.root)
    third = tenants.load(spec(32, BEFORE))
    assert third.plan(against=third.snapshot()).digest == third.plan().digest
    plan, _ = tenants.settle(spec(32, BEFORE))
    assert (plan.hazards, plan.blocked) == ((), ())
    assert occupied(tenants) == before


def test_other_changes_are_made_in_the_same_apply(tenants: Bench) -> None:
    tenants.settle(spec(8, BEFORE))
    before = occupied(tenants)
    after = "1: {entries: {1: 10}}, 2: {entries: {2: 2}, max_entries: 16}, 9: {entries: {}}"
    tenants.overrides = Overrides(approve_deletes=True)
    tenants.settle(spec(32, after))
    ids = occupied(tenants)
    assert set(ids) == {1, 2, 9}
    assert ids[1] == before[1], "written in place"
    assert ids[2] != before[2], "replaced"
    assert tenants.tree("tenants")[b"\x01\0\0\0"] == {b"\x01\0\0\0": b"\x0a\0\0\0"}


def test_what_policy_keeps_is_kept(tenants: Bench) -> None:
    tenants.settle(spec(8, BEFORE, policy="extra_inner_maps: keep,", template=", contents: present"))
    before = occupied(tenants)
    with maps.open_id(InnerId(before[1])) as fd:
        maps.update(fd, (7).to_bytes(4, "little"), (7).to_bytes(4, "little"))
    only = "1: {entries: {1: 1}}"
    tenants.settle(spec(16, only, policy="extra_inner_maps: keep,", template=", contents: present"))
    assert occupied(tenants) == before
    assert (7).to_bytes(4, "little") in tenants.tree("tenants")[b"\x01\0\0\0"]


@pytest.mark.parametrize("kind", ["hash_of_maps", "array_of_maps"])
def test_a_map_without_room_for_what_stays_is_refused(kind: str, tenants: Bench) -> None:
    policy = "extra_inner_maps: keep,"
    tenants.settle(spec(8, BEFORE, kind, policy))
    before = occupied(tenants)
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec(2, "1: {entries: {1: 1}}", kind, policy))
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [("no-room", "tenants")]
    assert occupied(tenants) == before


def test_a_failure_afterwards_brings_the_old_map_back(tenants: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants.settle(spec(8, BEFORE))
    before, old = occupied(tenants), pinned(tenants)

    def publish(*_: Any) -> None:
        raise HostError(Problem("the test lets this step fail", id="test"))

    monkeypatch.setattr(contents, "publish", publish)
    with pytest.raises(ApplyError) as failed:
        tenants.apply(spec(16, BEFORE + ", 4: {entries: {}}"))
    assert failed.value.status == "rolled_back"
    assert (occupied(tenants), pinned(tenants)) == (before, old)


def pinned(bench: Bench) -> int:
    with maps.open_pin(bench.root / "tenants") as fd:
        return maps.info(fd).id


def of_object(file: Path, size: int, room: int = 8, policy: str = "") -> str:
    """A spec whose outer map an object brings: with 4 slots, unless the spec sets another number before load."""
    return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: {room}{policy}}}}}
objects: {{presets: {{file: {file}, programs: {{look: {{}}}}}}}}
outer_maps:
  colours: {{object: presets, inner: inner, max_entries: {size}, inner_maps: {{1: {{entries: {{1: 1}}}}}}}}
"""


def test_an_object_is_upgraded_to_the_new_map(tenants: Bench, bpf_object: Compile) -> None:
    tenants.allow_outside = True

    tenants.settle(of_object(bpf_object("presets"), 8))
    before = tenants.ids("colours")
    plan, _ = tenants.settle(of_object(bpf_object("presets"), 16))
    assert [change.action for change in plan.objects.values()] == [Action.UPDATE]
    assert (plan.hazards, plan.blocked) == ((), ())
    after = tenants.ids("colours")
    key = (1).to_bytes(4, "little")
    assert after[key] == before[key], "the very same inner map"


@pytest.mark.parametrize("slot", [1, 3])  # one that the spec has, and one that was empty
def test_a_slot_of_the_old_map_that_changes_meanwhile_ends_the_upgrade(
    slot: int, tenants: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new map has the inner map that was planned: what another process put there would be lost."""
    tenants.allow_outside = True

    tenants.settle(of_object(bpf_object("presets"), 8))
    key = slot.to_bytes(4, "little")
    before = tenants.ids("colours")
    carry = waves.carry

    def meddle(*args: Any) -> None:
        carry(*args)
        with (
            maps.open_pin(tenants.root / "colours") as outer,
            maps.create(MapShape(MapType.HASH, 4, 4, 8)) as theirs,
        ):
            maps.insert_inner(outer, key, theirs)

    monkeypatch.setattr(waves, "carry", meddle)
    with raises(ProvisionerError, "changed-since-plan"):
        tenants.apply(of_object(bpf_object("presets"), 16))
    after = tenants.ids("colours")
    assert after[key] not in (0, before.get(key, 0)), "what the other process wrote stays"
    assert tenants.tree("colours")[key] == {}


def test_a_map_that_is_pinned_while_the_project_is_observed_is_not_replaced_as_missing(
    tenants: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object brings it, and the spec declares it: looked at twice, it is missing for one and live for the other."""
    tenants.allow_outside, tenants.overrides = True, ALL

    tenants.settle(of_object(bpf_object("presets"), 8))
    pin, before = tenants.root / "colours", tenants.ids("colours")
    look = LiveSource.map
    with maps.open_pin(pin) as live:
        bpffs.unpin(pin)

        def put_back(source: LiveSource, path: PurePath) -> SeenMap | None:
            seen = look(source, path)
            if path == pin and not pin.exists():
                bpffs.pin(live, pin)
            return seen

        monkeypatch.setattr(LiveSource, "map", put_back)
        with raises(ProvisionerError, "changed-since-plan"):
            tenants.apply(of_object(bpf_object("presets"), 16))
    assert tenants.ids("colours") == before


def test_an_inner_map_that_is_replaced_meanwhile_keeps_what_others_wrote(
    tenants: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs use the old maps until their links are switched: what they write until then is carried over."""
    tenants.allow_outside = True

    def text(size: int, room: int) -> str:
        return of_object(bpf_object("presets"), size, room, ", contents: present, on_replace: copy")

    def writes(key: int) -> None:
        with maps.open_id(InnerId(old)) as inner:
            maps.update(inner, key.to_bytes(4, "little"), (7).to_bytes(4, "little"))

    tenants.settle(text(8, 8))
    key = (1).to_bytes(4, "little")
    old = tenants.ids("colours")[key]
    writes(2)
    commit = programs.commit

    def later(tx: Transaction, step: CommitObject) -> None:
        writes(3)
        commit(tx, step)

    monkeypatch.setattr(programs, "commit", later)
    tenants.settle(text(16, 32))
    new = tenants.ids("colours")[key]
    with maps.open_id(InnerId(new)) as inner:
        keys, values = reading.read_entries(inner, maps.info(inner).shape, 1)
    assert new != old
    entries = zip(keys[:, 0].tolist(), values[:, 0].tolist(), strict=True)
    assert sorted(entries) == [(1, 1), (2, 7), (3, 7)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (spec(8, BEFORE), spec(16, BEFORE)),  # carried over
        (spec(8, BEFORE, template=COPIED), spec(8, BEFORE.replace("2: {", "2: {max_entries: 16, "), template=COPIED)),
    ],
    ids=["carried", "copied"],
)
def test_an_inner_map_that_is_gone_by_then_was_changed_by_another_process(
    before: str, after: str, tenants: Bench
) -> None:
    """The kernel says that there is no map with this id: the host is well, and the plan is out of date."""
    tenants.settle(before)
    planned = occupied(tenants)

    def replaced(_: Plan) -> None:
        with (
            maps.open_pin(tenants.root / "tenants") as outer,
            maps.create(MapShape(MapType.HASH, 4, 4, 8)) as theirs,
        ):
            maps.insert_inner(outer, (2).to_bytes(4, "little"), theirs)

    tenants.planned = replaced
    with pytest.raises(RefusedError) as refused:
        tenants.apply(after)
    assert [problem.id for problem in refused.value.problems] == ["changed-since-plan"]
    assert {slot for slot, number in occupied(tenants).items() if number != planned[slot]} == {2}


@pytest.mark.parametrize("step", ["carry", "pin_new", "rename"])
def test_a_slot_that_another_process_fills_meanwhile_is_not_lost(
    step: str, tenants: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy keeps it; the plan did not see it, so it is not in the new map."""
    policy = "extra_inner_maps: keep,"
    tenants.settle(spec(8, BEFORE, policy=policy))
    before, old = occupied(tenants), pinned(tenants)
    module: Any = {"carry": waves, "pin_new": contents, "rename": bpffs}[step]
    done = getattr(module, step)

    def meddle(*args: Any) -> None:
        monkeypatch.setattr(module, step, done)
        if step != "rename":
            done(*args)
        with maps.open_pin(tenants.root / "tenants") as outer, maps.create(MapShape(MapType.HASH, 4, 4, 8)) as theirs:
            maps.insert_inner(outer, (9).to_bytes(4, "little"), theirs)
        if step == "rename":
            done(*args)

    monkeypatch.setattr(module, step, meddle)
    with raises(ProvisionerError, "changed-since-plan"):
        tenants.apply(spec(16, BEFORE, policy=policy))
    after = occupied(tenants)
    assert after.pop(9)
    assert (after, pinned(tenants)) == (before, old)


def test_another_key_size_is_still_refused(tenants: Bench) -> None:
    tenants.settle(spec(8, BEFORE))
    with pytest.raises(RefusedError) as refused:
        tenants.apply(spec(16, BEFORE).replace("key: u32, max_entries: 16", "key: u64, max_entries: 16"))
    assert [problem.id for problem in refused.value.problems] == ["recreate"]
