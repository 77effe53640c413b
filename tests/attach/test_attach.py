"""Each kind of attachment on the real kernel: attach, upgrade, drift, roll back, detach."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from provisioner.kernel import attach_points, bpffs, function_offsets, links, objects
from provisioner.kernel.fd import LinkFd
from provisioner.kernel.host import cgroup_path
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import AttachPoint, CreateLink
from provisioner.model.errors import ApplyError, HostError, InputError
from provisioner.model.uapi import AttachType, XdpMode
from provisioner.planning.changes import Action
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import (
    Compile,
    Place,
    comes_to,
    counted,
    failing,
    fault,
    libc_getppid,
    link,
    mounted_tracefs,
    need,
    own_cgroup,
    ping,
    spec,
    udp,
    unattached,
)
from tests.conftest import Veth

PLACES = {
    "xdp": Place("on_xdp", "{xdp: {interface: veth-a, mode: generic}}", 0, ping, True),
    "tcx": Place("on_tcx", "{tcx: {interface: veth-a, direction: ingress}}", 1, ping, True),
    "tcx-egress": Place("on_tcx", "{tcx: {interface: veth-a, direction: egress}}", 1, ping, True),
    "cgroup": Place("on_connect", "{cgroup: {path: CGROUP}}", 2, udp, True),
    "netns": Place("on_lookup", "{netns: {path: /proc/self/ns/net}}", 3, udp, True),
    "raw_tp": Place("on_raw", "auto", 4, os.getppid, False),
    "tracepoint": Place("on_tracepoint", "auto", 5, os.getpid, False),
    "tp_btf": Place("on_tp_btf", "auto", 12, os.getppid, False),
    "uprobe": Place("on_uprobe", "auto", 14, libc_getppid, False),
    "uretprobe": Place("on_uretprobe", "auto", 15, libc_getppid, False),
    "perf_event": Place("on_sample", "{perf_event: {event: page_faults, sample_period: 1, cpus: 0}}", 17, fault, False),
}


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, bpf_object: Compile) -> Iterator[Place]:
    place_ = PLACES[request.param]
    request.getfixturevalue("veth")
    need(PLACES[request.param], bpf_object("hooks"))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    match request.param:
        case "cgroup":
            with own_cgroup() as name:
                yield Place(place_.program, place_.attach.replace("CGROUP", name), place_.count, place_.run, True)
        case "tracepoint":
            with mounted_tracefs():
                yield place_
        case _:
            yield place_


@pytest.fixture
def hooks(bench: Bench) -> Bench:
    bench.allow_outside = True
    return bench


def test_attach_upgrade_and_detach(hooks: Bench, place: Place, bpf_object: Compile) -> None:
    hooks.settle(spec(bpf_object("hooks"), place))
    made = link(hooks, place)
    assert counted(hooks, place) in range(1, 1_000_000), "version 1 counts"
    plan, _ = hooks.settle(spec(bpf_object("hooks_v2"), place))
    assert [change.action for change in plan.links] == [Action.UPDATE]
    assert counted(hooks, place) >= 1_000_000, "version 2 counts"
    assert (link(hooks, place).id == made.id) is place.updatable, "a link that can be switched is never made again"
    hooks.settle(spec(bpf_object("hooks_v2"), None) if place.program == "on_xdp" else unattached(bpf_object, place))
    assert not (hooks.root / f"_link_{place.program}").exists()
    assert comes_to(hooks, place, range(1))
    hooks.destroy(unattached(bpf_object, place))
    assert not hooks.root.exists()


def test_a_failed_upgrade_leaves_the_old_program_attached(
    hooks: Bench, place: Place, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks.settle(spec(bpf_object("hooks"), place))
    before = link(hooks, place)
    failing(monkeypatch)
    with pytest.raises(ApplyError) as failed:
        hooks.apply(spec(bpf_object("hooks_v2"), place))
    assert failed.value.status == "rolled_back"
    monkeypatch.undo()
    assert link(hooks, place) == before, "the very same link, with the very same program"
    assert comes_to(hooks, place, range(1, 1_000_000))
    hooks.settle(spec(bpf_object("hooks"), place))


def test_a_link_that_was_detached_is_attached_again(hooks: Bench, place: Place, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), place)
    hooks.settle(text)
    with bpffs.open_pin(hooks.root / f"_link_{place.program}", LinkFd) as fd:
        links.detach(fd)
    plan = hooks.plan(text)
    # Tracing links have no BPF_LINK_DETACH: they stay attached until their last holder goes.
    assert [change.action for change in plan.links] == [Action.REPLACE if place.updatable else Action.UNCHANGED]
    hooks.settle(text)
    assert counted(hooks, place) >= 1


def test_a_program_that_another_process_put_into_the_link(hooks: Bench, place: Place, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), place)
    hooks.settle(text)
    with (
        objects.load(bpf_object("hooks_v2"), only_programs=[place.program]) as other,
        bpffs.open_pin(hooks.root / f"_link_{place.program}", LinkFd) as fd,
        nullcontext() if place.updatable else pytest.raises(KernelError) as refused,
    ):
        links.update(fd, other.programs[place.program])
    if refused is not None:
        assert refused.value.errno == errno.EINVAL, "such a link keeps its program"
    expected = Action.UPDATE if place.updatable else Action.UNCHANGED
    assert [change.action for change in hooks.plan(text).links] == [expected]
    hooks.settle(text)
    assert counted(hooks, place) in range(1, 1_000_000)


@pytest.mark.parametrize(
    ("attach", "kind"),
    [
        ("{tcx: {interface: none-such, direction: ingress}}", "on_tcx"),
        ("{cgroup: {path: none/such}}", "on_connect"),
        ("{netns: {path: /run/netns/none-such}}", "on_lookup"),
        ("{netns: {path: /dev/zero}}", "on_lookup"),
        ("{netns: {path: /proc/self/ns/mnt}}", "on_lookup"),
        ("{netns: {path: /sys}}", "on_lookup"),
    ],
)
def test_what_is_missing_is_refused_or_waited_for(attach: str, kind: str, hooks: Bench, bpf_object: Compile) -> None:
    place = Place(kind, attach, 0, ping, True)
    with pytest.raises(HostError) as refused:
        hooks.apply(spec(bpf_object("hooks"), place))
    assert [problem.id for problem in refused.value.problems] == ["attach-target-missing"]
    deferred = Place(kind, attach.replace("}}", ", if_missing: defer}}"), 0, ping, True)
    plan, _ = hooks.apply(spec(bpf_object("hooks"), deferred))
    assert [hazard.id for hazard in plan.hazards] == ["attachment-deferred"]


def test_tcx_leaves_the_programs_of_others(hooks: Bench, bpf_object: Compile, veth: Veth) -> None:
    place = PLACES["tcx"]
    need(place, bpf_object("hooks"))
    index = attach_points.find(AttachPoint("interface", veth.name)) or 0
    with (
        objects.load(bpf_object("hooks_v2"), only_programs=["on_tcx"]) as other,
        links.create(other.programs["on_tcx"], CreateLink(AttachType.TCX_INGRESS), index) as theirs,
    ):
        hooks.settle(spec(bpf_object("hooks"), place))
        assert counted(hooks, place) in range(1, 1_000_000)
        hooks.destroy(spec(bpf_object("hooks"), place))
        assert links.info(theirs).target == index, "still attached"


def test_xdp_of_another_owner_is_seen_before_anything_is_done(hooks: Bench, bpf_object: Compile, veth: Veth) -> None:
    text = spec(bpf_object("hooks"), PLACES["xdp"])
    index = attach_points.find(AttachPoint("interface", veth.name)) or 0
    generic = CreateLink(AttachType.XDP, int(XdpMode.GENERIC))
    with objects.load(bpf_object("hooks_v2"), only_programs=["on_xdp"]) as other:
        with links.create(other.programs["on_xdp"], generic, index), pytest.raises(HostError) as refused:
            hooks.plan(text)
        assert [problem.id for problem in refused.value.problems] == ["hook-occupied"]
        hooks.settle(text)
        with bpffs.open_pin(hooks.root / "_link_on_xdp", LinkFd) as fd:
            links.detach(fd)
        with links.create(other.programs["on_xdp"], generic, index), pytest.raises(HostError) as refused:
            hooks.plan(text)
        assert [problem.id for problem in refused.value.problems] == ["hook-occupied"]
    hooks.settle(text)


def test_bpftool_sees_the_link(hooks: Bench, place: Place, bpf_object: Compile) -> None:
    hooks.settle(spec(bpf_object("hooks"), place))
    shown = subprocess.run(
        ["bpftool", "--json", "link", "show", "id", str(link(hooks, place).id)], check=True, capture_output=True
    )
    assert json.loads(shown.stdout)["prog_id"] == link(hooks, place).prog_id


@pytest.mark.parametrize(
    ("program", "expected"),
    [("no_hook", "attach-unsupported"), ("on_xdp", "attach-unsupported"), ("on_connect", "attach-unsupported")],
)
def test_auto_needs_a_section_that_names_a_hook(program: str, expected: str, hooks: Bench, bpf_object: Compile) -> None:
    with pytest.raises(InputError) as refused:
        hooks.load(spec(bpf_object("hooks"), Place(program, "auto", 0, ping, False)))
    assert [problem.id for problem in refused.value.problems] == [expected]


def test_a_cgroup_that_is_deleted_and_created_again(hooks: Bench, bpf_object: Compile) -> None:
    root = cgroup_path("")
    assert root is not None
    path = root / f"provisioner-drift-{os.getpid()}"
    place = Place("on_connect", f"{{cgroup: {{path: {path.name}}}}}", 2, udp, True)
    path.mkdir()
    try:
        hooks.settle(spec(bpf_object("hooks"), place))
        path.rmdir()
        with pytest.raises(HostError) as missing:
            hooks.plan(spec(bpf_object("hooks"), place))
        assert [problem.id for problem in missing.value.problems] == ["attach-target-missing"]
        path.mkdir()
        plan, _ = hooks.settle(spec(bpf_object("hooks"), place))
        assert [change.action for change in plan.links] == [Action.REPLACE]
        hooks.destroy(spec(bpf_object("hooks"), place))
    finally:
        path.rmdir()


def test_a_namespace_that_is_deleted_and_created_again(hooks: Bench, bpf_object: Compile) -> None:
    place = Place("on_lookup", "{netns: {path: /run/netns/drift}}", 3, udp, True)
    subprocess.run(["ip", "netns", "add", "drift"], check=True)
    hooks.settle(spec(bpf_object("hooks"), place))
    subprocess.run(["ip", "netns", "del", "drift"], check=True)
    with pytest.raises(HostError) as missing:
        hooks.plan(spec(bpf_object("hooks"), place))
    assert [problem.id for problem in missing.value.problems] == ["attach-target-missing"]
    subprocess.run(["ip", "netns", "add", "drift"], check=True)
    plan, _ = hooks.settle(spec(bpf_object("hooks"), place))
    assert [change.action for change in plan.links] == [Action.REPLACE]
    hooks.destroy(spec(bpf_object("hooks"), place))
    subprocess.run(["ip", "netns", "del", "drift"], check=True)


def test_a_file_that_is_replaced_is_probed_again(hooks: Bench, bpf_object: Compile, tmp_path: Path) -> None:
    need(PLACES["uprobe"], bpf_object("hooks"))
    library = tmp_path / "libprobed.so.1"
    resolved = function_offsets.resolve("libc.so.6")
    assert resolved is not None
    shutil.copy(resolved, library)
    probe = f"{{target: '{library}:getppid', attach: auto}}"
    text = f"objects: {{hooks: {{file: {bpf_object('hooks')}, programs: {{on_uprobe: {probe}}}}}}}\n"
    hooks.settle(text)
    shutil.copy(resolved, tmp_path / "new")
    (tmp_path / "new").rename(library)
    plan, _ = hooks.settle(text)
    assert [change.action for change in plan.links] == [Action.REPLACE]
    hooks.destroy(text)
