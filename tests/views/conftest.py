"""Explanations and graphs of real projects."""

from tests.apply.conftest import bench as bench
