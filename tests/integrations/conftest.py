"""A spec and a pin root for each test, from the tests of the command line."""

from __future__ import annotations

from tests.cli.conftest import project, spec

__all__ = ["project", "spec"]
