"""The live state of the slots and keys that a session changes: read when they change, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from msgspec.structs import replace

from provisioner.kernel import maps
from provisioner.model.observed import ObservedMap, ObservedSlots
from provisioner.observed.live_source import LiveSource
from provisioner.session.known import KnownMap, SlotKey


class UnknownStateError(Exception):
    """A map or slot is not what the session left behind: another process writes it. A full comparison follows."""


def look(source: LiveSource, path: PurePath, known: KnownMap, keys: Sequence[SlotKey], *, left: bool) -> ObservedMap:
    """The slots `keys` of a map, as they are now. With `left`, raises UnknownStateError where another map is in one."""
    live = known.live
    fd = source.open(path) if live is not None else None
    if live is None or fd is None:
        raise UnknownStateError
    with fd:
        if maps.info(fd).id != live.id:
            raise UnknownStateError
        if known.desired.outer is None:
            return live
        ids = [int.from_bytes(maps.lookup(fd, key, 4) or b"", sys.byteorder) for key in keys]
    if left and ids != [known.ids.get(key, 0) for key in keys]:
        raise UnknownStateError
    there = [key for key, number in zip(keys, ids, strict=True) if number]
    size = known.desired.slots.keys.shape[1]
    rows = np.frombuffer(b"".join(there), np.uint8).reshape(len(there), size)
    numbers = np.array([number for number in ids if number], np.uint32)
    shape = live.entry_shape or (known.desired.entry_shape if there else None)
    return replace(live, slots=ObservedSlots(rows, numbers), entry_shape=shape)
