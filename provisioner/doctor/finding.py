"""What doctor reports: one finding for each property of this host."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec


class Level(Enum):
    """With `bad`, provisioner does not work on this host; `note` is for information."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """One property of this host. `value` is for programs and has a stable form; `what` is for people."""

    id: str
    level: Level
    what: str
    value: Any = None
    hint: str = ""


def usable(findings: Iterable[Finding]) -> bool:
    """Whether provisioner works on this host."""
    return all(finding.level is not Level.BAD for finding in findings)
