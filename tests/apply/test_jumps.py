"""prog_arrays: a generation of their own, so that no packet meets programs of two versions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.apply import programs
from provisioner.kernel import bpffs, links, maps
from provisioner.kernel.fd import LinkFd, MapFd, ProgramFd
from provisioner.model.errors import ApplyError, HostError, InputError, Problem
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from tests.apply.conftest import Bench
from tests.conftest import Veth

Compile = Callable[[str], Path]
PACKET = bytes(64)
UPGRADES = 1000 if os.environ.get("PROVISIONER_SWEEP") == "full" else 20
"""Half of them fail."""

MISSED = 255
"""What the second byte of a packet is if the tail call found no program."""


def spec(file: Path, entries: str = "", more: str = "") -> str:
    listed = f"maps: {{listed: {{object: jumps, entries: {{{entries}}}}}}}\n" if entries else ""
    return f"""
objects:
  jumps:
    file: {file}
    programs:
      first: {{}}
      second: {{}}
      dispatch: {{attach: {{xdp: {{interface: veth-a, mode: generic}}}}}}
      dispatch_listed: {{}}
{listed}{more}"""


@pytest.fixture
def jumps(bench: Bench, veth: Veth) -> Bench:
    assert veth.name == "veth-a"
    bench.allow_outside = True
    return bench


def through(program: ProgramFd) -> tuple[int, int]:
    """The versions of the dispatcher and of the program that it jumped to, for one packet."""
    _, packet = links.run(program, PACKET)
    return packet[0], packet[1]


def attached(bench: Bench) -> tuple[int, int]:
    """The versions that a packet meets on the interface: those of the program that the link runs now."""
    with (
        bpffs.open_pin(bench.root / "_link_dispatch", LinkFd) as link,
        links.open_program_id(links.info(link).prog_id) as program,
    ):
        return through(program)


def pinned(bench: Bench, name: str) -> tuple[int, int]:
    with links.open_program_pin(bench.root / name) as program:
        return through(program)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets a step fail from now on, by the name of its function in `apply.programs`."""

    def fail(name: str) -> None:
        def refuse(*_: Any) -> None:
            raise HostError(Problem("the test lets this step fail", id="test"))

        monkeypatch.setattr(programs, name, refuse)

    yield fail
    monkeypatch.undo()


def test_an_upgrade_jumps_within_one_version(jumps: Bench, bpf_object: Compile) -> None:
    jumps.settle(spec(bpf_object("jumps")))
    assert attached(jumps) == (1, 1)
    plan, _ = jumps.settle(spec(bpf_object("jumps_v2")))
    assert plan.hazards == ()
    assert attached(jumps) == (2, 2)


@pytest.mark.parametrize("entries", ["", "2: second"], ids=["undeclared", "declared"])
def test_another_size_is_an_upgrade(entries: str, jumps: Bench, bpf_object: Compile) -> None:
    """Nothing is lost that an upgrade would keep."""
    jumps.overrides = Overrides()
    text = spec(bpf_object("jumps"), entries).replace("maps: {listed: {", "maps: {preset: {")
    jumps.settle(text)
    larger = text.replace("    programs:", "    maps: {preset: {max_entries: 8}}\n    programs:")
    plan, _ = jumps.settle(larger)
    assert (plan.objects["jumps"].action, plan.hazards) == (Action.UPDATE, ())
    assert attached(jumps) == (1, 1)
    with maps.open_pin(jumps.root / "preset") as fd:
        assert maps.info(fd).shape.max_entries == 8


@pytest.mark.parametrize("entries", ["", "2: second"], ids=["undeclared", "declared"])
def test_a_slot_of_a_program_that_is_not_loaded_stays_empty(entries: str, jumps: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("jumps"), entries).replace("maps: {listed: {", "maps: {preset: {")
    without = text.replace("first: {}", "first: {load: false}")
    jumps.settle(without)
    assert attached(jumps) == (1, MISSED)
    plan, _ = jumps.settle(text)
    assert [each.reason for each in plan.objects.values()] == ["programs.first.load false -> not set"]
    assert attached(jumps) == (1, 1)
    jumps.settle(without)
    assert attached(jumps) == (1, MISSED)


