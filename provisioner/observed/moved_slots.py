"""The slots of a live outer map under the keys that the spec has now. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec.structs import replace

from provisioner.model.moved import Move, PendingSlot, SlotMove
from provisioner.observed.sources import SeenMap


def presented(seen: SeenMap, moves: Iterable[SlotMove]) -> tuple[SeenMap, list[PendingSlot], list[Move]]:
    """The map with its new keys, the moves that are not done, and those whose two slots hold different inner maps.

    Two slots with the same inner map are what an apply leaves that was killed between its two writes.
    """
    keys, stays = seen.keys.copy(), np.ones(len(seen.keys), np.bool_)
    pending: list[PendingSlot] = []
    conflicts: list[Move] = []
    for move in moves:
        if len(move.old) != seen.keys.shape[1]:
            continue
        old, new = _row(seen, move.old), _row(seen, move.new)
        if old is None:
            continue
        number = int(seen.inner_ids[old])
        if new is None:
            keys[old] = np.frombuffer(move.new, np.uint8)
        elif int(seen.inner_ids[new]) == number:
            stays[old] = False
        else:
            conflicts.append(move.move)
            continue
        pending.append(PendingSlot(move, number, is_written=new is not None))
    return replace(seen, keys=keys[stays], inner_ids=seen.inner_ids[stays]), pending, conflicts


def _row(seen: SeenMap, key: bytes) -> int | None:
    rows = np.flatnonzero((seen.keys == np.frombuffer(key, np.uint8)).all(axis=1))
    return int(rows[0]) if len(rows) else None
