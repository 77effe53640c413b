"""A session over a project on the tests' own bpffs."""

from __future__ import annotations

from tests.apply.conftest import bench as bench
