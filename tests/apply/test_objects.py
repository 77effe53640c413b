"""Objects: loaded with a dummy inner map, filled, attached; upgraded without a packet meeting no program."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, links
from provisioner.kernel.reasons import KernelError
from provisioner.model.errors import HostError, ProvisionerError, RefusedError
from provisioner.planning.changes import Action
from provisioner.planning.hazards import Overrides
from tests import ledger, recorder
from tests.apply.conftest import Bench
from tests.conftest import Veth
from tests.problems import raises

Compile = Callable[[str], Path]

XDP_DROP, XDP_PASS = 1, 2
VIP, BACKEND = "198.51.100.1", "192.0.2.1"


def spec(file: Path, *, tenant: int = 1, port: int = 8001, attach: str = "", inner_maps: str = "") -> str:
    return f"""
types:
  verdict: {{enum: {{deny: 0, allow: 1}}, base: u8}}
  vip: {{struct: {{ip: ipv4, port: be16, proto: u8}}}}
  backend: {{struct: {{ip: ipv4, port: be16, weight: u16}}}}
inner_templates:
  acl: {{type: lpm_trie, key: cidr4, value: verdict, max_entries: 1024}}
  backends: {{type: array, key: u32, value: backend, max_entries: 64, flags: [inner_map]}}
objects:
  router:
    file: {file}
    programs: {{xdp_router: {{pin: xdp_router, {attach}}}}}
maps:
  active: {{object: router, key: u32, value: u32, entries: {{0: {tenant}}}, after: [tenants]}}
  vip_slots:
    object: router
    key: vip
    value: u32
    after: [vips]
    entries: [{{key: {{ip: {VIP}, port: 53, proto: 17}}, value: 0}}]
outer_maps:
  tenants:
    object: router
    key: u32
    inner: acl
    inner_maps:
      1: {{entries: {{10.0.0.0/8: deny}}}}
      2: {{entries: {{10.0.0.0/8: allow, 172.16.0.0/12: deny}}}}
      {inner_maps}
  vips:
    object: router
    inner: backends
    inner_maps: {{0: {{entries: {{0: {{ip: {BACKEND}, port: {port}, weight: 1}}}}}}}}
"""


def packet(source: str, target: str = VIP, port: int = 53) -> bytes:
    """Ethernet, IPv4 and UDP, without checksums: the program is asked directly, and no stack looks at it."""
    ethernet = bytes(12) + b"\x08\x00"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    return ethernet + ip + struct.pack("!HHHH", 40000, port, 8, 0)


class Router:
    """The pinned program, run on packets."""

    def __init__(self, bench: Bench) -> None:
        self.pin = bench.root / "xdp_router"

    def verdict(self, source: str) -> int:
        with links.open_program_pin(self.pin) as program:
            return links.run(program, packet(source))[0]

    def destination(self, source: str) -> tuple[str, int]:
        with links.open_program_pin(self.pin) as program:
            seen = links.run(program, packet(source))[1]
        return socket.inet_ntoa(seen[30:34]), int.from_bytes(seen[36:38], "big")


@pytest.fixture(autouse=True)
def anywhere(bench: Bench) -> None:
    """Compiled objects are outside the project's folder."""
    bench.allow_outside = True


def test_the_program_obeys_the_maps(bench: Bench, bpf_object: Compile) -> None:
    router = Router(bench)
    plan, _ = bench.settle(spec(bpf_object("router")))
    assert plan.objects["router"].action is Action.CREATE
    assert router.verdict("10.1.2.3") == XDP_DROP
    assert router.verdict("172.16.0.1") == XDP_PASS
    assert router.destination("172.16.0.1") == (BACKEND, 8001)
    bench.settle(spec(bpf_object("router"), tenant=2, port=8002))
    assert router.verdict("10.1.2.3") == XDP_PASS
    assert router.verdict("172.16.0.1") == XDP_DROP
    assert router.destination("10.1.2.3") == (BACKEND, 8002)
    bench.destroy(spec(bpf_object("router")))
    assert not bench.root.exists()


