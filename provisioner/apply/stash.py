"""Inner maps that were replaced or deleted, held until an apply is verified."""

from __future__ import annotations

import numpy as np

from provisioner.kernel import batch, maps, reading
from provisioner.kernel.fd import FdSet, MapFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType


class Stash:
    """A scratch outer map that no program sees: it holds inner maps that were replaced, until apply is verified.

    It is not pinned, so that it goes when the process does: after a kill, the next apply goes forward.
    """

    def __init__(self, inner: InnerPins) -> None:
        self._inner = inner
        self._map: MapFd | None = None
        self._held: dict[bytes, int] = {}

    def keep(self, keys: list[bytes], inner_ids: list[int], capacity: int, wave: int) -> int:
        """Take the inner maps that live in slots `keys`; gives the grace periods waited for."""
        waited = 0
        for start in range(0, len(keys), wave):
            with FdSet[MapFd]() as fds:
                for inner_id in inner_ids[start : start + wave]:
                    fds.add(self._inner.open(inner_id))
                numbers = fds.numbers()
                if self._map is None:
                    shape = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, capacity)
                    self._map = maps.create(shape, "stash", inner=next(iter(fds)))
                index = np.arange(len(self._held), len(self._held) + len(numbers), dtype=np.uint32)
                waited += batch.publish(self._map, index, np.array(numbers, np.uint32), name="stash")
                self._held |= zip(keys[start : start + wave], index.tolist(), strict=True)
        return waited

    def restore(self, outer: MapFd, keys: list[bytes], wave: int, name: str) -> None:
        """Put the inner maps that came from slots `keys` back into them."""
        if self._map is None or not keys:
            return
        index, ids = reading.read_slots(self._map, maps.info(self._map).shape)
        held = dict(zip(index.view(np.uint32).ravel().tolist(), ids.tolist(), strict=True))
        for start in range(0, len(keys), wave):
            with FdSet[MapFd]() as fds:
                for key in keys[start : start + wave]:
                    fds.add(self._inner.open(held[self._held[key]]))
                part = b"".join(keys[start : start + wave])
                rows = np.frombuffer(part, np.uint8).reshape(len(fds), -1)
                batch.publish(outer, rows, np.array(fds.numbers(), np.uint32), name=name)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
