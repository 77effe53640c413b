"""What a plan says of the waits to come, on kernels that write slots in different ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.model.grace_periods import Batches, waits
from provisioner.model.host import Host
from provisioner.model.kernel_versions import batches_of
from provisioner.project.opening import load
from provisioner.views import plan_report

RELEASES = {
    "5.10.0-46-cloud-amd64": Batches.NONE,
    "6.1.0-56-cloud-amd64": Batches.DEAR,
    "6.8.0-31-generic": Batches.CHEAP,
    "7.2.13+deb14-cloud-amd64": Batches.CHEAP,
    "what is no release": Batches.CHEAP,
}


@pytest.mark.parametrize(("release", "batches"), RELEASES.items())
def test_what_batches_cost_depends_on_the_release(release: str, batches: Batches) -> None:
    assert batches_of(release) is batches


@pytest.mark.parametrize(
    ("slots", "cheap", "dear", "none"), [(0, 0, 0, 0), (1, 1, 1, 1), (63, 1, 63, 1), (64, 1, 1, 1), (1000, 1, 4, 4)]
)
def test_threads_share_waits_and_dear_batches_do_not(slots: int, cheap: int, dear: int, none: int) -> None:
    assert [waits(slots, batches) for batches in (Batches.CHEAP, Batches.DEAR, Batches.NONE)] == [cheap, dear, none]


@pytest.mark.parametrize(("kernel", "expected"), [("6.18", 3), ("6.1", 40), ("5.10", 40)])
def test_a_plan_says_what_publishing_costs_on_its_kernel(tmp_path: Path, kernel: str, expected: int) -> None:
    spec = tmp_path / "edge.yaml"
    spec.write_text("""
version: 1
name: edge
inner_templates: {one: {type: hash, key: u32, value: u32, max_entries: 4}}
outer_maps: {many: {type: hash_of_maps, key: u32, max_entries: 10000, inner: one, inner_maps: {0..9999: {}}}}
""")
    project = load([spec], host=Host("little", 4))
    report = plan_report.report(project.plan(against="empty"), kernel=kernel)
    assert report.grace_periods == expected