def test_every_map_of_the_object_is_pinned_and_no_dummy_is_left(bench: Bench, bpf_object: Compile) -> None:
    before = recorder.count()
    bench.apply(spec(bpf_object("router")))
    pinned = {path.name for path in bench.root.iterdir() if path.is_file()}
    assert pinned == {"_meta", "active", "tenants", "vip_slots", "vips", "stats", "xdp_router"}
    # _meta, the five maps, and the three inner maps.
    assert len(ledger.new_maps(before, 9)) == 9


def test_an_upgrade_carries_every_map_over(bench: Bench, bpf_object: Compile) -> None:
    router = Router(bench)
    bench.apply(spec(bpf_object("router")))
    router.verdict("10.1.2.3")
    before = {name: bench.entries(name) for name in ("stats", "tenants", "vips")}
    plan, _ = bench.settle(spec(bpf_object("router_v2")))
    change = plan.objects["router"]
    assert change.action is Action.UPDATE
    assert change.reason == "the object file changed"
    assert change.carried == ("active", "stats", "tenants", "vip_slots", "vips")
    assert {name: bench.entries(name) for name in before} == before
    assert router.verdict("10.1.2.3") == XDP_DROP
    counted = bench.entries("stats")[struct.pack("<I", 3)]
    assert sum(struct.unpack(f"<{len(counted) // 8}Q", counted)) == len(packet("10.1.2.3")), (
        "only the second counts bytes"
    )


def test_a_map_that_cannot_be_carried_over_is_named_and_asked_for(bench: Bench, bpf_object: Compile) -> None:
    bench.apply(spec(bpf_object("router")))
    bench.overrides = Overrides()
    plan = bench.plan(spec(bpf_object("router_wide")))
    assert {hazard.address for hazard in plan.hazards if hazard.id == "map-not-carried-over"} == {"vip_slots"}
    with raises(RefusedError, "recreate"):
        bench.apply(spec(bpf_object("router_wide")))
    bench.overrides = Overrides(allow_recreate=True)
    stats = bench.entries("stats")
    bench.settle(spec(bpf_object("router_wide")))
    assert bench.entries("stats") == stats
    router = Router(bench)
    assert router.verdict("10.1.2.3") == XDP_DROP
    assert router.destination("172.16.0.1") == (BACKEND, 8001)


def test_an_object_that_does_not_load_changes_nothing(bench: Bench, bpf_object: Compile) -> None:
    with raises(KernelError, "program-rejected") as first:
        bench.apply(spec(bpf_object("broken")))
    assert "invalid mem access" in first.value.log
    assert not bench.root.exists()
    bench.apply(spec(bpf_object("router")))
    before = {path.name for path in bench.root.iterdir()}
    with raises(ProvisionerError, "program-rejected"):
        bench.apply(spec(bpf_object("broken"), tenant=2))
    assert {path.name for path in bench.root.iterdir()} == before
    assert Router(bench).verdict("10.1.2.3") == XDP_DROP
    bench.settle(spec(bpf_object("router")))


def xdp_of(interface: str) -> int:
    """The id of the XDP program on an interface, 0 without one."""
    text = subprocess.run(["ip", "-d", "link", "show", interface], check=True, capture_output=True, text=True).stdout
    return int(text.partition("prog/xdp id ")[2].split()[0]) if "prog/xdp id" in text else 0


def attached(veth: Veth, if_missing: str = "fail", mode: str = "native") -> str:
    return f"attach: {{xdp: {{interface: {veth.name}, mode: {mode}, if_missing: {if_missing}}}}}"


def test_the_link_is_switched_to_a_new_program_in_one_step(bench: Bench, bpf_object: Compile, veth: Veth) -> None:
    bench.settle(spec(bpf_object("router"), attach=attached(veth)))
    first = xdp_of(veth.name)
    assert first
    seen: set[int] = set()
    stop = threading.Event()

    def watch() -> None:
        with links.open_link_pin(bench.root / "_link_xdp_router") as link:
            while not stop.is_set():
                seen.add(links.info(link).prog_id)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        bench.settle(spec(bpf_object("router_v2"), attach=attached(veth)))
    finally:
        stop.set()
        watcher.join()
    assert xdp_of(veth.name) not in (0, first)
    assert seen == {first, xdp_of(veth.name)}, "the link runs the one program or the other, and never none"
    bench.destroy(spec(bpf_object("router_v2"), attach=attached(veth)))
    assert xdp_of(veth.name) == 0


