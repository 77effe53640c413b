"""Shapes that several tests use."""

from __future__ import annotations

from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType

HASH = MapShape(MapType.HASH, 4, 8, 1000)
ARRAY = MapShape(MapType.ARRAY, 4, 8, 16)
LPM = MapShape(MapType.LPM_TRIE, 8, 1, 1024, MapFlag.NO_PREALLOC)
PERCPU_HASH = MapShape(MapType.PERCPU_HASH, 4, 12, 100)
PERCPU_ARRAY = MapShape(MapType.PERCPU_ARRAY, 4, 8, 10)
LRU = MapShape(MapType.LRU_HASH, 4, 8, 1000)
HASH_OF_MAPS = MapShape(MapType.HASH_OF_MAPS, 4, 4, 64)
ARRAY_OF_MAPS = MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 64)
