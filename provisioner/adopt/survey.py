"""Finds live maps by pin, id or name, and reads them completely. Changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from provisioner.adopt.found import FoundInner, FoundMap, FoundTypes, lists_entries
from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_specials import specials_of
from provisioner.kernel import bpffs, maps, reading
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.maps import MapInfo
from provisioner.kernel.reasons import KernelError
from provisioner.model import entry_table
from provisioner.model.errors import Problems
from provisioner.model.host import Host
from provisioner.model.map_shape import MapShape
from provisioner.model.special_fields import Special
from provisioner.model.types import Bytes
from provisioner.model.uapi import object_name
from provisioner.model.words import odd_characters
from provisioner.observed.live_source import normalised


def survey(
    pins: Iterable[Path], ids: Iterable[int], names: Iterable[str], host: Host, *, contents: bool = True
) -> tuple[FoundMap, ...]:
    """The maps of the arguments, each once, in that order. Without `contents`, only shapes and types are read.

    Raises InputError for maps that do not exist and for ambiguous names, and HostError if they cannot be read.
    """
    problems = Problems()
    wanted: dict[int, str] = {}
    for pin in pins:
        if hint := odd_characters(str(pin)):
            what, hint = "a spec cannot name this pin", f"rename it: {hint}"
            problems.add(what, hint=hint, address=str(pin), id="invalid-name")
            continue
        with _missing_maps(problems, str(pin)), maps.open_pin(pin, readonly=True) as fd:
            wanted[int(maps.info(fd).id)] = str(pin.absolute())
    for number in ids:
        wanted.setdefault(number, "")
    for name in names:
        candidates = _by_name(name)
        outer = [one for one in candidates if one.shape.is_outer]
        chosen = outer if len(outer) == 1 else candidates
        if len(chosen) == 1:
            wanted.setdefault(int(chosen[0].id), "")
            continue
        several = ", ".join(f"{one.id} ({one.shape.map_type.word})" for one in candidates)
        if candidates:
            what = f"{len(candidates)} maps have this name: ids {several}"
            problems.add(what, hint="select one with `--id`", address=name, id="ambiguous-map-name")
        else:
            problems.add("no map has this name", hint="`bpftool map` lists all maps", address=name, id="no-such-map")
    problems.raise_if_any()
    unpinned = {number for number, pin in wanted.items() if not pin}
    known = _pins_of(unpinned) if unpinned else {}
    reader = _MapReader(host, contents)
    read = []
    for number, given in wanted.items():
        path = given or known.get(number, "")
        with _missing_maps(problems, path or f"map id {number}"), maps.open_id(InnerId(number)) as fd:
            read.append(reader.map(fd, path))
    problems.raise_if_any()
    return tuple(read)


@contextmanager
def _missing_maps(problems: Problems, who: str) -> Iterator[None]:
    """Turns ENOENT into a problem; other errors are raised."""
    try:
        yield
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        problems.add("this map does not exist", hint="`bpftool map` lists all maps", address=who, id="no-such-map")


def _by_name(name: str) -> list[MapInfo]:
    """All maps of a name, as the kernel cuts it. An outer map and its inner maps often have the same name."""
    infos = []
    for number in maps.map_ids():
        try:
            with maps.open_id(number) as fd:
                info = maps.info(fd)
            if info.name == object_name(name):
                infos.append(info)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
    return infos


def _pins_of(ids: set[int]) -> dict[int, str]:
    """The first pin of each map on any mounted bpffs."""
    pins: dict[int, str] = {}
    for path in bpffs.walk_pins():
        try:
            with bpffs.open_any(path) as fd:
                if isinstance(fd, MapFd) and (number := int(maps.info(fd).id)) in ids:
                    pins.setdefault(number, str(path))
        except KernelError:  # an iterator, or a pin that cannot be opened: it cannot be adopted
            continue
    return pins


class _MapReader:
    """Reads maps; each BTF object is read once."""

    def __init__(self, host: Host, contents: bool) -> None:
        self._host = host
        self._contents = contents
        self._btf: dict[int, bytes] = {0: b""}
        self._specials: dict[tuple[int, int], tuple[Special, ...]] = {}

    def map(self, fd: MapFd, pin: str) -> FoundMap:
        info = maps.info(fd)
        shape, types = self._shape(info), self._types(info)
        if not shape.is_outer:
            inner = self._inner(fd, info)
            nothing: Bytes = np.zeros((1, 0), np.uint8)
            return FoundMap(int(info.id), info.name, pin, shape, types, shape, types, nothing, (0,), (inner,))
        keys, ids = reading.read_slots(fd, shape)
        order = entry_table.order_of(keys, self._host.byteorder if shape.is_array else None)
        inners: dict[int, FoundInner] = {}
        place: dict[int, int] = {}
        entry_shape, entry_types = None, FoundTypes(b"", 0, 0)
        kept, numbers = [], []
        for row in order.tolist():
            number = int(ids[row])
            if number not in inners:
                try:
                    with maps.open_id(InnerId(number)) as inner_fd:
                        inner_info = maps.info(inner_fd)
                        inners[number] = self._inner(inner_fd, inner_info)
                        place[number] = len(inners) - 1
                except KernelError as error:
                    if error.errno == errno.ENOENT:  # replaced since the slots were read
                        continue
                    raise
                if entry_shape is None or (inner_info.btf_id and not entry_types.btf):
                    entry_shape, entry_types = self._shape(inner_info), self._types(inner_info)
            kept.append(row)
            numbers.append(place[number])
            if not self._contents:
                break
        return FoundMap(
            int(info.id),
            info.name,
            pin,
            shape,
            types,
            entry_shape,
            entry_types,
            keys[kept],
            tuple(numbers),
            tuple(inners.values()),
        )

    def _shape(self, info: MapInfo) -> MapShape:
        """The shape with its kernel fields, which decide what is read under a lock."""
        place = info.btf_id, info.btf_value_type_id
        if place not in self._specials:
            types = self._types(info)
            known = types.btf and types.value_id
            self._specials[place] = specials_of(BtfTypes(types.btf), types.value_id) if known else ()
        return replace(normalised(info.shape), specials=self._specials[place])

    def _types(self, info: MapInfo) -> FoundTypes:
        if info.btf_id not in self._btf:
            self._btf[info.btf_id] = maps.read_btf(info.btf_id)
        return FoundTypes(self._btf[info.btf_id], info.btf_key_type_id, info.btf_value_type_id)

    def _inner(self, fd: MapFd, info: MapInfo) -> FoundInner:
        shape = self._shape(info)
        if not (self._contents and lists_entries(shape)):
            empty = np.zeros((0, shape.key_size), np.uint8), np.zeros((0, shape.value_size), np.uint8)
            return FoundInner(int(info.id), shape.max_entries, *empty)
        keys, values = reading.read_entries(fd, shape, self._host.possible_cpus)
        if shape.is_array:
            held = entry_table.is_nonzero(values)
            keys, values = keys[held], values[held]
        order = entry_table.order_of(keys, self._host.byteorder if shape.is_array else None)
        return FoundInner(int(info.id), shape.max_entries, keys[order], values[order])
