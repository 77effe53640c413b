"""`limits` and `prevent_destroy` of a plain map are its own; inner maps have sizes that the kernel takes."""

from __future__ import annotations

import io

import pytest

import provisioner
from provisioner.desired.loading import SpecError
from provisioner.model.host import Host

SPEC = """
version: 1
name: edge
limits: {delete_percent: 10}
maps:
  own:
    {type: hash, key: u32, value: u32, max_entries: 8, prevent_destroy: true,
     limits: {delete_percent: 100, at_least: 0}}
  other: {type: hash, key: u32, value: u32, max_entries: 8}
"""


def test_a_plain_map_has_limits_and_protection() -> None:
    maps = provisioner.load("-", stdin=io.StringIO(SPEC), host=Host("little", 2), any_host=True).desired.maps
    assert maps["own"].limits is not None
    assert (maps["own"].limits.delete_percent, maps["own"].limits.at_least) == (100, 0)
    assert (maps["own"].prevent_destroy, maps["other"].prevent_destroy, maps["other"].limits) == (True, False, None)


SIZES = """
version: 1
name: edge
inner_templates: {t: {type: KIND, key: u32, value: u32, max_entries: 8, contents: ignore}}
shared_inner_maps: {shared: {inner: t, max_entries: 9}}
outer_maps:
  outer:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: t
    inner_maps: {1: {max_entries: 8}, 2: {max_entries: 16}, 3: {shared: shared}, 4: {}}
"""


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("array", [5, 12]),
        ("array, flags: [inner_map]", []),
        ("xskmap", [5, 12]),
        ("percpu_array", []),
        ("hash", []),
    ],
)
def test_inner_maps_of_another_size_than_the_template(kind: str, lines: list[int]) -> None:
    """`map_meta_equal` of an array without BPF_F_INNER_MAP and of an XSKMAP compares max_entries."""
    found: list[tuple[str, int]] = []
    try:
        provisioner.load("-", stdin=io.StringIO(SIZES.replace("KIND", kind)), host=Host("little", 2), any_host=True)
    except SpecError as error:
        found = [(each.id, each.where.line) for each in error.problems if each.where is not None]
    assert sorted(found) == [("unsupported-by-map-type", line) for line in lines]
