"""struct_ops maps on the real kernel: a TCP congestion control that sockets choose by its name."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from provisioner.adopt.skeleton import skeleton
from provisioner.attach.struct_ops import StructOps
from provisioner.kernel import bpffs, links, maps, objects
from provisioner.kernel.fd import LinkFd
from provisioner.kernel.reasons import KernelError
from provisioner.model import kernel_versions
from provisioner.model.attachment import CreateLink
from provisioner.model.errors import ApplyError, InputError
from provisioner.model.location import Location
from provisioner.model.object_settings import MapSettings
from provisioner.model.uapi import AttachType, Command, LinkType
from provisioner.planning.changes import Action
from provisioner.views import plan_report
from tests import features
from tests.apply.conftest import HEAD, Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, failing
from tests.conftest import SOURCES, compile_bpf
from tests.pages import fences
from tests.promises.injection import KILL_AFTER, KILL_BEFORE, READING, Injector, Ran, words

NAME = b"prov_steady"
READY = 3
"""BPF_STRUCT_OPS_STATE_READY."""

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
PROGRAMS = "programs: {begin: {}, threshold: {}, grow: {}, undo: {}}"
ATTACHED_HERE = MapSettings(None, None, True, Location("test"), attach=StructOps(where=Location("test")))


@pytest.fixture
def tcp(bench: Bench) -> Iterator[Bench]:
    features.need_struct_ops_links()
    features.need_sound_kernel()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    bench.allow_outside = True
    yield bench
    if bench.root.exists():
        for pin in bench.root.glob("_link_*"):
            bpffs.unpin(pin)


def spec(file: Path, attach: str = ", maps: {steady: {attach: auto}}") -> str:
    return f"objects: {{cc: {{file: {file}, {PROGRAMS}{attach}}}}}\n"


def available() -> list[str]:
    return AVAILABLE.read_text(encoding="ascii").split()


def connect(name: bytes = NAME) -> None:
    """Send over a connection of this namespace, whose client chose a congestion control by its name."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server, closing(socket.socket()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with closing(accepted):
            for _ in range(4):
                client.sendall(b"x" * 1000)
                received = 0
                while received < 1000:
                    received += len(accepted.recv(1000))


def counts(bench: Bench) -> tuple[int, int]:
    """How often the programs of either version ran."""
    with maps.open_pin(bench.root / "counts") as fd:
        first, second = (maps.lookup(fd, bytes([version, 0, 0, 0]), 8) or b"" for version in (1, 2))
    return int.from_bytes(first, "little"), int.from_bytes(second, "little")


def map_id(bench: Bench) -> int:
    with maps.open_pin(bench.root / "steady") as fd:
        return maps.id_of(fd)


def link(bench: Bench) -> links.LinkInfo:
    with bpffs.open_pin(bench.root / "_link_steady", LinkFd) as fd:
        return links.info(fd)


def test_the_value_is_written_at_load_and_nothing_is_attached(bpf_object: Compile) -> None:
    features.need_struct_ops_links()
    with objects.load(bpf_object("congestion"), settings={"steady": ATTACHED_HERE}) as loaded:
        fd = loaded.maps["steady"]
        value = maps.lookup(fd, bytes(4), maps.info(fd).shape.value_size) or b""
    assert int.from_bytes(value[4:8], "little") == READY
    assert NAME + bytes(5) in value, "where the running kernel has the name"
    assert NAME.decode() not in available()


@pytest.mark.parametrize(
    ("object_", "maps_", "release", "problem"),
    [
        ("congestion", "steady: {attach: auto}", "6.1", "attach-unsupported"),
        ("congestion", "steady: {attach: auto}", "6.4", ""),
        ("congestion", "counts: {attach: auto}", "", "attach-unsupported"),
        ("congestion", "steady: {attach: always}", "", "unknown-value"),
        ("congestion", "none: {attach: auto}", "", "unknown-map"),
    ],
)
def test_what_validate_says(
    object_: str, maps_: str, release: str, problem: str, bench: Bench, bpf_object: Compile
) -> None:
    bench.allow_outside = True
    text = spec(bpf_object(object_), f", maps: {{{maps_}}}")
    said = ""
    try:
        desired = bench.load(text).desired
        if release:
            kernel_versions.advise(desired, kernel_versions.parse(release))
    except InputError as error:
        said = " ".join(each.id for each in error.problems)
    assert said == problem


