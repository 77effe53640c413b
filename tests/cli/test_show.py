"""`show`: what differs from the spec, who holds a map, and one address alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import provisioner
from provisioner.cli.arguments import with_address
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.cli.conftest import Project
from tests.cli.support import run
from tests.conftest import Veth


def edited(project: Project) -> Project:
    """Live as the spec was; the spec wants other entries, another slot, and one less."""
    project.run("apply", "--yes")
    project.edit("{1: 10, 2: 20}", "{1: 11, 3: 30}")
    project.edit("2: {entries: {7: 70}}", "9: {entries: {8: 80}}")
    return project


def tree(project: Project, *words: str) -> list[str]:
    done = project.run("show", *words)
    assert (done.status, done.err) == (0, "")
    _, nodes, *_ = done.out.split("\n\n")
    return [line[:4] + " ".join(line[4:].split(",")[0].split()) for line in nodes.splitlines()]


def test_differences_are_marked(project: Project) -> None:
    assert tree(edited(project)) == [
        "  ~ tenants hash_of_maps u32 -> hash rules",
        "    ~ [1] 2 entries",
        "    ~ 1 10; the spec has 11",
        "    - 2 20; not in the spec",
        "    + 3 not live; the spec has 30",
        "    - [2] 1 entry",
        "    7 70",
        "    + [9] not live: 1 entry in the spec",
        "  active array u32 -> u32",
        "    0 1",
    ]
    *_, totals, revision = project.run("show").out.splitlines()
    assert totals.startswith("1 outer map, 2 inner maps, 1 map, 4 entries, ")
    assert revision == f"Revision {provisioner.load(project.spec).desired.revision[:19]}: the live state differs."
    assert project.run("apply", "--yes").status == 0
    shown = project.run("show", "--format", "json").document
    assert (shown["matches"], shown["revision"]) == (True, provisioner.load(project.spec).desired.revision)


def test_one_address_alone(project: Project) -> None:
    edited(project)
    assert tree(project, "tenants[2]")[1:] == ["    - [2] 1 entry", "    7 70"]
    assert tree(project, "tenants[1][2]")[1:] == ["    ~ [1] 2 entries", "    - 2 20; not in the spec"]
    assert tree(project, "active[0]") == ["  active array u32 -> u32", "    0 1"]
    assert tree(project, "tenants[9]")[1:] == ["    + [9] not live: 1 entry in the spec"]
    for address in ("tenants[77]", "tenants[1][77]"):
        none = project.run("show", address)
        assert (none.status, none.out) == (1, "")
        assert f"{address}: error[nothing-at-address]: " in none.err
    assert "the spec has no map `tenant`" in project.run("show", "tenant[1]").err


def test_one_address_before_the_first_apply(project: Project) -> None:
    assert tree(project, "tenants[2]")[1:] == ["    + [2] not live: 1 entry in the spec"]
    assert tree(project, "tenants[2][7]")[2:] == ["    + 7 not live; the spec has 70"]
    assert tree(project, "active[0]")[1:] == ["    + 0 not live; the spec has 1"]
    for address in ("tenants[77]", "tenants[2][77]", "active[7]"):
        none = project.run("show", address)
        assert (none.status, none.out) == (1, "")
        id_ = "index-out-of-range" if address == "active[7]" else "nothing-at-address"
        assert f"{address}: error[{id_}]: " in none.err


ARRAYS = """\
version: 1
name: edge
inner_templates: {pool: {type: array, key: u32, value: u32, max_entries: 8, flags: [inner_map]}}
maps: {active: {type: array, key: u32, value: u32, max_entries: 4, entries: {0: 1}}}
outer_maps:
  pools:
    type: array_of_maps
    key: u32
    max_entries: 4
    inner: pool
    inner_maps: {0: {entries: {1: 5}}, 1: {max_entries: 16}}