def test_an_attachment_that_the_spec_no_longer_names_goes(bench: Bench, bpf_object: Compile, veth: Veth) -> None:
    bench.apply(spec(bpf_object("router"), attach=attached(veth)))
    bench.settle(spec(bpf_object("router")))
    assert xdp_of(veth.name) == 0


def test_another_mode_attaches_again(bench: Bench, bpf_object: Compile, veth: Veth) -> None:
    bench.apply(spec(bpf_object("router"), attach=attached(veth)))
    plan, _ = bench.settle(spec(bpf_object("router"), attach=attached(veth, mode="generic")))
    assert [link.reason for link in plan.links] == ["mode native -> generic"]
    assert xdp_of(veth.name)


def test_an_interface_that_was_made_again_is_attached_again(bench: Bench, bpf_object: Compile, veth: Veth) -> None:
    bench.apply(spec(bpf_object("router"), attach=attached(veth)))
    subprocess.run(["ip", "link", "del", veth.name], check=True)
    subprocess.run(["ip", "link", "add", veth.name, "type", "veth", "peer", "name", veth.peer], check=True)
    bench.settle(spec(bpf_object("router"), attach=attached(veth)))
    assert xdp_of(veth.name)


def test_a_missing_interface_is_an_error_or_waited_for(bench: Bench, bpf_object: Compile) -> None:
    nowhere = Veth("veth-none", "veth-other")
    with raises(HostError, "attach-target-missing"):
        bench.apply(spec(bpf_object("router"), attach=attached(nowhere)))
    assert not bench.root.exists()
    bench.settle(spec(bpf_object("router"), attach=attached(nowhere, if_missing="defer")))


def test_maps_are_explained_where_an_interface_is_missing(bench: Bench, bpf_object: Compile) -> None:
    project = bench.load(spec(bpf_object("router"), attach=attached(Veth("veth-none", "veth-other"))))
    (name, *_) = project.desired.maps
    assert {fact.label for fact in project.explain(name)} >= {"wanted by", "live", "to do"}
    with raises(HostError, "attach-target-missing"):
        project.explain("xdp_router")


def test_packets_are_dropped_and_passed_as_the_maps_say(bench: Bench, bpf_object: Compile, veth: Veth) -> None:
    """Real packets: sent from a namespace of their own on the peer, seen or not seen on this side."""
    namespace = "provisioner-test"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        subprocess.run(["ip", "link", "set", veth.peer, "netns", namespace], check=True)
        inside = ["ip", "-n", namespace]
        subprocess.run([*inside, "link", "set", veth.peer, "up"], check=True)
        subprocess.run(["ip", "addr", "add", "10.99.0.1/16", "dev", veth.name], check=True)
        for address in ("10.99.0.2/16", "10.99.1.2/16"):
            subprocess.run([*inside, "addr", "add", address, "dev", veth.peer], check=True)
        text = spec(
            bpf_object("router"), attach=attached(veth), tenant=3, inner_maps="3: {entries: {10.99.1.0/24: deny}}"
        )
        bench.settle(text)
        assert ping(namespace, "10.99.0.2")
        assert not ping(namespace, "10.99.1.2")
        bench.settle(text.replace("10.99.1.0/24", "10.99.0.0/24"))
        assert not ping(namespace, "10.99.0.2")
        assert ping(namespace, "10.99.1.2")
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True)


def ping(namespace: str, source: str) -> bool:
    """Whether an answer comes to a ping from `source`; three tries, for the first may wait for ARP."""
    command = [
        "ip",
        "netns",
        "exec",
        namespace,
        "ping",
        "-n",
        "-c",
        "3",
        "-i",
        "0.2",
        "-W",
        "1",
        "-I",
        source,
        "10.99.0.1",
    ]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("pin", ["xdp_router", "tenants", "stats"])
def test_a_pin_that_another_process_took_away_is_made_again_from_the_same_file(
    bench: Bench, bpf_object: Compile, veth: Veth, pin: str
) -> None:
    bench.allow_outside = True
    text = spec(bpf_object("router"), attach=f"attach: {{xdp: {{interface: {veth.name}, mode: generic}}}}")
    bench.settle(text)
    bpffs.unpin(bench.root / pin)
    bench.settle(text)
