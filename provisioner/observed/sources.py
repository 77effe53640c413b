"""Where a live state is read from: this host's kernel, or a snapshot that was taken of one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from pathlib import PurePath
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.access import Access
from provisioner.model.attachment import Attachment, AttachPoint, HookOrder
from provisioner.model.desired import DesiredMap
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedBlock, ObservedLink, ObservedMap, ObservedProgram, ObservedState
from provisioner.model.record import Meta
from provisioner.model.type_layout import EntryLayout
from provisioner.model.types import Bytes

Ranges = Sequence[tuple[int, int]]
"""The first and last index of each range; none for all indexes."""


class Depth(IntEnum):
    """How much of a slot is read: no more than a comparison needs."""

    NOTHING = 0
    SHAPE = 1
    ENTRIES = 2


class SeenMap(msgspec.Struct, frozen=True):
    """A map by its pin. An outer map has its slots: `keys` (m, key size) and `inner_ids` (m,), in no certain order.

    `shape` is as it was asked for when the map was made.
    """

    id: int
    shape: MapShape
    keys: Bytes
    inner_ids: NDArray[np.uint32]
    frozen: bool = False


class SeenEntries(msgspec.Struct, frozen=True):
    """What a map held when it was read: `keys` (n, key size), `values` (n, bytes that the kernel moves)."""

    max_entries: int
    keys: Bytes
    values: Bytes


class SeenInnerMaps(msgspec.Struct, frozen=True):
    """What m inner maps held, one after the other: `max_entries` (m,), 0 of one that is gone, and `counts` (m,).

    `keys` has shape (n, key size), `values` (n, bytes that the kernel moves).
    """

    max_entries: NDArray[np.uint32]
    counts: NDArray[np.int64]
    keys: Bytes
    values: Bytes


class Source(Protocol):
    """What an observation asks. Things that are not there are None; paths are those of pins."""

    def check(self, root: PurePath) -> None:
        """Raise HostError or InputError where this pin root cannot be observed."""

    def exists(self, root: PurePath) -> bool: ...

    def missing(self, paths: Iterable[str]) -> tuple[str, ...]:
        """The directories on the way to these pins that do not exist, each after its parent."""

    def pins(self, root: PurePath) -> tuple[str, ...]: ...

    def directories(self, root: PurePath) -> tuple[str, ...]:
        """The paths of the directories in the pin root, and in those of this program, that it does not make; sorted."""

    def misplaced_pins(self, root: PurePath) -> tuple[str, ...]:
        """The paths of the pins in directories of this program in which it pins nothing; sorted."""

    def live_ids(self, numbers: Iterable[int]) -> frozenset[int]:
        """Those of maps, by their ids, that are live; none where this process may not see them."""

    def inner_pins(self, root: PurePath) -> Mapping[str, tuple[str, ...]]:
        """The names of the pins of inner maps, by the directory that they are in: one for each outer map."""

    def access(self, root: PurePath, paths: Iterable[str]) -> Mapping[str, Access]:
        """Who may open pins and enter directories, by paths from the pin root; missing ones are left out."""

    def gid(self, group: str) -> int:
        """The number of a group. Raises HostError where there is none."""

    def meta(self, path: PurePath) -> Meta: ...

    def map(self, path: PurePath) -> SeenMap | None: ...

    def inner_shape(self, path: PurePath, number: int) -> MapShape | None:
        """The shape of an inner map of the outer map at `path`, by its id."""

    def entries(
        self, path: PurePath, number: int | None, *, deep: bool, nonzero: Ranges | None = None
    ) -> SeenEntries | None:
        """What the map at `path` holds, or its inner map with an id; not `deep`: its capacity alone.

        With `nonzero`, elements of an array may be left out that are zero, or not in one of these ranges.
        """

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
        """What inner maps of the outer map at `path` hold, from the first on until there are about `rows` entries.

        Of one that is not `whole`, its capacity alone. `template` has the sizes that they all have. `nonzero` is that
        of `entries`.
        """

    def layout(self, path: PurePath) -> EntryLayout | None:
        """The layouts of the entries of the map at `path`, from its BTF or that of its inner maps; None without BTF."""

    def frozen(self, path: PurePath, numbers: Sequence[int]) -> frozenset[int]:
        """Those of inner maps of the outer map at `path`, by their ids, that user space can no longer write."""

    def users(self, own: Mapping[int, str]) -> Mapping[int, tuple[str, ...]]:
        """The loaded programs that use each map, by the map's id. `own` has the pins of the project's, by id."""

    def program(self, path: PurePath) -> ObservedProgram: ...

    def link(self, path: PurePath) -> ObservedLink: ...

    def occupant(self, attachment: Attachment, number: int) -> int:
        """The program at a hook that has room for one, on the attach point `number`; 0 if there is room."""

    def order(self, attachment: Attachment, number: int) -> HookOrder | None:
        """The order at the hook of an attachment that has a place in it; None for others."""

    def number(self, point: AttachPoint) -> int | None:
        """The ifindex, cgroup id or inode of an attach point; None if it does not exist."""


class LiveMaps(Protocol):
    """What a comparison reads of live maps."""

    def blocks(self, desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterable[ObservedBlock]:
        """The slots of a live map in blocks of about BLOCK_ENTRIES rows; `depth`, shape (slots,), has their `Depth`."""

    def old_blocks(self, desired: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterable[ObservedBlock]:
        """The same of a map of another shape: `desired` has the types and shapes that the live map has."""

    def layout(self, desired: DesiredMap) -> EntryLayout | None:
        """The layouts of the live entries, as far as the kernel knows their types; None where it does not."""

    def object_layout(self, name: str) -> EntryLayout | None:
        """The same of a map of an object, declared or not, by the name of its pin."""

    def object_entries(self, name: str) -> int | None:
        """How many entries that map holds, of an array those that are not zero; None where they cannot be listed."""

    def frozen(self, desired: DesiredMap, numbers: Sequence[int]) -> frozenset[int]:
        """Those of the inner maps of an outer map, by their ids, that user space can no longer write."""

    def users(self, observed: ObservedState) -> Mapping[int, tuple[str, ...]]:
        """The loaded programs that use each map, by the map's id: by their pin, or as `name (id 7)`."""
