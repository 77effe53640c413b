"""`limits` and `prevent_destroy` of a plain map are its own."""

from __future__ import annotations

import io

import provisioner
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
