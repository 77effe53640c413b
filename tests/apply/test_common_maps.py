"""Maps that several objects have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.apply import programs
from provisioner.apply.transaction import Transaction
from provisioner.kernel import links, maps
from provisioner.model.errors import ApplyError, HostError, InputError, Problem
from provisioner.planning.changes import Action
from provisioner.planning.steps import CommitObject
from tests.apply.conftest import Bench

Compile = Callable[[str], Path]
OBJECTS = "objects: [a, b],"


def spec(a: Path, b: Path, whose: str = OBJECTS, more: str = "") -> str:
    return f"""
inner_templates: {{inner: {{type: hash, key: u32, value: u32, max_entries: 8}}}}
objects:
  a: {{file: {a}, programs: {{look: {{pin: look_a}}}}}}
  b: {{file: {b}, programs: {{look: {{pin: look_b}}}}}}
outer_maps: {{tenants: {{{whose} inner: inner, inner_maps: {{0: {{entries: {{0: 7}}}}}} {more}}}}}
"""


@pytest.fixture
def pair(bench: Bench) -> Bench:
    bench.allow_outside = True
    return bench


def verdicts(bench: Bench) -> list[int]:
    """The results of the pinned programs for a packet: the entry in the common map, or those of a miss."""
    results = []
    for pin in ("look_a", "look_b"):
        with links.open_program_pin(bench.root / pin) as program:
            results.append(links.run(program, bytes(64))[0])
    return results


def pinned(bench: Bench, name: str) -> int:
    with maps.open_pin(bench.root / name) as fd:
        return maps.info(fd).id


def actions(bench: Bench, text: str) -> dict[str, Action]:
    return {name: change.action for name, change in bench.plan(text).objects.items()}


@pytest.mark.parametrize(("name", "whose"), [("common_map_unpinned", OBJECTS), ("common_map", "object: a,")])
def test_both_objects_use_one_map_and_upgrade_alone(name: str, whose: str, pair: Bench, bpf_object: Compile) -> None:
    file = bpf_object(name)
    plan, _ = pair.settle(spec(file, file, whose))
    assert [step.describe() for step in plan.steps][1:3] == ["load a", "load b, sharing the new tenants"]
    assert verdicts(pair) == [7, 7]
    before, other = pinned(pair, "tenants"), pair.root / "look_b"
    with links.open_program_pin(other) as program:
        kept = links.program_info(program).id
    upgraded = spec(bpf_object("common_map_v2"), file, "objects: [a, b],")
    assert actions(pair, upgraded) == {"a": Action.UPDATE, "b": Action.UNCHANGED}
    pair.settle(upgraded)
    assert (verdicts(pair), pinned(pair, "tenants")) == ([7, 7], before)
    with links.open_program_pin(other) as program:
        assert links.program_info(program).id == kept
    pair.destroy(upgraded)
    assert not pair.root.exists()


def test_a_map_of_another_size_is_new_for_both(pair: Bench, bpf_object: Compile) -> None:
    file = bpf_object("common_map")
    pair.settle(spec(file, file))
    wider = spec(file, file, more=", max_entries: 16")
    assert actions(pair, wider) == {"a": Action.UPDATE, "b": Action.UPDATE}
    pair.settle(wider)
    assert verdicts(pair) == [7, 7]


def test_an_object_that_comes_later_joins_the_live_map(pair: Bench, bpf_object: Compile) -> None:
    file = bpf_object("common_map")
    both = spec(file, file)
    alone = "\n".join(line for line in both.splitlines() if not line.startswith("  b:")).replace(OBJECTS, "object: a,")
    pair.settle(alone)
    before = pinned(pair, "tenants")
    assert actions(pair, both) == {"a": Action.UNCHANGED, "b": Action.CREATE}
    pair.settle(both)
    assert (verdicts(pair), pinned(pair, "tenants")) == ([7, 7], before)


def test_a_failure_takes_both_back(pair: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    file, newer = bpf_object("common_map"), bpf_object("common_map_v2")
    pair.settle(spec(file, file))
    before = [pinned(pair, "tenants"), *(path.name for path in sorted(pair.root.iterdir()))]
    committed = programs.commit

    def fails_at_b(tx: Transaction, step: CommitObject) -> None:
        if step.object == "b":
            raise HostError(Problem("injected"))
        committed(tx, step)

    monkeypatch.setattr(programs, "commit", fails_at_b)
    with pytest.raises(ApplyError) as caught:
        pair.apply(spec(newer, newer, more=", max_entries: 16"))
    assert caught.value.status == "rolled_back"
    monkeypatch.undo()
    assert [pinned(pair, "tenants"), *(path.name for path in sorted(pair.root.iterdir()))] == before
    pair.settle(spec(newer, newer, more=", max_entries: 16"))


def test_maps_of_one_name_are_not_taken_for_one(pair: Bench, bpf_object: Compile) -> None:
    file, unpinned = bpf_object("common_map"), bpf_object("common_map_unpinned")
    with pytest.raises(InputError) as caught:
        pair.load(spec(file, unpinned, "object: a,"))
    assert [problem.id for problem in caught.value.problems] == ["map-in-several-objects"]


def test_both_must_declare_it_in_one_way(pair: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as caught:
        pair.load(spec(bpf_object("common_map"), bpf_object("common_map_wide")))
    assert [problem.id for problem in caught.value.problems] == ["object-mismatch"]
    with pytest.raises(InputError) as caught:
        pair.load(spec(bpf_object("common_map"), bpf_object("jumps")))
    assert [problem.id for problem in caught.value.problems] == ["unknown-program", "unknown-map"]


def test_a_prog_array_belongs_to_one_object(pair: Bench, bpf_object: Compile) -> None:
    file = bpf_object("jumps")
    text = f"""
objects: {{a: {{file: {file}, programs: {{first: {{pin: a}}}}}}, b: {{file: {file}, programs: {{first: {{pin: b}}}}}}}}
maps: {{listed: {{objects: [a, b]}}, preset: {{objects: [a, b]}}}}
"""
    with pytest.raises(InputError) as caught:
        pair.load(text)
    assert "shared-prog-array" in [problem.id for problem in caught.value.problems]
