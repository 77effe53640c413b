"""The header of a snapshot, as reports show it."""

from __future__ import annotations

from datetime import UTC, datetime

from provisioner import Snapshot
from provisioner.report.model import Against


def about(snapshot: Snapshot) -> Against:
    """The host of a snapshot, and its age by this host's clock."""
    header = snapshot.header
    age = datetime.now(UTC) - datetime.fromisoformat(header.taken)
    return Against(header.host, header.kernel, header.taken, int(age.total_seconds()))
