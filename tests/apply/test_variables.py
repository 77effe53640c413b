"""Global variables: set before load, read back, written in place where one store does it, else by an upgrade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.apply import pins
from provisioner.kernel import links, maps
from provisioner.model.errors import ApplyError, HostError, InputError, Problem
from provisioner.observed.snapshot_format import from_bytes, to_bytes
from provisioner.planning.changes import Action
from provisioner.planning.steps import LoadObject, WriteVariables
from tests.apply.conftest import Bench

Compile = Callable[[str], Path]

XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX = 0, 1, 2, 3


@pytest.fixture(autouse=True)
def anywhere(bench: Bench) -> None:
    """Compiled objects are outside the project's directory."""
    bench.allow_outside = True


def spec(file: Path, variables: str) -> str:
    written = f"variables: {{{variables}}}, " if variables else ""
    return f"objects: {{lb: {{file: {file}, {written}programs: {{globals: {{}}}}}}}}\n"


def verdict(bench: Bench) -> int:
    with links.open_program_pin(bench.root / "globals") as program:
        return links.run(program, bytes(64))[0]


def program_id(bench: Bench) -> int:
    with links.open_program_pin(bench.root / "globals") as program:
        return links.program_info(program).id


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ("verdict: 2", XDP_PASS),
        ("verdict: 0x2", XDP_PASS),
        ("mode: ON", XDP_TX),
        ("strict: true", XDP_TX),
        ("label: x", XDP_TX),
        ("address: 1", XDP_TX),
        ("'ports': [1, 99, 3, 4]", XDP_TX),
        ("level: 1", XDP_ABORTED),
        ("limits: {burst: 101, rate: 2}", XDP_ABORTED),
        ("wide: {first: 1, second: 2, third: 101}", XDP_ABORTED),
        ("custom: 101", XDP_ABORTED),
        ("node: {first: 101, inside: {last: 102}}", XDP_ABORTED),
        ("node: {first: 101, next: 0, spare: null, inside: {name: NULL, last: 102}}", XDP_ABORTED),
    ],
)
def test_a_variable_of_each_kind_is_set_before_load(
    variables: str, expected: int, bench: Bench, bpf_object: Compile
) -> None:
    text = spec(bpf_object("globals"), variables)
    bench.settle(text)
    assert verdict(bench) == expected
    bench.destroy(text)
    assert not bench.root.exists()