@pytest.mark.parametrize("step", ["attach", "commit"])
def test_a_failed_upgrade_leaves_the_old_jumps(
    step: str, jumps: Bench, bpf_object: Compile, failing: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps.settle(spec(bpf_object("jumps")))
    failing(step)
    with pytest.raises((ApplyError, HostError)):
        jumps.apply(spec(bpf_object("jumps_v2")))
    monkeypatch.undo()
    assert attached(jumps) == (1, 1), "the old program jumps to the old one"
    assert jumps.plan(spec(bpf_object("jumps"))).steps == ()
    jumps.settle(spec(bpf_object("jumps_v2")))
    assert attached(jumps) == (2, 2)


def test_no_packet_meets_two_versions(
    jumps: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch, figures: list[str]
) -> None:
    """At every step of upgrades, half of which fail, a packet meets programs of one version."""
    seen: set[tuple[int, int]] = set()
    jumps.settle(spec(bpf_object("jumps")))
    for name in ("load", "attach", "commit"):
        step = getattr(programs, name)

        def watched(*arguments: Any, step: Callable[..., None] = step) -> None:
            seen.add(attached(jumps))
            step(*arguments)
            seen.add(attached(jumps))

        monkeypatch.setattr(programs, name, watched)
    failed = 0
    for number in range(UPGRADES):
        file = bpf_object("jumps_v2" if number % 4 < 2 else "jumps")
        if number % 2:
            with monkeypatch.context() as patch:
                patch.setattr(programs, "commit", _refuse)
                with pytest.raises(ApplyError):
                    jumps.apply(spec(bpf_object("jumps" if number % 4 < 2 else "jumps_v2")))
            failed += 1
        else:
            jumps.apply(spec(file))
        seen.add(attached(jumps))
    assert seen == {(1, 1), (2, 2)}
    figures.append(f"upgrades of a program that tail-calls: {UPGRADES}, of which {failed} failed; packets met {seen}")


def _refuse(*_: Any) -> None:
    raise HostError(Problem("the test lets this step fail", id="test"))


def test_entries_name_programs(jumps: Bench, bpf_object: Compile) -> None:
    jumps.settle(spec(bpf_object("jumps"), "2: first"))
    assert pinned(jumps, "dispatch_listed") == (1, 1)
    plan, _ = jumps.settle(spec(bpf_object("jumps"), "2: second"))
    assert {change.name: change.reason for change in plan.objects.values()} == {"jumps": "slots of listed differ"}
    assert pinned(jumps, "dispatch_listed") == (1, 101)
    jumps.settle(spec(bpf_object("jumps_v2"), "2: second, 3: first"))
    assert pinned(jumps, "dispatch_listed") == (2, 102)


def test_a_slot_that_another_process_changed(jumps: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("jumps"), "2: first")
    jumps.settle(text)
    with (
        maps.open_pin(jumps.root / "listed") as array,
        links.open_program_pin(jumps.root / "second") as program,
    ):
        put(array, 2, program)
    assert [change.action for change in jumps.plan(text).objects.values()] == [Action.UPDATE]
    jumps.settle(text)
    assert pinned(jumps, "dispatch_listed") == (1, 1)


def put(array: MapFd, slot: int, program: ProgramFd) -> None:
    maps.update(array, slot.to_bytes(4, "little"), program.number.to_bytes(4, "little"))


def test_slots_of_another_loader_are_named_before_they_are_lost(jumps: Bench, bpf_object: Compile) -> None:
    jumps.settle(spec(bpf_object("jumps")))
    with maps.open_pin(jumps.root / "listed") as array, links.open_program_pin(jumps.root / "first") as program:
        put(array, 1, program)
    plan, _ = jumps.settle(spec(bpf_object("jumps_v2")))
    assert [(hazard.id, hazard.address) for hazard in plan.hazards] == [("jump-slots-dropped", "listed")]


@pytest.mark.parametrize("value", ["5", "none_such", "{a: 1}"])
def test_a_value_that_is_not_a_program(value: str, jumps: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as refused:
        jumps.load(spec(bpf_object("jumps"), f"2: {value}"))
    assert {problem.id for problem in refused.value.problems} <= {"unknown-program", "wrong-type"}


def test_presets_of_programs_that_the_spec_does_not_list(jumps: Bench, bpf_object: Compile) -> None:
    text = f"""
objects: {{jumps: {{file: {bpf_object("jumps")}, programs: {{dispatch: {{}}}}}}}}
"""
    jumps.settle(text)
    assert pinned(jumps, "dispatch") == (1, 1)
    with pytest.raises(InputError) as refused:
        jumps.load(text + "maps: {preset: {object: jumps, entries: {1: dispatch}}}\n")
    assert [problem.id for problem in refused.value.problems] == ["preset-not-loaded"]


def test_presets_stay_where_the_spec_lists_other_slots(jumps: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("jumps")) + "maps: {preset: {object: jumps, entries: {1: second}}}\n"
    jumps.settle(text)
    assert attached(jumps) == (1, 1)
    jumps.settle(spec(bpf_object("jumps")) + "maps: {preset: {object: jumps, entries: {0: second}}}\n")
    assert attached(jumps) == (1, 101)


def test_an_array_of_our_own_is_written_in_place(jumps: Bench, bpf_object: Compile) -> None:
    own = "maps: {own: {type: prog_array, key: u32, max_entries: 4, entries: {%s}}}\n"
    jumps.settle(spec(bpf_object("jumps")) + own % "0: first")
    plan, _ = jumps.settle(spec(bpf_object("jumps")) + own % "0: second")
    assert [change.action for change in plan.objects.values()] == [Action.UNCHANGED]
    jumps.settle(spec(bpf_object("jumps_v2")) + own % "0: second")
    jumps.settle(
        spec(bpf_object("jumps_v2")) + "maps: {own: {type: prog_array, key: u32, max_entries: 4, entries: {}}}\n"
    )
    with maps.open_pin(jumps.root / "own") as array:
        assert maps.lookup(array, bytes(4), 4) is None
