"""docs/objects.md: each spec on the page is valid for an object that has what it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import provisioner
from tests import pages

FENCES = pages.fences(__file__, "objects.md")

TEMPLATE = "inner_templates: {backends: {type: array, key: u32, value: u32, max_entries: 8}}\n"
OUTER = "outer_maps: {vips: {object: lb, inner: backends}}\n"
OBJECT = "objects: {lb: {file: lb.bpf.o}}\n"


@pytest.mark.parametrize("number", range(len(FENCES)))
def test_the_spec_is_valid(number: int, tmp_path: Path, bpf_object: Callable[[str], Path]) -> None:
    for name in ("lb", "stats"):
        (tmp_path / f"{name}.bpf.o").write_bytes(bpf_object(name).read_bytes())
    text = FENCES[number].text
    objects = OBJECT.replace("lb: {file: lb.bpf.o}", "lb: {file: lb.bpf.o}, stats: {file: stats.bpf.o}")
    rest = objects if "stats" in text else OBJECT if "outer_maps" in text else OUTER
    spec = tmp_path / "lb.yaml"
    spec.write_text(f"version: 1\nname: lb\n{TEMPLATE}{rest}{text}")
    assert provisioner.load([spec]).desired.objects["lb"].name == "lb"
