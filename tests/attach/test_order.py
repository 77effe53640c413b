"""The order of programs at a tcx hook: made, kept over upgrades, repaired, and rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.kernel import attach_points, bpffs, links, objects
from provisioner.kernel.fd import LinkFd
from provisioner.model.attachment import AttachPoint, CreateLink
from provisioner.model.errors import ApplyError, HostError, InputError
from provisioner.model.uapi import AttachType
from provisioner.planning.changes import Action
from tests import features
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, failing
from tests.conftest import Veth

INGRESS = CreateLink(AttachType.TCX_INGRESS)


@pytest.fixture
def hooks(bench: Bench, veth: Veth) -> Bench:
    assert veth.name == "veth-a"
    features.need_tcx()
    bench.allow_outside = True
    return bench


@pytest.fixture
def theirs(veth: Veth, kernel: Path, bpf_object: Compile) -> Iterator[Path]:
    """The pinned link of a program of another owner at the hook."""
    features.need_tcx()
    pin = kernel / "theirs"
    with (
        objects.load(bpf_object("hooks_v2"), only_programs=["on_tcx"]) as other,
        links.create(other.programs["on_tcx"], INGRESS, ifindex(), name=veth.name) as link,
    ):
        bpffs.pin(link, pin)
    yield pin
    bpffs.unpin(pin)


def ifindex() -> int:
    return attach_points.find(AttachPoint("interface", "veth-a")) or 0


def spec(file: Path, first: str = "", second: str = "") -> str:
    attach = "attach: {tcx: {interface: veth-a, direction: ingress"
    programs = f"on_tcx: {{{attach}, {first}}}}}}}, on_tcx_2: {{{attach}, {second}}}}}}}"
    return f"objects: {{hooks: {{file: {file}, programs: {{{programs.replace(', }', '}')}}}}}}}\n"


def order(hooks: Bench, theirs: Path | None = None) -> list[str]:
    """The programs at the hook, by name."""
    names = {}
    pins = {"on_tcx": hooks.root / "_link_on_tcx", "on_tcx_2": hooks.root / "_link_on_tcx_2"}
    for name, pin in (pins | ({"theirs": theirs} if theirs is not None else {})).items():
        with bpffs.open_pin(pin, LinkFd) as fd:
            names[links.info(fd).prog_id] = name
    return [names[number] for number in links.order(ifindex(), AttachType.TCX_INGRESS)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "", ["on_tcx", "on_tcx_2"]),
        ("", "before: on_tcx", ["on_tcx_2", "on_tcx"]),
        ("after: on_tcx_2", "", ["on_tcx_2", "on_tcx"]),
        ("order: last", "", ["on_tcx_2", "on_tcx"]),
        ("", "order: first", ["on_tcx_2", "on_tcx"]),
        ("before: on_tcx_2", "order: last", ["on_tcx", "on_tcx_2"]),
    ],
)
def test_the_order_is_made_and_kept(
    first: str, second: str, expected: list[str], hooks: Bench, bpf_object: Compile
) -> None:
    hooks.settle(spec(bpf_object("hooks"), first, second))
    assert order(hooks) == expected
    hooks.settle(spec(bpf_object("hooks_v2"), first, second))
    assert order(hooks) == expected


def test_a_place_beside_a_program_of_another_owner(
    hooks: Bench, theirs: Path, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bpf_object("hooks")
    hooks.settle(spec(file))
    assert order(hooks, theirs) == ["theirs", "on_tcx", "on_tcx_2"]
    text = spec(file, "", f"before: {theirs}")
    plan = hooks.plan(text)
    assert [(change.pin, change.action) for change in plan.links if change.action is not Action.UNCHANGED] == [
        ("_link_on_tcx_2", Action.REPLACE)
    ]
    with monkeypatch.context() as patch:
        failing(patch, "record")
        with pytest.raises(ApplyError):
            hooks.apply(text)
    assert order(hooks, theirs) == ["theirs", "on_tcx", "on_tcx_2"], "rolled back"
    hooks.settle(text)
    assert order(hooks, theirs) == ["on_tcx_2", "theirs", "on_tcx"]
    hooks.settle(spec(file, "order: first", f"after: {theirs}"))
    assert order(hooks, theirs) == ["on_tcx", "theirs", "on_tcx_2"]


def test_the_last_one_stays_the_last(hooks: Bench, bpf_object: Compile) -> None:
    file = bpf_object("hooks")
    attach = "attach: {tcx: {interface: veth-a, direction: ingress, order: last}}"
    hooks.settle(f"objects: {{hooks: {{file: {file}, programs: {{on_tcx: {{{attach}}}}}}}}}\n")
    hooks.settle(spec(file, "order: last"))
    assert order(hooks) == ["on_tcx_2", "on_tcx"]


def test_drift_of_the_order_is_repaired(hooks: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), "", "order: first")
    hooks.settle(text)
    with (
        objects.load(bpf_object("hooks_v2"), only_programs=["on_tcx"]) as other,
        links.create_at(other.programs["on_tcx"], INGRESS, ifindex(), links.Position(True)),
    ):
        changes = {change.pin: (change.action, change.reason) for change in hooks.plan(text).links}
        assert changes["_link_on_tcx_2"][0] is Action.REPLACE
        assert "first" in changes["_link_on_tcx_2"][1]
        assert hooks.load(text).plan(against=hooks.load(text).snapshot()).steps == hooks.plan(text).steps
        hooks.settle(text)
        assert links.order(ifindex(), AttachType.TCX_INGRESS)[0] == program_id(hooks, "on_tcx_2")


def program_id(hooks: Bench, name: str) -> int:
    with bpffs.open_pin(hooks.root / f"_link_{name}", LinkFd) as fd:
        return links.info(fd).prog_id


@pytest.mark.parametrize("path", ["/sys/fs/bpf/none", "ours"])
def test_a_neighbour_that_is_not_there(path: str, hooks: Bench, bpf_object: Compile) -> None:
    hooks.settle(spec(bpf_object("hooks")))
    neighbour = path if path.startswith("/") else hooks.root / "counts"
    with pytest.raises(HostError) as missing:
        hooks.plan(spec(bpf_object("hooks"), f"after: {neighbour}"))
    assert [problem.id for problem in missing.value.problems] == ["attach-target-missing"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("before: on_tcx_2", "before: on_tcx", ["circular-reference", "circular-reference"]),
        ("before: on_tcx", "", ["unknown-reference"]),
        ("before: on_raw", "", ["unknown-reference"]),
        ("order: first", "order: first", ["hook-occupied"]),
        ("order: first, before: on_tcx_2", "", ["conflicting-fields"]),
        ("order: middle", "", ["unknown-value"]),
    ],
)
def test_an_order_that_cannot_be(
    first: str, second: str, expected: list[str], hooks: Bench, bpf_object: Compile
) -> None:
    with pytest.raises(InputError) as refused:
        hooks.load(spec(bpf_object("hooks"), first, second))
    assert [problem.id for problem in refused.value.problems] == expected
