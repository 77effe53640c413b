"""`init`: a spec from an object file that validates as it is, and asks what the object does not tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

import provisioner
from provisioner.adopt.drafting import draft
from provisioner.adopt.skeleton import project_name, skeleton
from provisioner.kernel.objects import inspect
from provisioner.model.attachment import AttachPoint
from provisioner.model.map_shape import MapShape
from provisioner.model.spec import Contents
from provisioner.model.uapi import MapType
from provisioner.project import Project
from tests.apply.conftest import Bench
from tests.apply.conftest import bench as bench
from tests.cli.support import run
from tests.conftest import SOURCES

REFUSED = ("legacy", "legacy_named", "iproute2", "static", "extern")
OBJECTS = sorted({path.name.removesuffix(".bpf.c") for path in SOURCES.glob("*.bpf.c")}.difference(REFUSED))


@pytest.mark.parametrize("name", OBJECTS)
def test_what_it_writes_is_valid_and_plans(bpf_object: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    path = bpf_object(name)
    spec = tmp_path / "spec.yaml"
    done = run("init", path)
    assert (done.status, done.err) == (0, "")
    spec.write_text(done.out)
    for words in (("validate",), ("plan", "--against", "empty", "--exit-zero")):
        again = run(*words, spec, "--allow-outside")
        assert (again.status, again.err) == (0, "")
    assert max(len(line) for line in done.out.splitlines() if str(path) not in line) <= 120


def load(text: str, tmp_path: Path) -> Project:
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    return provisioner.load([spec], allow_outside=True)


def test_what_the_object_declares_is_written(bpf_object: Callable[[str], Path], tmp_path: Path) -> None:
    path = bpf_object("router")
    text = skeleton(inspect(path), str(path))
    desired = load(text, tmp_path).desired
    tenants = desired.maps["tenants"]
    assert tenants.entry_shape == inspect(path).maps["tenants"].inner.shape  # type: ignore[union-attr]
    assert tenants.key.describe() == "cidr4"
    assert desired.maps["vip_slots"].key.describe() == "struct vip"
    assert "# as: {ip: ipv4}" in text
    assert "What is the template of `vips`?" in text
    assert "What is the template of `tenants`?" not in text
    assert "that no map uses: struct backend." in text
    assert [program.name for program in desired.objects["router"].programs] == ["xdp_router"]
    assert all(
        map_.slots.policy(0) is Contents.IGNORE and not len(map_.entries.keys)
        for map_ in desired.maps.values()
        if map_.outer is None
    )


LONG = "x" * 256
NAMES = ("a\tb", "a\x01b", "a\nb", "a b", "a:b", "a.b", "-a", "0x10", "\u202ea", "a\ufffdb", "\u00fc", LONG)


@pytest.mark.parametrize("others", [True, False])
def test_programs_that_a_spec_cannot_name(bpf_object: Callable[[str], Path], tmp_path: Path, *, others: bool) -> None:
    path = bpf_object("router")
    info = inspect(path)
    program = next(iter(info.programs.values()))
    programs = {name: replace(program, name=name) for name in NAMES} | (dict(info.programs) if others else {})
    text = skeleton(replace(info, programs=programs), str(path))
    named = load(text, tmp_path).desired.objects["router"].programs
    assert [each.name for each in named] == (["xdp_router"] if others else [])
    assert text.count(": not loaded; the spec cannot declare this name\n") == len(NAMES)


def test_maps_whose_name_is_too_long(bpf_object: Callable[[str], Path], tmp_path: Path) -> None:
    path = bpf_object("router")
    info = inspect(path)
    maps = {**info.maps, LONG: replace(info.maps["tenants"], name=LONG)}
    text = skeleton(replace(info, maps=maps), str(path))
    assert LONG not in load(text, tmp_path).desired.maps


def test_its_proposals_can_be_taken_up(bpf_object: Callable[[str], Path], tmp_path: Path) -> None:
    path = bpf_object("router")
    text = skeleton(inspect(path), str(path))
    text = text.replace("# as: {ip: ipv4}", "as: {ip: ipv4}").replace(
        "    # entries: {KEY: VALUE}  # with `entries`, all other entries are deleted\n\nouter_maps",
        "    entries: [{key: {ip: 198.51.100.1, port: 53, proto: 17}, value: 0}]\n\nouter_maps",
    )
    text = text.replace("# attach:", "attach:").replace("eth0", "lo")
    desired = load(text, tmp_path).desired
    assert desired.maps["vip_slots"].entries.keys.tobytes() == bytes([198, 51, 100, 1, 0, 53, 17, 0])
    (attach,) = desired.objects["router"].programs[0].attachments
    assert attach.point == AttachPoint("interface", "lo")


def test_maps_of_all_kinds(bpf_object: Callable[[str], Path], tmp_path: Path) -> None:
    path = bpf_object("odd_maps")
    text = skeleton(inspect(path), str(path))
    desired = load(text, tmp_path).desired
    assert "# events: ringbuf" in text
    described = {name: (one.key.describe(), one.value.describe()) for name, one in desired.maps.items()}
    assert described["by_prefix"] == ("cidr6", desired.maps["texts"].value.fields[0].type.describe())  # type: ignore[attr-defined]
    assert described["untyped"] == ("bytes[12]", "bytes[3]")
    assert described["pointers"] == ("u32", "bytes[16]")
    assert described["texts"][0] == "char[16]"
    assert desired.maps["queues"].slots.contents.size == 0


@pytest.mark.parametrize(
    ("file", "name"),
    [("edge.bpf.o", "edge"), ("a/b/my prog.o", "my_prog"), ("_x.o", "x"), (".o", "project"), ("fw-1.o", "fw-1")],
)
def test_the_project_is_named_after_the_file(file: str, name: str) -> None:
    assert project_name(file) == name


@pytest.mark.parametrize("name", ["legacy"])
def test_what_libbpf_refuses_is_reported(bpf_object: Callable[[str], Path], name: str) -> None:
    done = run("init", bpf_object(name))
    assert (done.status, done.out) == (1, "")
    assert "error[legacy-maps]" in done.err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("init", tmp_path / "none.o")
    assert (done.status, done.out) == (1, "")
    assert "cannot read the object file" in done.err


def test_a_new_file_has_the_path_of_the_object_relative_to_it(
    bpf_object: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "specs").mkdir()
    (tmp_path / "build" / "edge.o").write_bytes(bpf_object("router").read_bytes())
    spec = tmp_path / "specs" / "edge.yaml"
    monkeypatch.chdir(tmp_path)
    text = provisioner.draft("build/edge.o", "specs/edge.yaml")
    assert "file: ../build/edge.o" in text
    done = run("init", tmp_path / "build" / "edge.o", "--out", spec)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert run("validate", spec).status == 0
    again = run("init", tmp_path / "build" / "edge.o", "--out", spec)
    assert again.status == 1
    assert "write-failed" in again.err


@pytest.mark.parametrize(
    ("name", "program", "attach"),
    [
        ("hooks", "on_xdp", "attach: {xdp: {interface: eth0, mode: native, if_missing: fail}}"),
        ("hooks", "on_tcx", "attach: {tcx: {interface: eth0, direction: ingress}}"),
        ("hooks", "on_connect", "attach: {cgroup: {path: system.slice}}"),
        ("hooks", "on_lookup", "attach: {netns: {path: /run/netns/NAME}}"),
        ("hooks", "on_raw", "attach: auto"),
        ("hooks", "on_tracepoint", "attach: auto"),
        ("hooks", "on_kprobe", "attach: auto"),
        ("multi", "on_functions", "attach: auto"),
        ("multi", "on_uprobes", "attach: auto"),
        ("untyped", "generic", "target: NAME"),
    ],
)
def test_each_program_has_the_attachment_that_fits(
    name: str, program: str, attach: str, bpf_object: Callable[[str], Path]
) -> None:
    lines = skeleton(inspect(bpf_object(name)), "x.o").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"      {program}:"))
    comments = [line for line in lines[first + 2 : first + 4] if line.startswith("        # ")]
    assert comments[0].startswith(f"        # {attach}")


def test_a_section_that_libbpf_may_not_know(bpf_object: Callable[[str], Path]) -> None:
    text = skeleton(inspect(bpf_object("odd_names")), "x.o")
    assert "# attach: {tcx: {interface: eth0, direction: egress}}" in text


def test_odd_names_and_sizes(bpf_object: Callable[[str], Path], tmp_path: Path) -> None:
    path = bpf_object("odd_names")
    desired = load(skeleton(inspect(path), str(path)), tmp_path).desired
    assert desired.maps["paths"].key.size == 260
    assert desired.maps["unsized_inner"].entry_shape.max_entries == 1024
    assert {program.name: program.pin for program in desired.objects["odd_names"].programs}["_classify"] == "classify"
    assert "_outer" not in desired.objects["odd_names"].maps


def test_a_target_that_the_loader_sets(bpf_object: Callable[[str], Path]) -> None:
    path = bpf_object("odd_names")
    assert "set_by_loader:  # section fentry/generic_function\n        load: false  # " in draft(path, "x.o")
    assert "set_by_loader:  # section fentry/generic_function\n        pin: " in skeleton(inspect(path), "x.o")


def test_names_that_yaml_reads_as_something_else_and_types_without_a_name(bpf_object: Callable[[str], Path]) -> None:
    spec = yaml.safe_load(skeleton(inspect(bpf_object("odd_names")), "x.o"))
    assert spec["outer_maps"]["null"]["inner"] == "null_inner"
    template = spec["inner_templates"]["null_inner"]
    assert template["key"] == {"union": {"word": "u32", "bytes": "u8[8]"}}
    assert template["value"] == "u32[3][2]"
    assert spec["objects"]["x"]["programs"]["optional"] == {"load": False}


def test_a_struct_ops_map_without_its_programs(bpf_object: Callable[[str], Path], tmp_path: Path) -> None:
    info = inspect(bpf_object("struct_ops"))
    optional = {"begin": replace(info.programs["begin"], autoload=False)}
    text = skeleton(replace(info, programs=optional), str(bpf_object("struct_ops")))
    assert "mine: {autocreate: false}" in text
    assert "mine" not in load(text, tmp_path).desired.objects["struct_ops"].maps


def test_variables_and_slots_are_listed(bpf_object: Callable[[str], Path]) -> None:
    assert "#   limits: VALUE  # struct limits, .data" in skeleton(inspect(bpf_object("globals")), "x.o")
    assert "the object fills {" in skeleton(inspect(bpf_object("jumps")), "x.o")
    assert "LIBBPF_PIN_BY_NAME" in skeleton(inspect(bpf_object("odd_names")), "x.o")


@pytest.mark.parametrize(
    "name",
    ["globals", "jumps", "presets", "odd_names", "untyped", "odd_maps", "hooks", "stacks", "struct_ops", "typeless"],
)
def test_what_it_writes_applies(name: str, bench: Bench, bpf_object: Callable[[str], Path]) -> None:
    bench.allow_outside = True
    path = bpf_object(name)
    text = draft(path, str(path)).partition("\nname: ")[2].partition("\n")[2]
    bench.settle(text)
    bench.destroy(text)
    assert not bench.root.exists()


def test_a_cpumap_without_a_size_gets_one_that_the_kernel_takes(bpf_object: Callable[[str], Path]) -> None:
    info = inspect(bpf_object("sized"))
    cpus = replace(info.maps["scratch"], name="cpus", shape=MapShape(MapType.CPUMAP, 4, 8, 0))
    text = skeleton(replace(info, maps={"cpus": cpus}), "sized.o")
    assert "cpus: {max_entries: 64}" in text


def test_a_uprobe_that_names_no_file(bpf_object: Callable[[str], Path]) -> None:
    info = inspect(bpf_object("hooks"))
    program = replace(info.programs["on_uprobe"], section="uprobe/getppid")
    text = skeleton(replace(info, programs={"on_uprobe": program}), "x.o")
    assert "# target: NAME  # PATH:FUNCTION\n        # attach: auto\n" in text
