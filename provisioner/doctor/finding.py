"""What doctor reports: one finding for each property of this host."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec


class Level(Enum):
    """`bad` keeps the provisioner from working here; `note` is worth knowing."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """One thing about this host. `value` is for programs and stays the same in form; `what` says it to people."""

    id: str
    level: Level
    what: str
    value: Any = None
    hint: str = ""


def usable(findings: Iterable[Finding]) -> bool:
    """Whether nothing keeps the provisioner from working here."""
    return all(finding.level is not Level.BAD for finding in findings)
