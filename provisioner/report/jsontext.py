"""JSON text that is safe on a terminal and in the log of a CI job. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

_UNUSUAL: Final = re.compile(r"[^\x20-\x7e\n]")


def dumps(value: object, indent: int | None = None) -> str:
    """JSON text, in which characters that a terminal acts on are escape sequences of JSON.

    So is one of `##`, with which commands to a CI runner begin: it executes them in the log of a job.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent).replace("##", "#\\u0023")
    return text if text.isprintable() else _UNUSUAL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]
