"""Outer maps that are pinned where the project looks, and that the spec does not declare. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from provisioner.model.errors import HostError
from provisioner.observed.sources import SeenMap, Source


def inner_ids(paths: Iterable[PurePath], declared: frozenset[int], source: Source) -> frozenset[int]:
    """The inner maps in the slots of the outer maps at these pins. Another pin of a `declared` map is no other map."""
    held: set[int] = set()
    for path in paths:
        seen = _map(path, source)
        if seen is not None and seen.shape.is_outer and seen.id not in declared:
            held.update(seen.inner_ids.tolist())
    return frozenset(held)


def _map(path: PurePath, source: Source) -> SeenMap | None:
    """A pinned map; None for a program, a link, and a map that is not for this process to open."""
    try:
        return source.map(path)
    except HostError:
        return None
