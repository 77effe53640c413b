"""The table of docs/privileges.md, row by row, with capabilities dropped for real."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import provisioner
from provisioner.model.errors import HostError
from provisioner.planning.hazards import Overrides
from provisioner.planning.privileges import refuse_unprivileged
from tests import command, features, pages
from tests.cli.conftest import Project
from tests.cli.support import SPEC
from tests.conftest import Veth
from tests.features import others_may_ask, sys_admin_makes_network_maps
from tests.privileges import beginning, command_without, started_without, without
from tests.problems import raises
from tests.watch.conftest import until

TABLE = Path(__file__).parents[2] / "docs/privileges.md"
SETS = {
    "none": "",
    "none, before 5.19": "",
    "CAP_BPF": "bpf",
    "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON": "bpf,net_admin,perfmon",
    "CAP_SYS_ADMIN": "sys_admin",
    "CAP_SYS_ADMIN, before 6.9": "sys_admin",
}
PLAIN = """\
version: 1
name: edge
maps:
  active: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}}
  routes: {type: lpm_trie, key: cidr4, value: u32, max_entries: 16, flags: [no_prealloc], entries: {10.0.0.0/8: 1}}
"""
DEVICES = """\
version: 1
name: edge
maps:
  devices: {type: devmap, key: u32, value: u32, max_entries: 4, contents: ignore}
"""
(GUIDE,) = pages.fences(__file__, "privileges.md")
PINNED = SPEC.replace("name: edge\n", f"name: edge\n{GUIDE.text}")
OBJECTS = """\
version: 1
name: edge
pin_inner_maps: true
types:
  backend: {struct: {ip: ipv4, port: be16, weight: u16}}
inner_templates:
  backends: {type: array, key: u32, value: backend, max_entries: 64, flags: [inner_map]}
outer_maps:
  vips: {object: router, inner: backends, inner_maps: {0: {entries: {0: {ip: 192.0.2.1, port: 1, weight: 1}}}}}
objects:
  router: {file: OBJECT, programs: {xdp_router: {pin: xdp_router}}}
"""
ATTACHMENTS = OBJECTS.replace("xdp_router}", "xdp_router, attach: {xdp: {interface: veth-a, mode: generic}}}", 1)
HOOKS = """\
version: 1
name: edge
objects:
  hooks: {file: HOOKS, programs: {PROGRAM}}
"""
TC = HOOKS.replace("PROGRAM", "on_tcx: {attach: {tc: {interface: veth-a, direction: ingress}}}")
AUTO = HOOKS.replace("PROGRAM", "on_raw: {attach: auto}")
STRUCT_OPS = """\
version: 1
name: edge
objects:
  cc: {file: CONGESTION, programs: {begin: {}, threshold: {}, grow: {}, undo: {}}, maps: {steady: {attach: auto}}}
"""
REJECTED = """\
version: 1
name: edge
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 8}
outer_maps:
  tenants: {object: rejected, key: u32, inner: rules, inner_maps: {}}
objects:
  rejected: {file: OBJECT, programs: {wild: {pin: wild}}}
