"""tc filters in a clsact qdisc: attached, switched, repaired and removed, and never those of another owner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provisioner.kernel import attach_points, filters, maps, objects
from provisioner.model.attachment import AttachPoint, FilterPlace
from provisioner.model.errors import ApplyError, HostError, InputError
from provisioner.model.uapi import TcPoint
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, failing, ping
from tests.conftest import Veth

pytestmark = pytest.mark.usefixtures("veth")

INGRESS = FilterPlace(TcPoint.INGRESS, 1, 1)


@pytest.fixture
def hooks(bench: Bench) -> Bench:
    bench.allow_outside = True
    return bench


def spec(file: Path, *attached: str) -> str:
    """on_tcx, and with a second attachment another program, too."""
    names = ("on_tcx", "on_tcx_2")
    programs = ", ".join(
        f"{name}: {{attach: {{tc: {{{where}}}}}}}" for name, where in zip(names, attached, strict=False)
    )
    return f"objects: {{hooks: {{file: {file}, programs: {{{programs or 'on_tcx: {}'}}}}}}}\n"


ON_A = "interface: veth-a, direction: ingress"
OUT_OF_A = "interface: veth-a, direction: egress, priority: 7, handle: 0x20"


def counted(bench: Bench) -> int:
    def value() -> int:
        with maps.open_pin(bench.root / "counts") as fd:
            return int.from_bytes(maps.lookup(fd, (1).to_bytes(4, "little"), 8) or b"", "little")

    before = value()
    ping()
    return value() - before


def by_version_1(bench: Bench) -> bool:
    """Whether version 1 counts packets, and version 2 does not; other packets than those of the test may come."""
    return counted(bench) in range(1, 1_000_000)


def by_version_2(bench: Bench) -> bool:
    """Whether version 2 counts packets, and version 1 does not."""
    number = counted(bench)
    return number > 0 and number % 1_000_000 == 0


def shown(what: str = "qdisc") -> str:
    return subprocess.run(["tc", what, "show", "dev", "veth-a"], capture_output=True, text=True, check=True).stdout


def ifindex() -> int:
    return attach_points.find(AttachPoint("interface", "veth-a")) or 0


def running(place: FilterPlace = INGRESS) -> int:
    return filters.program_at(ifindex(), place)


def test_attach_upgrade_and_detach(hooks: Bench, bpf_object: Compile) -> None:
    hooks.settle(spec(bpf_object("hooks"), ON_A))
    first = running()
    assert by_version_1(hooks)
    assert "clsact" in shown()
    plan, _ = hooks.settle(spec(bpf_object("hooks_v2"), ON_A))
    assert [change.action for change in plan.links] == [Action.UPDATE]
    assert running() not in (0, first)
    assert by_version_2(hooks)
    moved, _ = hooks.settle(spec(bpf_object("hooks_v2"), OUT_OF_A))
    assert [change.action for change in moved.links] == [Action.REPLACE]
    assert (running(), running(FilterPlace(TcPoint.EGRESS, 7, 0x20)) > 0) == (0, True)
    assert by_version_2(hooks)
    hooks.settle(spec(bpf_object("hooks_v2")))
    assert not (hooks.root / "_link_on_tcx").exists()
    assert "clsact" not in shown(), "the project made it, and it is empty"
    hooks.destroy(spec(bpf_object("hooks_v2")))
    assert not hooks.root.exists()


def test_a_failed_upgrade_leaves_the_old_program(
    hooks: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks.settle(spec(bpf_object("hooks"), ON_A))
    before = running()
    failing(monkeypatch)
    for text in (spec(bpf_object("hooks_v2"), ON_A), spec(bpf_object("hooks_v2"), OUT_OF_A)):
        with pytest.raises(ApplyError) as failed:
            hooks.apply(text)
        assert failed.value.status == "rolled_back"
        assert running() == before
        assert by_version_1(hooks)
    monkeypatch.undo()
    hooks.settle(spec(bpf_object("hooks"), ON_A))
    hooks.destroy(spec(bpf_object("hooks"), ON_A))
    assert "clsact" not in shown()


def test_a_failed_attachment_leaves_nothing(hooks: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch)
    with pytest.raises(ApplyError):
        hooks.apply(spec(bpf_object("hooks"), ON_A))
    assert "clsact" not in shown()
    assert not hooks.root.exists()


def test_drift_is_repaired(hooks: Bench, bpf_object: Compile, veth: Veth) -> None:
    text = spec(bpf_object("hooks"), ON_A)
    hooks.settle(text)
    subprocess.run(["tc", "filter", "del", "dev", "veth-a", "ingress", "pref", "1"], check=True)
    assert [change.action for change in hooks.plan(text).links] == [Action.REPLACE]
    hooks.settle(text)
    assert by_version_1(hooks)
    subprocess.run(["ip", "link", "del", veth.name], check=True)
    with pytest.raises(HostError) as missing:
        hooks.plan(text)
    assert [problem.id for problem in missing.value.problems] == ["attach-target-missing"]
    deferred = hooks.plan(spec(bpf_object("hooks"), f"{ON_A}, if_missing: defer"))
    assert [hazard.id for hazard in deferred.hazards] == ["attachment-deferred"]
    subprocess.run(["ip", "link", "add", veth.name, "type", "veth", "peer", "name", veth.peer], check=True)
    for name in (veth.name, veth.peer):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    assert [change.action for change in hooks.plan(text).links] == [Action.REPLACE]
    hooks.settle(text)
    assert by_version_1(hooks)
    hooks.destroy(text)
    assert "clsact" not in shown()


def test_a_filter_of_another_owner_is_never_replaced(hooks: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), ON_A)
    hooks.settle(text)
    with objects.load(bpf_object("hooks_v2"), only_programs=["on_tcx"]) as other:
        filters.attach(ifindex(), INGRESS, other.programs["on_tcx"], over=True, name="")
        theirs = running()
        with pytest.raises(HostError) as occupied:
            hooks.plan(text)
        assert [problem.id for problem in occupied.value.problems] == ["hook-occupied"]
        hooks.settle(spec(bpf_object("hooks"), "interface: veth-a, direction: ingress, priority: 2"))
        assert running() == theirs
        hooks.destroy(text)
        assert running() == theirs
        assert "clsact" in shown(), "it is not empty"


def test_a_qdisc_of_another_owner_stays(hooks: Bench, bpf_object: Compile) -> None:
    subprocess.run(["tc", "qdisc", "add", "dev", "veth-a", "clsact"], check=True)
    filter_ = "filter add dev veth-a ingress pref 1 protocol ip u32 match u32 0 0 classid 1:1"
    subprocess.run(["tc", *filter_.split()], check=True)
    with pytest.raises(HostError) as occupied:
        hooks.plan(spec(bpf_object("hooks"), ON_A))
    assert [problem.id for problem in occupied.value.problems] == ["hook-occupied"]
    subprocess.run(["tc", "filter", "del", "dev", "veth-a", "ingress", "pref", "1"], check=True)
    hooks.settle(spec(bpf_object("hooks"), ON_A))
    hooks.destroy(spec(bpf_object("hooks"), ON_A))
    assert "clsact" in shown()
    assert shown("filter") == ""


def test_two_filters_share_a_qdisc(hooks: Bench, bpf_object: Compile) -> None:
    hooks.settle(spec(bpf_object("hooks"), ON_A, OUT_OF_A))
    hooks.settle(spec(bpf_object("hooks")))
    assert "clsact" not in shown()
    hooks.settle(spec(bpf_object("hooks"), ON_A, OUT_OF_A))
    hooks.settle(spec(bpf_object("hooks"), ON_A))
    assert by_version_1(hooks)
    hooks.destroy(spec(bpf_object("hooks"), ON_A))
    assert "clsact" not in shown()


def test_two_programs_cannot_have_one_place(hooks: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as refused:
        hooks.load(spec(bpf_object("hooks"), ON_A, ON_A))
    assert [(problem.id, problem.address) for problem in refused.value.problems] == [
        ("hook-occupied", "hooks.on_tcx_2")
    ]


def test_a_snapshot_has_filters_and_what_occupies_a_place(hooks: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), ON_A)
    hooks.settle(text)
    project = hooks.load(text)
    assert project.plan(against=project.snapshot()).steps == ()
    with objects.load(bpf_object("hooks_v2"), only_programs=["on_tcx"]) as other:
        filters.attach(ifindex(), INGRESS, other.programs["on_tcx"], over=True, name="")
    with pytest.raises(HostError) as occupied:
        project.plan(against=project.snapshot())
    assert [problem.id for problem in occupied.value.problems] == ["hook-occupied"]
