"""This host's kernel as a source of observations. Makes no system call that changes anything."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_specials import specials_of
from provisioner.codec.layouts import btf_layout
from provisioner.kernel import arrays, attach_points, bpffs, filters, host, links, maps, reading
from provisioner.kernel.fd import LinkFd, MapFd, ProgramFd
from provisioner.kernel.inner_maps import read_inner_maps
from provisioner.kernel.inner_pins import OPENED_BY_ID, InnerPins, pinned
from provisioner.kernel.maps import MapInfo
from provisioner.kernel.reasons import KernelError
from provisioner.model.access import AS_MADE, Access
from provisioner.model.attachment import AddFilter, Attachment, AttachPoint, CreateLink, HookOrder
from provisioner.model.desired import DesiredState
from provisioner.model.errors import HostError
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedLink, ObservedProgram
from provisioner.model.pins import INNER_PINS, LOCK, inner_directory, map_path, places
from provisioner.model.record import Meta
from provisioner.model.special_fields import Special
from provisioner.model.type_layout import EntryLayout
from provisioner.model.types import Bytes
from provisioner.model.uapi import FD_MODES, AttachType, MapFlag, MapType
from provisioner.observed import filter_pins, holders, metamap
from provisioner.observed.sources import Ranges, SeenEntries, SeenInnerMaps, SeenMap

if TYPE_CHECKING:
    from provisioner.bytecode.digest import Secret, Words
    from provisioner.bytecode.lookup_program import LookupRecord
    from provisioner.kernel.digests import MapDigests
    from provisioner.kernel.lookup_programs import LookedUp


class LiveSource:
    """The kernel, as `Source` asks it for a project. Maps are opened read-only: their pins' modes may allow no more."""

    def __init__(self, desired: DesiredState) -> None:
        self._cpus = desired.host.possible_cpus
        self._root = Path(desired.pin_root)
        self._inner: dict[Path, InnerPins] = {}
        for root in (*(move.old for move in desired.moved_roots), desired.pin_root):
            there = replace(desired, pin_root=root)
            self._inner |= {
                Path(map_path(there, desired_map)): inner_maps(there, desired_map.name)
                for desired_map in desired.maps.values()
            }
            self._inner |= {
                Path(root) / move.old: inner_maps(there, move.old) for move in desired.moved if move.new in desired.maps
            }
        self._places = tuple(Path(path) for path in places(desired).values())
        self._specials: dict[tuple[int, int], tuple[Special, ...]] = {}

    def check(self, root: PurePath) -> None:
        bpffs.check(Path(root))
        if Path(root) != self._root:  # it is to be moved there
            bpffs.check(self._root)
            bpffs.check_same(Path(root), self._root)
        for path in self._places:
            bpffs.check_place(path, Path(root))

    def exists(self, root: PurePath) -> bool:
        return Path(root).is_dir()

    def missing(self, paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(str(path) for path in bpffs.missing_directories(map(Path, paths)))

    def pins(self, root: PurePath) -> tuple[str, ...]:
        return bpffs.list_pins(Path(root))

    def directories(self, root: PurePath) -> tuple[str, ...]:
        here = Path(root)
        folders = [name for name in bpffs.list_folders(here) if name not in (INNER_PINS, LOCK)]
        own = [LOCK, *(f"{INNER_PINS}/{name}" for name in bpffs.list_folders(here / INNER_PINS))]
        return tuple(sorted([*folders, *_inside(here, own, bpffs.list_folders)]))

    def misplaced_pins(self, root: PurePath) -> tuple[str, ...]:
        return tuple(sorted(_inside(Path(root), (LOCK, INNER_PINS), bpffs.list_pins)))

    def live_ids(self, numbers: Iterable[int]) -> frozenset[int]:
        return frozenset(holders.live(numbers))

    def inner_pins(self, root: PurePath) -> Mapping[str, tuple[str, ...]]:
        return pinned(Path(root) / INNER_PINS)

    def access(self, root: PurePath, paths: Iterable[str]) -> Mapping[str, Access]:
        access = {}
        for path in paths:
            try:
                access[path] = bpffs.access(Path(root) / path)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
        return access

    def gid(self, group: str) -> int:
        return host.gid(group)

    def meta(self, path: PurePath) -> Meta:
        return metamap.read(Path(path))

    def map(self, path: PurePath) -> SeenMap | None:
        fd = self.open(path)
        if fd is None:
            return None
        with fd:
            info = maps.info(fd)
            shape = self._shape(info)
            if not shape.is_outer:
                return SeenMap(info.id, shape, np.zeros((0, 0), np.uint8), np.zeros(0, np.uint32), maps.is_frozen(fd))
            return SeenMap(info.id, shape, *reading.read_slots(fd, shape), maps.is_frozen(fd))

    def inner_shape(self, path: PurePath, number: int) -> MapShape | None:
        try:
            fd = self.open(path, number)
        except KernelError:
            raise
        except HostError:  # it has no pin; reading its entries raises the error
            return None
        if fd is None:
            return None
        with fd:
            return self._shape(maps.info(fd))

    def entries(
        self, path: PurePath, number: int | None, *, deep: bool, nonzero: Ranges | None = None
    ) -> SeenEntries | None:
        fd = self.open(path, number)
        if fd is None:
            return None
        with fd:
            info = maps.info(fd)
            if not deep:
                nothing = np.zeros((0, 0), np.uint8)
                return SeenEntries(info.shape.max_entries, nothing, nothing)
            shape = replace(info.shape, specials=self.specials_of(info))
            if nonzero is not None and shape.is_array:
                return SeenEntries(shape.max_entries, *arrays.read_nonzero(fd, shape, self._cpus, nonzero))
            return SeenEntries(shape.max_entries, *reading.read_entries(fd, shape, self._cpus))

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
        # All inner maps have the special fields of the first, as the kernel requires.
        live = (shape for number in numbers if (shape := self.inner_shape(path, number)) is not None)
        specials = next(live, template).specials
        shape, pins = replace(template, specials=specials), self._inner.get(Path(path), OPENED_BY_ID)
        inner = read_inner_maps(numbers, whole, shape, self._cpus, rows, pins=pins, nonzero=nonzero)
        return SeenInnerMaps(inner.max_entries, inner.counts, inner.keys, inner.values)

    def layout(self, path: PurePath) -> EntryLayout | None:
        fd = self.open(path)
        if fd is None:
            return None
        with fd:
            info = maps.info(fd)
            if not info.shape.is_outer:
                return _layout(info)
            numbers = sorted(set(reading.read_slots(fd, info.shape)[1].tolist()))
        for number in numbers:
            inner = self.open(path, number)
            if inner is not None:
                with inner:
                    layout = _layout(maps.info(inner))
                if layout is not None:
                    return layout
        return None

    def digests(
        self, path: PurePath, keys: Bytes, capacities: NDArray[np.uint32], words: Words, secret: Secret
    ) -> MapDigests | None:
        """The digests of the inner maps in slots of the outer map at `path`, or of a plain map, without a key.

        None where this kernel or process does not compute them.
        """
        fd = self.open(path)
        if fd is None:
            return None
        with fd:
            from provisioner.kernel.digests import map_digests

            return map_digests(fd, keys, capacities, words, secret)

    def looked_up(self, path: PurePath, record: LookupRecord, slots: Bytes, keys: Bytes) -> LookedUp | None:
        """Each of `keys` in the inner map of one of `slots`, or in a plain map, by a program.

        None where this kernel or process does not take it.
        """
        fd = self.open(path)
        if fd is None:
            return None
        with fd:
            from provisioner.kernel.lookup_programs import LookupProgram

            program = LookupProgram.load(fd, record)
            if program is None:
                return None
            with program:
                return program.look_up(slots, keys)

    def frozen(self, path: PurePath, numbers: Sequence[int]) -> frozenset[int]:
        frozen = set()
        for number in numbers:
            fd = self.open(path, number)
            if fd is not None:
                with fd:
                    if maps.is_frozen(fd):
                        frozen.add(number)
        return frozenset(frozen)

    def users(self, own: Mapping[int, str]) -> Mapping[int, tuple[str, ...]]:
        return holders.users(own) or {}

    def program(self, path: PurePath) -> ObservedProgram:
        with bpffs.open_pin(Path(path), ProgramFd, readonly=True) as fd:
            info = links.program_info(fd)
        return ObservedProgram(info.id, info.name, info.tag, tuple(info.map_ids))

    def link(self, path: PurePath) -> ObservedLink:
        with bpffs.open_any(Path(path), readonly=True) as pinned:
            if isinstance(pinned, MapFd):
                return filter_pins.observe(pinned, Path(path))
            info = links.info(bpffs.required(pinned, LinkFd, Path(path)))
        return ObservedLink(info.id, info.prog_id, info.target, info.type, info.attach_type, map_id=info.map_id)

    def occupant(self, attachment: Attachment, number: int) -> int:
        match attachment.request():
            case AddFilter(place):
                return filters.program_at(number, place)
            case CreateLink(AttachType.XDP):
                return links.xdp_program(number)
            case _:
                return 0

    def order(self, attachment: Attachment, number: int) -> HookOrder | None:
        request, neighbour = attachment.request(), attachment.neighbour
        if neighbour is None or not isinstance(request, CreateLink):
            return None
        named = _program_at(Path(neighbour.name)) if neighbour.is_foreign else 0
        return HookOrder(links.order(number, request.attach_type), named)

    def number(self, point: AttachPoint) -> int | None:
        return attach_points.find(point)

    def _shape(self, info: MapInfo) -> MapShape:
        return replace(normalised(info.shape), specials=self.specials_of(info))

    def specials_of(self, info: MapInfo) -> tuple[Special, ...] | None:
        """The kernel's own fields in a map's values, from its BTF; None where this process may not read it."""
        if not info.btf_value_type_id:
            return ()
        place = info.btf_id, info.btf_value_type_id
        if place not in self._specials:
            try:
                types = BtfTypes(maps.read_btf(info.btf_id))
            except KernelError as error:
                if error.errno not in (errno.EPERM, errno.EACCES):
                    raise
                return None
            self._specials[place] = specials_of(types, info.btf_value_type_id)
        return self._specials[place]

    def open(self, path: PurePath, number: int | None = None) -> MapFd | None:
        """The map at `path`, or its inner map with an id; None if it is not there, or not there any more."""
        try:
            if number is None:
                return maps.open_pin(Path(path), readonly=True)
            return self._inner.get(Path(path), OPENED_BY_ID).open(number, readonly=True)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return None


def _layout(info: MapInfo) -> EntryLayout | None:
    """The layouts of a map's entries by its BTF; None where it has none, or this process may not read it."""
    if not info.btf_id or not info.btf_value_type_id:
        return None
    try:
        types = BtfTypes(maps.read_btf(info.btf_id))
    except KernelError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        return None
    return btf_layout(types, info.btf_key_type_id, info.btf_value_type_id)


def _program_at(path: Path) -> int:
    """The id of a pinned program, or of that of a pinned link; 0 if there is neither."""
    try:
        with bpffs.open_any(path, readonly=True) as fd:
            match fd:
                case LinkFd():
                    return links.info(fd).prog_id
                case ProgramFd():
                    return links.program_info(fd).id
                case _:
                    return 0
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return 0


def inner_maps(desired: DesiredState, name: str, access: Access = AS_MADE) -> InnerPins:
    """The inner maps of an outer map, as a project opens and pins them."""
    directory = inner_directory(desired, name)
    return InnerPins(None if directory is None else Path(directory), access)


def normalised(shape: MapShape) -> MapShape:
    """A live shape as it was asked for: without the modes of an fd, and without what the kernel adds.

    DEVMAP and DEVMAP_HASH gain RDONLY_PROG (dev_map_init_map, since 0cdbb4b09a06). NUMA_NODE says that a node was
    asked for, but not which: 0 means any node.
    """
    node = 0 if shape.map_flags & MapFlag.NUMA_NODE else None
    flags = shape.map_flags & ~(FD_MODES | MapFlag.NUMA_NODE)
    if shape.map_type in (MapType.DEVMAP, MapType.DEVMAP_HASH):
        flags &= ~MapFlag.RDONLY_PROG
    if flags == shape.map_flags:
        return shape
    return replace(shape, map_flags=flags, numa_node=node)


def _inside(root: Path, directories: Iterable[str], listed: Callable[[Path], tuple[str, ...]]) -> Iterator[str]:
    """What is listed in directories of the pin root, by the paths from there."""
    for name in directories:
        with suppress(KernelError):  # a reader may not enter the directory of the lock
            yield from (f"{name}/{each}" for each in listed(root / name))