def test_a_constant_is_changed_by_an_upgrade(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("globals")
    bench.settle(spec(file, "verdict: 2"))
    plan, _ = bench.settle(spec(file, "verdict: 1"))
    assert plan.objects["lb"].action is Action.UPDATE
    assert plan.objects["lb"].reason == "variable verdict 2 -> 1"
    assert verdict(bench) == XDP_DROP


@pytest.mark.parametrize(
    ("before", "after", "in_place"),
    [
        ("level: -1", "level: 1", True),
        ("limits: {burst: 1, rate: 2}", "limits: {burst: 101, rate: 3}", True),
        ("wide: {first: 1, second: 2, third: 3}", "wide: {first: 1, second: 2, third: 101}", True),
        ("wide: {first: 1, second: 2, third: 3}", "wide: {first: 2, second: 2, third: 101}", False),
        ("level: -1, custom: 1", "level: 0, custom: 101", True),
    ],
)
def test_a_word_is_written_in_place(before: str, after: str, in_place: bool, bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("globals")
    bench.settle(spec(file, f"{before}, verdict: 2"))
    assert verdict(bench) == XDP_PASS
    loaded = program_id(bench)
    plan, _ = bench.settle(spec(file, f"{after}, verdict: 2"))
    kinds = {type(step) for step in plan.steps}
    assert (WriteVariables in kinds, LoadObject in kinds) == (in_place, not in_place)
    assert (program_id(bench) == loaded) is in_place
    assert verdict(bench) == XDP_ABORTED


def test_variables_of_a_frozen_section_are_set_by_an_upgrade(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("globals")
    bench.settle(spec(file, "level: -1, verdict: 2"))
    with maps.open_pin(bench.root / "_variables_lb_data") as section:
        maps.freeze(section)
    plan, _ = bench.settle(spec(file, "level: 1, verdict: 2"))
    assert plan.objects["lb"].reason == "variable level -1 -> 1"
    assert verdict(bench) == XDP_ABORTED


def test_what_a_program_writes_is_seen_and_written_back(bench: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("globals"), "packets: 0, verdict: 2")
    bench.settle(text)
    verdict(bench)
    (change,) = bench.plan(text).objects["lb"].variables
    assert (change.name, change.value_before, change.value) == ("packets", 1, 0)
    plan, _ = bench.settle(text)
    assert plan.objects["lb"].action is Action.UNCHANGED, "the object is not loaded again"


def test_a_failed_apply_takes_the_word_back(bench: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    file = bpf_object("globals")
    bench.settle(spec(file, "level: -1, verdict: 2"))

    def record(*_: Any) -> None:
        raise HostError(Problem("the test lets this step fail", id="test"))

    monkeypatch.setattr(pins, "record", record)
    text = spec(file, "level: 1, verdict: 2")
    with pytest.raises(ApplyError) as failed:
        bench.apply(text)
    assert failed.value.status == "rolled_back"
    assert verdict(bench) == XDP_PASS
    monkeypatch.undo()
    bench.settle(text)
    assert verdict(bench) == XDP_ABORTED


def test_an_upgrade_of_the_object_sets_the_variables_again(bench: Bench, bpf_object: Compile) -> None:
    bench.settle(spec(bpf_object("globals"), "level: 1"))
    bench.settle(spec(bpf_object("globals_v2"), "level: 2, packets: 5"))
    assert verdict(bench) == XDP_ABORTED
    plan = bench.plan(spec(bpf_object("globals_v2"), "level: 2, packets: 5"))
    (change,) = plan.objects["lb"].variables
    assert (change.name, change.value_before, change.value) == ("packets", 7, 5)


def test_a_variable_that_is_no_longer_set_has_the_value_of_the_object(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("globals")
    bench.settle(spec(file, "mode: ON, level: 1"))
    plan, _ = bench.settle(spec(file, "level: 1"))
    assert plan.objects["lb"].action is Action.UPDATE
    assert verdict(bench) == XDP_ABORTED
    bench.settle(spec(file, ""))
    assert verdict(bench) == XDP_DROP
    assert not list(bench.root.glob("_variables_*")), "nothing of them is left"


def test_the_value_that_the_object_has_needs_no_upgrade(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("globals")
    bench.settle(spec(file, "verdict: 2"))
    plan, _ = bench.settle(spec(file, "verdict: 2, mode: OFF"))
    assert plan.objects["lb"].action is Action.UNCHANGED


def test_a_constant_section_is_frozen(bench: Bench, bpf_object: Compile) -> None:
    bench.settle(spec(bpf_object("globals"), "verdict: 2"))
    with maps.open_pin(bench.root / "_variables_lb_rodata") as fd:
        assert maps.is_frozen(fd)


@pytest.mark.parametrize(
    ("variables", "expected", "column"),
    [
        ("verdikt: 1", "unknown-variable", "verdikt"),
        ("verdict: -1", "out-of-range", "-1"),
        ("verdict: 4294967296", "out-of-range", "4294967296"),
        ("mode: MAYBE", "unknown-value", "MAYBE"),
        ("ports: [1, 2, 3]", "wrong-length", "ports"),
        ("limits: {burst: 1, rate: many}", "invalid-number", "many"),
        ("label: sixteen-characters", "invalid-value", "sixteen"),
        ("node: {first: 1, next: 1, inside: {last: 1}}", "wrong-type", "1, inside"),
        ("pointer: 1", "wrong-type", "1"),
    ],
)
def test_what_cannot_be_set_is_an_error_with_a_place(
    variables: str, expected: str, column: str, bench: Bench, bpf_object: Compile
) -> None:
    text = spec(bpf_object("globals"), variables)
    with pytest.raises(InputError) as refused:
        bench.load(text)
    (problem,) = refused.value.problems
    assert problem.id == expected
    assert problem.where is not None
    assert text[problem.where.column - 1 :].startswith(column)


def test_show_and_explain_read_them_back(bench: Bench, bpf_object: Compile) -> None:
    project = bench.load(spec(bpf_object("globals"), "limits: {burst: 7, rate: 8}, mode: ON"))
    project.apply(bench.overrides, bench.options)
    (node,) = [node for node in project.live().nodes if node.address == "lb"]
    assert node.after == {"variables": {"limits": {"burst": 7, "rate": 8}, "mode": "ON"}}
    facts = {name: value for fact in project.explain("lb") for name, value in fact.data.items()}
    assert facts["variables"]["mode"] == {"wanted": "ON", "live": "ON"}


def test_a_snapshot_has_them(bench: Bench, bpf_object: Compile) -> None:
    project = bench.load(spec(bpf_object("globals"), "verdict: 2"))
    project.apply(bench.overrides, bench.options)
    other = bench.load(spec(bpf_object("globals"), "verdict: 1"))
    snapshot = from_bytes(to_bytes(project.snapshot()), "snapshot")
    assert other.plan(against=snapshot).objects["lb"].reason == "variable verdict 2 -> 1"
    assert not project.plan(against=snapshot).changed
