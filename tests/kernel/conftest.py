"""Every test in this folder touches the kernel, so every one is under the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def under_the_ledger(kernel: Path) -> None:
    """Nothing may be left behind."""
