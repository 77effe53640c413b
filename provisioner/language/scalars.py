"""The value of a scalar in a field of the spec language: integers, true and false, otherwise text. Pure.

Other readings of YAML 1.1 (`on`, `0755`, `1_000`, `1:30`) are text, and errors where the field is a number.
"""

from __future__ import annotations

import re
from typing import Any, Final

from provisioner.model.tree import MappingNode, RawEntries, ScalarNode, SequenceNode, SpecNode

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*|0x[0-9A-Fa-f]+)")
_MAX_DIGITS: Final = 100


def integer(text: str | None) -> int | None:
    """The value of an integer of the spec language, decimal or 0x; None for other texts."""
    if text is None or len(text) > _MAX_DIGITS or not _INTEGER.fullmatch(text):
        return None
    return int(text, 0)


class TextOrValue(str):
    """A scalar with a variable, which a field reads as text or as a number, true or false."""

    __slots__ = ()

    @property
    def value(self) -> str | int | bool:
        """What a field reads that is not text."""
        return _value(str(self))


def _value(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    number = integer(text)
    return text if number is None else number


def plain(node: ScalarNode) -> str | int | bool | None:
    """The value of a scalar in a field that is not text."""
    return node.text if node.quoted or node.text is None else _value(node.text)


def as_json(node: SpecNode) -> Any:
    """`node` as a JSON value; entries become an empty mapping, which is valid in every place of entries."""
    match node:
        case ScalarNode(text, _, _, has_variable):
            return TextOrValue(text) if has_variable and text is not None else plain(node)
        case SequenceNode(items):
            return [as_json(item) for item in items]
        case MappingNode():
            return {name: as_json(value) for name, _, value in node.named()}
        case RawEntries():
            return {}


def is_true(node: SpecNode | None) -> bool:
    """Whether a node is `true` without quotes."""
    return isinstance(node, ScalarNode) and plain(node) is True
