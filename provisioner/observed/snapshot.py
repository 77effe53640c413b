"""Snapshots: what a plan needs to know of a host, in one file that is read without root and without BPF. Pure.

docs/snapshots.md describes the format. Bytes are kept as the kernel gave them, so that a later spec with other types
reads them in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.codec.resolve import Lookup
from provisioner.model.access import Access
from provisioner.model.attachment import Attachment, AttachPoint, HookOrder
from provisioner.model.errors import InputError, Problem
from provisioner.model.host import Host
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedLink, ObservedProgram
from provisioner.model.pins import META_PIN
from provisioner.model.record import Meta
from provisioner.model.type_expr import VMLINUX
from provisioner.model.type_layout import EntryLayout
from provisioner.model.types import Bytes
from provisioner.model.uapi import U32, Id
from provisioner.observed.sources import Ranges, SeenEntries, SeenInnerMaps, SeenMap

MAX_CPUS: Final = 1 << 16
"""More than any kernel is built for (NR_CPUS)."""

_TAKE_AGAIN: Final = "take the snapshot again, with this spec"


class Header(msgspec.Struct, frozen=True):
    """Where and when it was taken (UTC, ISO 8601), and all that is not in columns.

    `frozen` has the ids of frozen maps, `users` the programs that use each map, by the map's id; `live` the ids of maps
    that lost their pin; `layouts` those of entries, by the path of the map.
    `interfaces` and `cgroups` are all that the host has, by name and by path below the mount. `inner_pins`, `access`
    and `groups` are there where the spec asks for them, as a `Source` gives them.
    """

    host: str
    kernel: str
    taken: str
    byteorder: Literal["little", "big"]
    possible_cpus: Annotated[int, msgspec.Meta(ge=1, le=MAX_CPUS)]
    project: str
    pin_root: str
    exists: bool
    pins: tuple[str, ...]
    meta: str | None
    programs: Mapping[str, ObservedProgram]
    links: Mapping[str, ObservedLink]
    interfaces: Mapping[str, U32]
    cgroups: Mapping[str, Id]
    inner_pins: Mapping[str, tuple[str, ...]] = {}
    access: Mapping[str, Access] = {}
    groups: Mapping[str, U32] = {}
    namespaces: Mapping[str, Id] = {}
    files: Mapping[str, Id] = {}
    cpus: Mapping[str, U32] = {}
    occupants: Mapping[str, Id] = {}
    orders: Mapping[str, HookOrder] = {}
    frozen: tuple[Id, ...] = ()
    users: Mapping[Id, tuple[str, ...]] = {}
    directories: tuple[str, ...] = ()
    misplaced_pins: tuple[str, ...] = ()
    live: tuple[Id, ...] = ()
    layouts: Mapping[str, EntryLayout] = {}


class Held(msgspec.Struct, frozen=True):
    """Maps that hold entries, all of one shape but for their capacity: k maps with n entries together.

    `ids`, `max_entries` and `counts` have shape (k,); a count of -1 says that it was not read. `keys` (n, key size) and
    `values` (n, bytes that the kernel moves) are theirs, one map after the other.
    """

    shape: MapShape
    ids: NDArray[np.uint32]
    max_entries: NDArray[np.uint32]
    counts: NDArray[np.int64]
    keys: Bytes
    values: Bytes

    def starts(self) -> NDArray[np.int64]:
        """The first row of each map, shape (k,)."""
        rows = np.maximum(self.counts, 0)
        starts: NDArray[np.int64] = np.cumsum(rows) - rows
        return starts


class Snapshot(msgspec.Struct, frozen=True):
    """`maps` by the path of their pin, `btf` likewise. As a source of observations it answers as the host did."""

    header: Header
    maps: Mapping[str, SeenMap]
    held: tuple[Held, ...]
    starts: tuple[NDArray[np.int64], ...]
    """Of each of `held`."""
    btf: Mapping[str, bytes]

    @staticmethod
    def of(
        header: Header,
        maps: Mapping[str, SeenMap],
        held: Sequence[Held],
        btf: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Snapshot:
        return Snapshot(header, maps, tuple(held), tuple(one.starts() for one in held), btf)

    def host(self) -> Host:
        return Host(self.header.byteorder, self.header.possible_cpus)

    def lookups(self) -> dict[str, Lookup]:
        """How names are looked up on the host."""
        return {
            "ifindex": self.header.interfaces.get,
            "cgroup_id": lambda path: self.header.cgroups.get(path.strip("/")),
        }

    def read_btf(self, path: str) -> bytes:
        """The BTF of the map pinned at `path`, or of the kernel for `vmlinux`.

        Raises InputError where the snapshot does not have it.
        """
        if path not in self.btf:
            whose = "the kernel" if path == VMLINUX else f"the map at {path}"
            raise InputError(Problem(f"the snapshot has no BTF of {whose}", hint=_TAKE_AGAIN, id="snapshot-mismatch"))
        return self.btf[path]

    # --- as a source ----------------------------------------------------------------------------------------------

    def check(self, root: PurePath) -> None:
        if str(root) != self.header.pin_root:
            what = f"the snapshot is of the pin root {self.header.pin_root}, and the spec's is {root}"
            raise InputError(Problem(what, hint=_TAKE_AGAIN, id="snapshot-mismatch"))

    def exists(self, root: PurePath) -> bool:
        return self.header.exists and str(root) == self.header.pin_root

    def missing(self, paths: Iterable[str]) -> tuple[str, ...]:  # noqa: ARG002 (apply looks itself)
        return ()

    def pins(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002 (it was checked)
        return self.header.pins

    def directories(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002 (it was checked)
        return self.header.directories

    def misplaced_pins(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002 (it was checked)
        return self.header.misplaced_pins

    def live_ids(self, numbers: Iterable[int]) -> frozenset[int]:
        return frozenset(numbers).intersection(self.header.live)

    def inner_pins(self, root: PurePath) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG002 (it was checked)
        return self.header.inner_pins

    def access(self, root: PurePath, paths: Iterable[str]) -> Mapping[str, Access]:  # noqa: ARG002 (it was checked)
        return {path: self.header.access[path] for path in paths if path in self.header.access}

    def gid(self, group: str) -> int:
        if group not in self.header.groups:
            raise InputError(
                Problem(
                    f"the snapshot does not have the number of group `{group}`",
                    hint=_TAKE_AGAIN,
                    id="snapshot-mismatch",
                )
            )
        return self.header.groups[group]

    def meta(self, path: PurePath) -> Meta:
        assert path.name == META_PIN
        return Meta.from_json(self.header.meta or "")

    def map(self, path: PurePath) -> SeenMap | None:
        recorded = self.maps.get(str(path))
        if recorded is None and str(path.parent) != self.header.pin_root:
            what = f"the snapshot does not have the map at {path}"
            raise InputError(Problem(what, hint=_TAKE_AGAIN, id="snapshot-mismatch", address=str(path)))
        if recorded is None or not recorded.id:
            return None
        return replace(recorded, frozen=recorded.id in self.header.frozen)

    def inner_shape(self, path: PurePath, number: int) -> MapShape | None:  # noqa: ARG002 (ids are enough here)
        place = self._held(number)
        if place is None:
            return None
        held, _, at = place
        return held.shape.with_capacity(int(held.max_entries[at]))

    def entries(
        self,
        path: PurePath,
        number: int | None,
        *,
        deep: bool,
        nonzero: Ranges | None = None,  # noqa: ARG002 (all is in memory already)
    ) -> SeenEntries | None:
        if number is None:
            seen = self.map(path)
            number = 0 if seen is None else seen.id
        place = self._held(number)
        if place is None:
            return None
        held, starts, at = place
        count = int(held.counts[at])
        if deep and count < 0:
            what = "the snapshot has no entries of it: it was not the spec's to list them"
            raise InputError(Problem(what, hint=_TAKE_AGAIN, id="snapshot-mismatch", address=path.name))
        start = int(starts[at])
        rows = slice(start, start + max(count, 0))
        return SeenEntries(int(held.max_entries[at]), held.keys[rows], held.values[rows])

    def inner_maps(
        self,
        path: PurePath,
        numbers: Sequence[int],
        whole: Sequence[bool],
        template: MapShape,
        rows: int,
        *,
        nonzero: Ranges | None = None,  # noqa: ARG002 (all is in memory already)
    ) -> SeenInnerMaps:
        keys = [np.zeros((0, template.key_size), np.uint8)]
        values = [np.zeros((0, 0), np.uint8)]
        capacities: list[int] = []
        counts: list[int] = []
        total = 0
        for number, deep in zip(numbers, whole, strict=True):
            if total >= rows:
                break
            seen = self.entries(path, number, deep=deep)
            capacities.append(0 if seen is None else seen.max_entries)
            counts.append(0 if seen is None or not deep else len(seen.keys))
            total += counts[-1]
            if seen is not None and counts[-1]:
                keys.append(seen.keys)
                values.append(seen.values)
        sizes = np.array(capacities, np.uint32), np.array(counts, np.int64)
        return SeenInnerMaps(*sizes, np.concatenate(keys[1:] or keys), np.concatenate(values[1:] or values))

    def layout(self, path: PurePath) -> EntryLayout | None:
        return self.header.layouts.get(str(path))

    def frozen(self, path: PurePath, numbers: Sequence[int]) -> frozenset[int]:  # noqa: ARG002 (ids are enough here)
        return frozenset(numbers).intersection(self.header.frozen)

    def users(self, own: Mapping[int, str]) -> Mapping[int, tuple[str, ...]]:
        # The project's own programs have the names of their pins when the snapshot was taken.
        names = {pin: own.get(program.id, pin) for pin, program in self.header.programs.items()}
        return {number: tuple(names.get(each, each) for each in used) for number, used in self.header.users.items()}

    def program(self, path: PurePath) -> ObservedProgram:
        return self.header.programs[path.name]

    def link(self, path: PurePath) -> ObservedLink:
        return self.header.links[path.name]

    def occupant(self, attachment: Attachment, number: int) -> int:  # noqa: ARG002 (it was taken for this spec)
        return self.header.occupants.get(attachment.describe(), 0)

    def order(self, attachment: Attachment, number: int) -> HookOrder | None:  # noqa: ARG002 (it was taken for this spec)
        return self.header.orders.get(attachment.describe())

    def number(self, point: AttachPoint) -> int | None:
        match point.kind:
            case "interface":
                return self.header.interfaces.get(point.name)
            case "cgroup":
                return self.header.cgroups.get(point.name)
            case "netns":
                return self.header.namespaces.get(point.name)
            case "file":
                return self.header.files.get(point.name)
            case "cpu":
                return self.header.cpus.get(point.name)

    def _held(self, number: int) -> tuple[Held, NDArray[np.int64], int] | None:
        for held, starts in zip(self.held, self.starts, strict=True):
            at = int(np.searchsorted(held.ids, number))
            if at < len(held.ids) and int(held.ids[at]) == number:
                return held, starts, at
        return None
