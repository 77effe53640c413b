"""The kernel as a source that looks up some keys of a map by system calls, instead of reading all that it holds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

import numpy as np
from msgspec.structs import replace

from provisioner.codec.lpm import masked, prefix_length
from provisioner.kernel import lookups, maps
from provisioner.model import entry_table
from provisioner.model.desired import DesiredState
from provisioner.model.map_shape import MapShape
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType
from provisioner.observed.live_source import LiveSource, normalised
from provisioner.observed.sources import Ranges, SeenEntries, SeenInnerMaps

Asked = Mapping[tuple[str, int | None], Bytes]
"""The keys to look up in a map, by its pin and the id of an inner map; None for a plain map."""


class AskedSource(LiveSource):
    """The kernel as a source that looks up the `asked` keys of some maps, instead of reading all that they hold."""

    def __init__(self, desired: DesiredState) -> None:
        super().__init__(desired)
        self.asked: Asked = {}

    def entries(
        self, path: PurePath, number: int | None, *, deep: bool, nonzero: Ranges | None = None
    ) -> SeenEntries | None:
        keys = self.asked.get((str(path), number))
        if keys is None or not deep:
            return super().entries(path, number, deep=deep, nonzero=nonzero)
        fd = self.open(path, number)
        if fd is None:
            return None
        with fd:
            info = maps.info(fd)
            shape = replace(normalised(info.shape), specials=self.specials_of(info))
            if shape.map_type is MapType.LPM_TRIE:
                return _of_prefixes(super().entries(path, number, deep=True), keys)
            values, there = lookups.look_up(fd, shape, keys, self._cpus)
        return SeenEntries(shape.max_entries, keys[there], values[there])

    def inner_maps(
        self,
        path: PurePath,
        numbers: Sequence[int],
        whole: Sequence[bool],
        template: MapShape,
        rows: int,
        *,
        nonzero: Ranges | None = None,
    ) -> SeenInnerMaps:
        pin = str(path)
        asked = [(pin, number) in self.asked for number in numbers]
        if not any(asked):
            return super().inner_maps(path, numbers, whole, template, rows, nonzero=nonzero)
        alike = asked.index(not asked[0]) if asked.count(asked[0]) < len(asked) else len(asked)
        if not asked[0]:  # up to the first one that is asked for by keys
            return super().inner_maps(path, numbers[:alike], whole[:alike], template, rows, nonzero=nonzero)
        return _joined([self.entries(path, number, deep=True) for number in numbers[:alike]], template)


def _of_prefixes(seen: SeenEntries | None, keys: Bytes) -> SeenEntries | None:
    """The entries of a trie with one of `keys`. A lookup would find a shorter prefix, so all of it was read."""
    if seen is None:
        return None
    rows = entry_table.among(masked(seen.keys, prefix_length(sys.byteorder)), keys)
    return replace(seen, keys=seen.keys[rows], values=seen.values[rows])


def _joined(seen: Iterable[SeenEntries | None], template: MapShape) -> SeenInnerMaps:
    """Entries of several inner maps, one after the other; of one that is gone, a capacity of 0."""
    gone = SeenEntries(0, np.zeros((0, template.key_size), np.uint8), np.zeros((0, 0), np.uint8))
    each = [gone if one is None else one for one in seen]
    values = [one.values for one in each if one is not gone]
    return SeenInnerMaps(
        np.array([one.max_entries for one in each], np.uint32),
        np.array([len(one.keys) for one in each], np.int64),
        np.concatenate([one.keys for one in each]),
        np.concatenate(values) if values else gone.values,
    )