def test_an_object_says_what_its_map_is(bpf_object: Compile) -> None:
    value = objects.inspect(bpf_object("congestion")).maps["steady"].struct_ops
    assert value is not None
    assert (value.struct, value.name) == ("tcp_congestion_ops", "prov_steady")
    assert value.programs == {"init": "begin", "ssthresh": "threshold", "cong_avoid": "grow", "undo_cwnd": "undo"}
    assert value.values == {"name": NAME + bytes(5)}


def test_the_example_of_the_page_is_valid(bench: Bench, bpf_object: Compile) -> None:
    bench.allow_outside = True
    (block,) = fences(__file__, "attach.md")
    desired = bench.load(block.text.replace("congestion.bpf.o", str(bpf_object("congestion")))).desired
    assert [pin for pin, _ in desired.attachments] == ["steady"]


def test_init_says_how_it_is_attached(bpf_object: Compile) -> None:
    text = skeleton(objects.inspect(bpf_object("congestion")), str(bpf_object("congestion")))
    assert "    #   steady: {attach: auto}  # attach tcp_congestion_ops, on Linux 6.4 or later" in text.splitlines()


def test_an_upgrade_gives_the_map_the_new_programs(bench: Bench, bpf_object: Compile) -> None:
    bench.allow_outside = True
    bench.settle(spec(bpf_object("congestion"), attach=""))
    before = map_id(bench)
    bench.settle(spec(bpf_object("congestion_v2"), attach=""))
    assert map_id(bench) != before


def test_its_programs_are_shown_as_parts_of_the_map(bench: Bench, bpf_object: Compile) -> None:
    bench.allow_outside = True
    alone, attached = spec(bpf_object("congestion"), attach=""), spec(bpf_object("congestion"))
    places = {alone: "not attached", attached: "part of map steady"}
    for text, place in places.items():
        planned = {node.address: node.text for node in plan_report.report(bench.plan(text)).nodes}
        assert planned["cc.begin"] == f"cc, {place}"
    bench.apply(alone)
    for text, place in places.items():
        project = bench.load(text)
        shown = {node.address: node.text for node in project.live().nodes}
        assert shown["begin"].endswith(f", {place}")
        facts = {fact.label: fact.text for fact in project.explain("cc.begin")}
        assert facts["wanted"].endswith(f", {place}")
        assert facts["live"].endswith(f", {place}")
        for graph in (project.graph(), project.graph(live=True)):
            assert place in next(box for box in graph.boxes if "begin" in box.lines).lines
    assert shown["steady"].endswith(", not attached"), "the attached map"


def test_a_connection_uses_it_through_an_upgrade_and_no_longer_after(tcp: Bench, bpf_object: Compile) -> None:
    plan, _ = tcp.settle(spec(bpf_object("congestion")))
    assert [change.action for change in plan.links] == [Action.CREATE]
    assert NAME.decode() in available()
    connect()
    first, second = counts(tcp)
    assert first > 1
    assert second == 0
    made = link(tcp)
    assert made.type == LinkType.STRUCT_OPS
    plan, _ = tcp.settle(spec(bpf_object("congestion_v2")))
    assert [(change.action, change.reason) for change in plan.links] == [(Action.UPDATE, "its map is new")]
    assert link(tcp).id == made.id, "the same link"
    assert link(tcp).map_id != made.map_id, "with the new map"
    connect()
    assert counts(tcp)[0] == first, "the old programs ran no more"
    assert counts(tcp)[1] > 1
    tcp.settle(spec(bpf_object("congestion_v2"), attach=""))
    assert NAME.decode() not in available()
    with pytest.raises(FileNotFoundError):
        connect()
    tcp.settle(spec(bpf_object("congestion")))
    tcp.destroy(spec(bpf_object("congestion")))
    assert not tcp.root.exists()
    assert NAME.decode() not in available()


