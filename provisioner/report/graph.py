"""A graph of boxes and arrows, as every diagram format draws it. Pure."""

from __future__ import annotations

from enum import Enum

import msgspec


class BoxKind(Enum):
    OBJECT = "object"
    PROGRAM = "program"
    OUTER_MAP = "outer_map"
    MAP = "map"
    INNER_MAP = "inner_map"
    INNER_MAPS = "inner_maps"


class Box(msgspec.Struct, frozen=True):
    """One thing, or many alike; `lines` are its text, the name first."""

    id: str
    kind: BoxKind
    lines: tuple[str, ...]


class Arrow(msgspec.Struct, frozen=True):
    """One thing uses or holds another; `label` says by which keys."""

    source: str
    target: str
    label: str = ""


class Graph(msgspec.Struct, frozen=True):
    """`boxes` by id, in the order that they are drawn."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