"""
SPECS = {"plain maps": PLAIN, "device maps": DEVICES, "outer maps": SPEC}
MORE = {
    "pinned outer maps": PINNED,
    "objects": OBJECTS,
    "attachments": ATTACHMENTS,
    "tc attachments": TC,
    "auto attachments": AUTO,
    "struct_ops attachments": STRUCT_OPS,
}


def rows() -> list[tuple[str, str, list[str]]]:
    """What is done, to what, and for each set of capabilities whether it works."""
    cells = []
    for line in TABLE.read_text().splitlines():
        match = re.fullmatch(r"\| `(\w+)`(?: of)? ([\w ]+?) \|(.*)\|", line)
        if match:
            cells.append((match[1], match[2], [cell.strip() for cell in match[3].split("|")]))
    return cells


def test_the_table_has_all_rows() -> None:
    assert [(verb, what) for verb, what, _ in rows()] == [
        *((verb, what) for verb in ("validate", "plan", "show", "apply", "destroy") for what in SPECS),
        *((verb, what) for what in MORE for verb in ("plan", "show", "apply", "destroy")),
    ]


@pytest.mark.parametrize(("verb", "what", "works"), rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_works_with_which_capabilities(
    project: Project, veth: Veth, bpf_object: Callable[[str], Path], verb: str, what: str, works: list[str]
) -> None:
    """Where it does not, it ends with 5, says which capability it wants, and nothing has changed."""
    if what == "struct_ops attachments":
        features.need_struct_ops_links()
        features.need_sound_kernel()
    assert veth.name == "veth-a"
    text = (SPECS | MORE)[what]
    for word, name in (("OBJECT", "router"), ("HOOKS", "hooks"), ("CONGESTION", "congestion")):
        text = text.replace(word, str(bpf_object(name)))
    project.spec.write_text(text)
    ours = provisioner.load([project.spec], pin_root=str(project.root), allow_outside=True)
    options = ["--allow-outside", *(["--yes"] if verb in ("apply", "destroy") else [])]
    others = {
        "none, before 5.19" if others_may_ask() else "none",
        "CAP_SYS_ADMIN, before 6.9" if sys_admin_makes_network_maps() else "CAP_SYS_ADMIN",
    }
    for said, (name, held) in zip(works, SETS.items(), strict=True):
        if name in others:
            continue
        if verb == "apply":
            ours.destroy(Overrides.force())
        else:
            ours.apply()
        steps = [step.describe() for step in ours.plan().steps]
        done = without(held, verb, project.spec, "--pin-root", project.root, *options)
        assert done.status == (0 if said == "yes" else 5), (held, done.err)
        if said != "yes":
            assert f"CAP_{said}" in done.err
            assert [step.describe() for step in ours.plan().steps] == steps, "nothing was changed"
    ours.destroy(Overrides.force())


@pytest.mark.parametrize("held", sorted(set(SETS.values())))
def test_the_fork_server_leaves_the_sets_that_an_exec_leaves(held: str) -> None:
    """Of both processes, which wait for a spec, the kernel says the same."""
    ours = _sets(os.getpid())
    given, kept = os.pipe()
    with open(os.devnull, "r+b") as nothing:
        standard = (given, nothing.fileno(), nothing.fileno())
        forked = command.start(["validate", "-"], standard, os.environ, beginning=beginning(held))
        alone = subprocess.Popen(command_without(held, "validate", "-"), stdin=given, stdout=nothing, stderr=nothing)
    os.close(given)
    for pid in (forked.pid, alone.pid):
        until(lambda pid=pid: _sets(pid)["CapEff"] != ours["CapEff"] or None, lambda: "it keeps all")  # type: ignore[misc]
    assert _sets(forked.pid) == _sets(alone.pid)
    os.close(kept)
    assert forked.wait() == alone.wait() == 1, "nothing is no spec"


def _sets(pid: int) -> dict[str, str]:
    """The sets of capabilities of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value for name, _, value in (line.partition(":\t") for line in lines) if name.startswith("Cap")}


def test_all_that_is_missing_is_said_at_once(project: Project) -> None:
    done = started_without("", "apply", project.spec, "--pin-root", project.root, "--yes")
    assert done.status == 5
    if not others_may_ask():  # then it is refused before there is a plan
        assert "CAP_BPF" in done.err
        return
    assert "CAP_BPF is needed to create maps" in done.err
    assert "tenants: error[missing-capability]: CAP_SYS_ADMIN is needed to open its inner maps by their ids" in done.err
    assert not project.root.exists()


def test_a_program_that_the_verifier_refuses_without_cap_perfmon(
    project: Project, bpf_object: Callable[[str], Path]
) -> None:
    """Some kernels do, of programs that others take: then it is said, and nothing is changed."""
    project.spec.write_text(OBJECTS.replace("OBJECT", str(bpf_object("router"))))
    words: list[str | Path] = ["apply", project.spec, "--pin-root", project.root, "--yes", "--allow-outside"]
    done = started_without("bpf,net_admin", *words)
    if done.status:
        assert done.status == 5
        assert "BPF_PROG_LOAD: verifier rejected" in done.err
        assert "give it that, or run it as root" in done.err
        assert not project.root.exists()
        assert without("bpf,net_admin,perfmon", *words).status == 0


@pytest.mark.parametrize(
    ("held", "hint"),
    [
        ("bpf,net_admin", "the verifier accepts more with CAP_PERFMON"),
        ("bpf,net_admin,perfmon", "the end of its log"),
    ],
)
def test_a_program_that_no_verifier_takes(
    project: Project, bpf_object: Callable[[str], Path], held: str, hint: str
) -> None:
    """CAP_PERFMON is asked for only of who lacks it."""
    project.spec.write_text(REJECTED.replace("OBJECT", str(bpf_object("rejected"))))
    done = started_without(held, "apply", project.spec, "--pin-root", project.root, "--yes", "--allow-outside")
    assert done.status == 5
    assert f"hint: {hint}" in done.err
    assert not project.root.exists()


def test_device_maps_where_cap_sys_admin_is_not_enough(project: Project) -> None:
    """As before 6.9, where `may_create` says so."""
    project.spec.write_text(DEVICES)
    plan = provisioner.load([project.spec], pin_root=str(project.root)).plan()
    held = frozenset({"CAP_SYS_ADMIN"})
    with raises(HostError, "missing-capability") as caught:
        refuse_unprivileged(plan, held, lambda _: False)
    assert "CAP_NET_ADMIN" in str(caught.value) and "devmap" in str(caught.value)
    refuse_unprivileged(plan, held, lambda _: True)
