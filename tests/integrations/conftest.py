"""A spec and a pin root of its own, as the command line's tests have them."""

from __future__ import annotations

from tests.cli.conftest import project, spec

__all__ = ["project", "spec"]
