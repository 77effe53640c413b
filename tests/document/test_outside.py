"""What a spec names stays inside the project: objects below the folder of the spec, or in one beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.model.errors import InputError
from provisioner.project.opening import load

SPEC = "version: 1\nname: edge\nobjects: {{one: {{file: {file}, programs: {{}}}}}}\n"


def problems(spec: Path, file: str, **how: bool) -> list[str]:
    spec.write_text(SPEC.format(file=file))
    try:
        load([spec], **how)  # type: ignore[arg-type]
    except InputError as error:
        return [problem.id for problem in error.problems]
    return []


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for name in ("project/specs", "project/bpf", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "one.o").write_bytes(b"no object")
    return tmp_path / "project" / "specs" / "edge.yaml"


@pytest.mark.parametrize("file", ["one.o", "../bpf/one.o"])
def test_an_object_is_found_below_the_spec_or_beside_its_folder(spec: Path, file: str) -> None:
    assert "outside-project" not in problems(spec, file)


def test_an_object_elsewhere_must_be_allowed(spec: Path) -> None:
    assert problems(spec, "../../elsewhere/one.o") == ["outside-project"]
    assert "outside-project" not in problems(spec, "../../elsewhere/one.o", allow_outside=True)


def test_types_of_an_object_that_cannot_be_read_are_no_further_problem(spec: Path) -> None:
    spec.write_text(SPEC.format(file="missing.o") + "types: {vip: {btf: struct vip, from: one}}\n")
    with pytest.raises(InputError) as refused:
        load([spec])
    assert [problem.id for problem in refused.value.problems] == ["unreadable-file"]


def test_a_type_can_be_the_kernel_s_own(spec: Path) -> None:
    spec.write_text("""
version: 1
name: edge
maps:
  frames:
    type: hash
    key: u32
    value: {btf: struct ethhdr, from: vmlinux, as: {h_dest: mac, h_source: mac}}
    max_entries: 4
    entries: {1: {h_dest: "02:00:00:00:00:01", h_source: "02:00:00:00:00:02", h_proto: 0x0800}}
""")
    value = load([spec]).desired.maps["frames"].entries.values
    assert value.tobytes() == bytes.fromhex("0200000000010200000000020800")