"""


@pytest.mark.parametrize("verb", ["show", "explain"])
def test_an_index_that_an_array_has_not_is_an_error(project: Project, verb: str) -> None:
    project.spec.write_text(ARRAYS)
    for is_live in (False, True):
        for address in ("pools[0][8]", "pools[1][16]", "pools[2][8]", "pools[4][0]", "active[4]"):
            none = project.run(verb, address)
            assert (none.status, none.out) == (1, ""), is_live
            assert f"{address}: error[index-out-of-range]: " in none.err
        project.run("apply", "--yes")


def test_an_element_of_zero_is_live(project: Project) -> None:
    project.spec.write_text(ARRAYS)
    project.run("apply", "--yes")
    assert tree(project, "pools[0][7]")[2:] == ["    7 0"]
    assert tree(project, "pools[1][15]")[2:] == ["    15 0"]
    assert tree(project, "active[3]")[1:] == ["    3 0"]
    project.edit("{1: 5}", "{2: 6, 3: 0}")
    assert tree(project, "pools[0][1]")[2:] == ["    - 1 5; not in the spec"]
    assert tree(project, "pools[0][2]")[2:] == ["    + 2 not live; the spec has 6"]
    assert tree(project, "pools[0][3]")[2:] == ["    3 0"]
    assert tree(project, "pools[0][4]")[2:] == ["    4 0"]


def test_the_document_says_what_differs_and_who_holds_it(project: Project) -> None:
    maps = {map_["address"]: map_ for map_ in edited(project).run("show", "--format", "json").document["maps"]}
    tenants: dict[str, Any] = maps["tenants"]
    assert (tenants["action"], maps["active"]["action"]) == ("update", None)
    assert tenants["live"]["pins"] == [str(project.root / "tenants")]
    assert tenants["live"]["memory"] > sum(slot["memory"] or 0 for slot in tenants["inner_maps"]) > 0
    first, second, third = tenants["inner_maps"]
    assert (first["action"], second["action"], third["action"]) == ("update", "delete", "create")
    assert first["entries"] == [
        {"key": 1, "value": 10, "action": "update", "wanted": 11},
        {"key": 2, "value": 20, "action": "delete", "wanted": None},
        {"key": 3, "value": None, "action": "insert", "wanted": 30},
    ]
    assert (third["id"], third["entries"]) == (None, [])


def test_programs_that_use_a_map_are_named(bench: Bench, bpf_object: Any) -> None:
    path: Path = bpf_object("outers")
    spec = bench.folder / "spec.yaml"
    spec.write_text(run("init", path).out)
    assert run("apply", spec, "--yes", "--pin-root", bench.root, "--allow-outside").status == 0
    document = run("show", spec, "--pin-root", bench.root, "--allow-outside", "--format", "json").document
    programs = {one["pin"] for one in document["programs"]}
    users = [name for one in document["maps"] for name in (one["live"] or {}).get("programs", [])]
    assert programs
    assert set(users) == programs


ATTACHED = """\
version: 1
name: edge
types: {backend: {struct: {ip: ipv4, port: be16, weight: u16}}}
inner_templates: {backends: {type: array, key: u32, value: backend, max_entries: 64, flags: [inner_map]}}
outer_maps: {vips: {object: router, inner: backends, inner_maps: {}}}
objects:
  router:
    file: OBJECT
    programs:
      xdp_router: {pin: xdp_router, attach: {xdp: {interface: veth-a, mode: generic}}}
"""


def test_an_attachment_is_reported_by_the_name_of_its_interface(project: Project, veth: Veth, bpf_object: Any) -> None:
    project.spec.write_text(ATTACHED.replace("OBJECT", str(bpf_object("router"))))
    assert project.run("apply", "--yes", "--allow-outside").status == 0
    assert ", xdp on veth-a\n" in project.run("show", "--allow-outside").out
    explained = project.run("explain", "router.xdp_router", "--allow-outside").out
    assert ", xdp on veth-a\n" in explained
    subprocess.run(["ip", "link", "del", veth.name], check=True)
    assert ", xdp, detached\n" in project.run("show", "--allow-outside").out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.yaml"], (["a.yaml"], "")),
        (["a.yaml", "b.yaml"], (["a.yaml", "b.yaml"], "")),
        (["a.yaml", "tenants[42]"], (["a.yaml"], "tenants[42]")),
        (["tenants"], (["tenants"], "")),
        (["-", "tenants"], (["-"], "tenants")),
        (["a.yaml", "-"], (["a.yaml", "-"], "")),
        (["a.yaml", "x" * 5000], (["a.yaml"], "x" * 5000)),
        (["a.yaml", "/"], (["a.yaml", "/"], "")),
    ],
)
def test_an_address_is_reported_from_files(words: list[str], expected: tuple[list[str], str]) -> None:
    assert with_address(words) == expected
