"""Programs with several attachments: each has a link and a pin of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, links
from provisioner.kernel.fd import LinkFd
from provisioner.kernel.links import LinkInfo
from provisioner.model.errors import ApplyError, HostError, InputError
from provisioner.model.pins import is_link, link_pin, owner_of
from provisioner.observed import metamap
from provisioner.planning.changes import Action
from tests import features
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.attach.support import Compile, Place, counted, failing, own_cgroup, ping, udp
from tests.conftest import Veth

A, B = (f"{{xdp: {{interface: {name}, mode: generic}}}}" for name in ("veth-a", "veth-b"))
LATE = "{xdp: {interface: veth-late, mode: generic, if_missing: defer}}"
XDP = Place("on_xdp", "", 0, ping, True)
FIRST = "_link_on_xdp"
SECOND = link_pin("on_xdp", "xdp on veth-b")


@pytest.fixture
def hooks(bench: Bench, veth: Veth) -> Bench:
    assert veth == Veth("veth-a", "veth-b")
    for name in ("veth-a", "veth-b"):  # no packets but those of the test
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    bench.allow_outside = True
    return bench


@pytest.fixture
def late() -> Iterator[str]:
    """Makes an interface appear, which goes after the test."""
    yield "ip link add veth-late type veth peer name veth-more"
    subprocess.run(["ip", "link", "del", "veth-late"], check=False, capture_output=True)


def spec(file: Path, *places: str, program: str = "on_xdp", pin: str = "") -> str:
    attach = f"attach: [{', '.join(places)}]" if len(places) > 1 else f"attach: {places[0]}" if places else ""
    fields = ", ".join(filter(None, (f"pin: {pin}" if pin else "", attach)))
    return f"objects: {{hooks: {{file: {file}, programs: {{{program}: {{{fields}}}}}}}}}\n"


def live(hooks: Bench) -> dict[str, LinkInfo]:
    found = {}
    for pin in filter(is_link, bpffs.list_pins(hooks.root)):
        with bpffs.open_pin(hooks.root / pin, LinkFd) as fd:
            found[pin] = links.info(fd)
    return found


def actions(hooks: Bench, text: str) -> dict[str, Action]:
    return {change.pin: change.action for change in hooks.plan(text).links}


def detach(hooks: Bench, pin: str) -> None:
    with bpffs.open_pin(hooks.root / pin, LinkFd) as fd:
        links.detach(fd)


@pytest.mark.parametrize("kind", ["xdp", "tcx", "tc", "cgroup"])
def test_attach_upgrade_and_destroy(hooks: Bench, bpf_object: Compile, kind: str) -> None:
    with own_cgroup() as own:
        program, count, run, places = {
            "xdp": ("on_xdp", 0, ping, (A, B)),
            "tcx": ("on_tcx", 1, ping, [f"{{tcx: {{interface: veth-{name}, direction: ingress}}}}" for name in "ab"]),
            "tc": ("on_tcx", 1, ping, [f"{{tc: {{interface: veth-{name}, direction: ingress}}}}" for name in "ab"]),
            "cgroup": ("on_connect", 2, udp, ("{cgroup: {path: /}}", f"{{cgroup: {{path: {own}}}}}")),
        }[kind]
        if kind == "tcx":
            features.need_tcx()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        place = Place(program, "", count, run, True)
        hooks.settle(spec(bpf_object("hooks"), *places, program=program))
        assert counted(hooks, place) == 2, "once in each place"
        before = live(hooks) if kind != "tc" else {}
        plan, _ = hooks.settle(spec(bpf_object("hooks_v2"), *places, program=program))
        assert [change.action for change in plan.links] == [Action.UPDATE, Action.UPDATE]
        assert counted(hooks, place) == 2_000_000, "version 2 in each place"
        if kind != "tc":
            assert {pin: info.id for pin, info in live(hooks).items()} == {pin: info.id for pin, info in before.items()}
        hooks.destroy(spec(bpf_object("hooks_v2"), *places, program=program))
        assert not hooks.root.exists()


def test_pins_do_not_depend_on_the_order_and_the_first_one_stays(hooks: Bench, bpf_object: Compile) -> None:
    file = bpf_object("hooks")
    hooks.settle(spec(file, B))
    single = live(hooks)
    hooks.settle(spec(file, A, B))
    assert live(hooks)[FIRST] == single[FIRST], "the very same link"
    assert set(live(hooks)) == {FIRST, link_pin("on_xdp", "xdp on veth-a")}
    assert not hooks.plan(spec(file, B, A)).changed
    plan, _ = hooks.settle(spec(file, A))
    assert {change.pin: change.action for change in plan.links} == {
        link_pin("on_xdp", "xdp on veth-a"): Action.UNCHANGED,
        FIRST: Action.DELETE,
    }
    assert not hooks.plan(spec(file, A)).changed
    assert counted(hooks, XDP) == 1
    hooks.settle(spec(file, B, A))
    assert set(live(hooks)) == {FIRST, link_pin("on_xdp", "xdp on veth-a")}


def test_one_of_several_is_detached_by_hand(hooks: Bench, bpf_object: Compile) -> None:
    text = spec(bpf_object("hooks"), A, B)
    hooks.settle(text)
    before = live(hooks)
    for pin in (FIRST, SECOND):
        other = SECOND if pin == FIRST else FIRST
        detach(hooks, pin)
        assert actions(hooks, text) == {pin: Action.REPLACE, other: Action.UNCHANGED}
        hooks.settle(text)
        assert live(hooks)[pin].id != before[pin].id
    bpffs.unpin(hooks.root / FIRST)
    assert actions(hooks, text) == {FIRST: Action.CREATE, SECOND: Action.UNCHANGED}
    hooks.settle(text)
    assert counted(hooks, XDP) == 2


def test_an_apply_that_fails_brings_back_every_link(
    hooks: Bench, bpf_object: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks.settle(spec(bpf_object("hooks"), A, B))
    before = live(hooks)
    for text in (spec(bpf_object("hooks_v2"), A, B), spec(bpf_object("hooks"), B), spec(bpf_object("hooks"))):
        failing(monkeypatch, "record" if "v2" not in text else "commit")
        with pytest.raises(ApplyError) as failed:
            hooks.apply(text)
        assert failed.value.status == "rolled_back"
        monkeypatch.undo()
        assert {pin: info.prog_id for pin, info in live(hooks).items()} == {
            pin: info.prog_id for pin, info in before.items()
        }
        assert counted(hooks, XDP) == 2
    hooks.settle(spec(bpf_object("hooks"), A, B))


def test_each_waits_for_its_own_interface(hooks: Bench, bpf_object: Compile, late: str) -> None:
    text = spec(bpf_object("hooks"), LATE, A)
    plan, _ = hooks.apply(text)
    assert [(hazard.id, hazard.address) for hazard in plan.hazards] == [("attachment-deferred", "hooks.on_xdp")]
    assert set(live(hooks)) == {link_pin("on_xdp", "xdp on veth-a")}
    assert counted(hooks, XDP) == 1, "the other interface does not wait"
    subprocess.run(late.split(), check=True)
    hooks.settle(text)
    first = live(hooks)[FIRST]
    subprocess.run(["ip", "link", "del", "veth-late"], check=True)
    assert actions(hooks, text) == {FIRST: Action.KEEP, link_pin("on_xdp", "xdp on veth-a"): Action.UNCHANGED}
    with pytest.raises(HostError) as missing:
        hooks.plan(text.replace(", if_missing: defer", ""))
    assert [(problem.id, problem.address) for problem in missing.value.problems] == [
        ("attach-target-missing", "hooks.on_xdp")
    ]
    subprocess.run(late.split(), check=True)
    assert actions(hooks, text)[FIRST] == Action.REPLACE
    hooks.settle(text)
    assert live(hooks)[FIRST].id != first.id


def test_all_links_follow_a_renamed_program(hooks: Bench, bpf_object: Compile) -> None:
    file = bpf_object("hooks")
    hooks.settle(spec(file, A, B))
    before = live(hooks)
    moved = "moved: [{from: on_xdp, to: edge_filter}]\n"
    hooks.settle(spec(file, B, A, pin="edge_filter") + moved)
    after = live(hooks)
    assert {owner_of(pin) for pin in after} == {"edge_filter"}
    assert {info.id for info in after.values()} == {info.id for info in before.values()}
    recorded = metamap.read(hooks.root / "_meta").attachments
    assert {pin: each["interface"] for pin, each in recorded.items()} == {
        "_link_edge_filter": "veth-a",
        link_pin("edge_filter", "xdp on veth-b"): "veth-b",
    }


def test_an_order_at_each_hook(hooks: Bench, bpf_object: Compile) -> None:
    """`after:` names the attachment of the other program at the same hook, whatever the pin of that is."""
    features.need_tcx()

    def text(file: Path) -> str:
        each = "{{tcx: {{interface: veth-{}, direction: ingress{}}}}}"
        first = ", ".join(each.format(name, "") for name in "ab")
        second = ", ".join(each.format(name, ", before: on_tcx") for name in "ba")
        programs = f"on_tcx: {{attach: [{first}]}}, on_tcx_2: {{attach: [{second}]}}"
        return f"objects: {{hooks: {{file: {file}, programs: {{{programs}}}}}}}\n"

    for version in ("hooks", "hooks_v2"):
        hooks.settle(text(bpf_object(version)))
        found = live(hooks)
        for index in {info.target for info in found.values()}:
            at_hook = {info.prog_id: owner_of(pin) for pin, info in found.items() if info.target == index}
            order = [at_hook[number] for number in links.order(index, next(iter(found.values())).attach_type)]
            assert order == ["on_tcx_2", "on_tcx"]


@pytest.mark.parametrize(
    ("places", "ids"),
    [
        ((A, A), ["hook-occupied"]),
        (("{tcx: {interface: veth-a, direction: ingress}}",) * 2, ["duplicate-key"]),
        ((A, "auto"), ["wrong-type"]),
        ((A, "{xdp: {interface: veth-a}, tcx: {}}"), ["invalid-value"]),
    ],
)
def test_lists_that_are_wrong(hooks: Bench, bpf_object: Compile, places: tuple[str, ...], ids: list[str]) -> None:
    with pytest.raises(InputError) as wrong:
        hooks.load(spec(bpf_object("hooks"), *places, program="on_tcx" if "tcx" in places[0] else "on_xdp"))
    assert {problem.id for problem in wrong.value.problems} >= set(ids)
    assert all(problem.where is not None and problem.where.line for problem in wrong.value.problems)
