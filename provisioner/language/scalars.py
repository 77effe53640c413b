"""What a scalar's text means where no type of the spec says so: numbers, true and false, and nothing else. Pure.

YAML 1.1's other readings (`on`, `0755`, `1_000`, `1:30`) stay text, and are errors where a number is due.
"""

from __future__ import annotations

import re
from typing import Any, Final

from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*|0x[0-9A-Fa-f]+)")
_MAX_DIGITS: Final = 100


def integer(text: str | None) -> int | None:
    """The value of a whole number as the spec language has it, decimal or 0x; None for anything else."""
    if text is None or len(text) > _MAX_DIGITS or not _INTEGER.fullmatch(text):
        return None
    return int(text, 0)


def plain(node: SpecNode) -> Any:
    """`node` as JSON has it; entries become an empty mapping, which fits wherever entries may stand."""
    match node:
        case ScalarNode(text, _, quoted):
            if quoted or text is None:
                return text
            if text in ("true", "false"):
                return text == "true"
            number = integer(text)
            return text if number is None else number
        case SequenceNode(items):
            return [plain(item) for item in items]
        case MappingNode():
            return {name: plain(value) for name, _, value in node.named()}
        case RawEntries():
            return {}
