"""Programs whose sections do not say all: type and target from the spec, and programs that are left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import links, maps
from provisioner.model.errors import InputError
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench
from tests.problems import raises

Compile = Callable[[str], Path]


@pytest.fixture(autouse=True)
def anywhere(bench: Bench) -> None:
    """Compiled objects are outside the project's directory."""
    bench.allow_outside = True


def spec(file: Path, programs: str) -> str:
    return f"objects: {{lb: {{file: {file}, programs: {{{programs}}}}}}}\n"


def counted(bench: Bench) -> int:
    """What the raw tracepoint counts while this process makes a system call."""
    with maps.open_pin(bench.root / "counts") as fd:
        before = maps.lookup(fd, (1).to_bytes(4, "little"), 8) or b""
        os.getppid()
        after = maps.lookup(fd, (1).to_bytes(4, "little"), 8) or b""
    return int.from_bytes(after, "little") - int.from_bytes(before, "little")


def test_a_section_without_a_type(bench: Bench, bpf_object: Compile) -> None:
    bench.settle(spec(bpf_object("untyped"), "custom: {type: tc}"))
    with links.open_program_pin(bench.root / "custom") as program:
        assert [links.run(program, bytes(size))[0] for size in (64, 1200)] == [0, 2]


def test_a_program_without_a_target_is_attached_to_that_of_the_spec(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("untyped")
    bench.settle(spec(file, "generic: {target: sys_enter, attach: auto}"))
    assert counted(bench) > 0
    plan, _ = bench.settle(spec(file, "generic: {target: sys_exit, attach: auto}"))
    assert plan.objects["lb"].action is Action.UPDATE
    assert counted(bench) > 0
    bench.destroy(spec(file, "generic: {target: sys_exit, attach: auto}"))
    assert not bench.root.exists()


def test_a_change_of_type_is_an_upgrade(bench: Bench, bpf_object: Compile) -> None:
    file = bpf_object("untyped")
    bench.settle(spec(file, "custom: {type: tc}"))
    plan, _ = bench.settle(spec(file, "custom: {type: socket}"))
    assert plan.objects["lb"].reason == "programs.custom.type tc -> socket"


def test_a_program_that_is_left_out(bench: Bench, bpf_object: Compile) -> None:
    bench.settle(spec(bpf_object("untyped"), "custom: {load: false}, _hidden: {pin: hidden}, tracing: {load: false}"))
    assert not (bench.root / "custom").exists()
    assert (bench.root / "hidden").exists()


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ("custom: {}", "program-type-unknown"),
        ("tracing: {}", "program-target-missing"),
        ("generic: {attach: auto}", "attach-unsupported"),
        ("_hidden: {}", "pin-reserved"),
    ],
)
def test_what_is_missing_is_an_error_with_a_place(
    programs: str, expected: str, bench: Bench, bpf_object: Compile
) -> None:
    with pytest.raises(InputError) as refused:
        bench.load(spec(bpf_object("untyped"), programs))
    assert [problem.id for problem in refused.value.problems] == [expected]
    assert all(problem.where is not None for problem in refused.value.problems)


def test_an_unknown_program_is_an_error_even_if_it_is_left_out(bench: Bench, bpf_object: Compile) -> None:
    with raises(InputError, "unknown-program"):
        bench.load(spec(bpf_object("untyped"), "costum: {load: false}"))


def test_an_object_of_which_nothing_is_loaded_needs_no_step(bench: Bench, bpf_object: Callable[[str], Path]) -> None:
    bench.allow_outside = True
    plan, _ = bench.settle(f"objects: {{globals: {{file: {bpf_object('globals')}}}}}\n")
    assert plan.objects["globals"].action is Action.UNCHANGED