@pytest.mark.parametrize("version", ["_v2", "_renamed"])
def test_a_failed_upgrade_leaves_the_old_one(
    version: str, tcp: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    tcp.settle(spec(bpf_object("congestion")))
    before = link(tcp)
    failing(monkeypatch)
    with pytest.raises(ApplyError) as failed:
        tcp.apply(spec(bpf_object(f"congestion{version}")))
    assert failed.value.status == "rolled_back"
    monkeypatch.undo()
    assert link(tcp).map_id == before.map_id
    assert (link(tcp).id == before.id) is (version == "_v2"), "only what has another name is detached"
    connect()
    assert counts(tcp)[0] > 1
    assert counts(tcp)[1] == 0
    tcp.settle(spec(bpf_object("congestion")))


def test_a_map_with_another_name_keeps_its_link(tcp: Bench, bpf_object: Compile) -> None:
    tcp.settle(spec(bpf_object("congestion")))
    made, source = link(tcp), tcp.folder / "calm.bpf.c"
    source.write_text(f'#define VERSION 2\n#define steady calm\n#include "{SOURCES / "congestion.bpf.c"}"\n')
    text = spec(compile_bpf(source), ", maps: {calm: {attach: auto}}")
    plan, _ = tcp.settle(f"{text}moved: [{{from: steady, to: calm}}]\n")
    assert [(change.pin, change.action, change.reason) for change in plan.links] == [
        ("_link_calm", Action.UPDATE, "its map is new")
    ]
    assert not {"steady", "_link_steady"} & {path.name for path in tcp.root.iterdir()}
    with bpffs.open_pin(tcp.root / "_link_calm", LinkFd) as fd:
        assert links.info(fd).id == made.id
    connect()
    assert counts(tcp)[1] > 1
    assert tcp.apply(text)[0].steps == (), "the entry can go once the move is done"


def test_another_name_is_another_congestion_control(tcp: Bench, bpf_object: Compile) -> None:
    tcp.settle(spec(bpf_object("congestion")))
    plan, _ = tcp.settle(spec(bpf_object("congestion_renamed")))
    assert [(change.action, change.reason) for change in plan.links] == [
        (Action.REPLACE, "name prov_steady -> prov_renamed")
    ]
    assert "prov_renamed" in available()
    assert NAME.decode() not in available()
    connect(b"prov_renamed")
    assert counts(tcp)[1] > 1


def test_drift(tcp: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("congestion"))
    tcp.settle(text)
    with bpffs.open_pin(tcp.root / "_link_steady", LinkFd) as fd:
        links.detach(fd)
        if links.info(fd).map_id:  # before 6.11, such a link is detached with its last holder only
            bpffs.unpin(tcp.root / "_link_steady")
    assert [change.action for change in tcp.plan(text).links] in ([Action.REPLACE], [Action.CREATE])
    tcp.settle(text)
    connect()
    other = {"steady": ATTACHED_HERE}
    with (
        objects.load(bpf_object("congestion_v2"), settings=other) as loaded,
        bpffs.open_pin(tcp.root / "_link_steady", LinkFd) as fd,
    ):
        links.update(fd, loaded.maps["steady"])
        links.update(fd, loaded.maps["steady"])  # what it has already: not asked of the kernel
    assert [(change.action, change.reason) for change in tcp.plan(text).links] == [
        (Action.UPDATE, "it runs another map than the pinned one")
    ]
    before = counts(tcp)[0]
    tcp.settle(text)
    connect()
    assert counts(tcp)[0] > before


def test_a_name_that_is_taken(tcp: Bench, bpf_object: Compile) -> None:
    with (
        objects.load(bpf_object("congestion_v2"), settings={"steady": ATTACHED_HERE}) as loaded,
        links.create_of_map(loaded.maps["steady"], CreateLink(AttachType.STRUCT_OPS)),
        pytest.raises(KernelError) as refused,
    ):
        tcp.apply(spec(bpf_object("congestion")))
    assert [problem.id for problem in refused.value.problems] == ["hook-occupied"]
    assert not tcp.root.exists()


@pytest.fixture
def injector(tmp_path: Path) -> Injector:
    return Injector(tmp_path)


@pytest.mark.parametrize("what", [KILL_BEFORE, KILL_AFTER, errno.ENOMEM])
def test_an_upgrade_that_is_hurt_anywhere_from_the_switch_on(
    what: int, tcp: Bench, bpf_object: Compile, injector: Injector
) -> None:
    first, second = spec(bpf_object("congestion")), spec(bpf_object("congestion_v2"))
    options = ("--yes", "--allow-outside", "--pin-root", tcp.root)

    def hurt(at: int) -> Ran:
        tcp.settle(first)
        file = tcp.folder / "upgrade.yaml"
        file.write_text(HEAD + second)
        return injector.run("apply", file, *options, under=tcp.root, at=at, what=what if at else 0)

    calls = hurt(0).calls
    switched = calls.index(f"bpf {Command.LINK_UPDATE:d}") + 1
    points = [at for at in range(switched, len(calls) + 1) if calls[at - 1] not in READING][:3]
    for at in points:
        ran = hurt(at)
        assert ran.status, f"{at}: {ran.out}"
        if not ran.killed:
            assert link(tcp).map_id == map_id(tcp), f"{words(calls[at - 1])}: {ran.err}"
        tcp.settle(second)
        assert link(tcp).map_id == map_id(tcp), words(calls[at - 1])
    connect()
    assert counts(tcp)[1] > 1
