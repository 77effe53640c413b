"""Snapshots: what a plan needs to know of a host, in one file that is read without root and without BPF. Pure.

docs/snapshots.md describes the format. Bytes are kept as the kernel gave them, so that a later spec with other types
reads them in its own way.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.resolve import Lookup
from provisioner.model.access import Access
from provisioner.model.attachment import AttachPoint
from provisioner.model.errors import InputError, Problem
from provisioner.model.host import Host
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedLink, ObservedProgram
from provisioner.model.pins import META_PIN
from provisioner.model.record import Meta
from provisioner.model.type_expr import VMLINUX
from provisioner.model.types import Bytes
from provisioner.observed.sources import SeenEntries, SeenInnerMaps, SeenMap

FORMAT: Final = "provisioner-snapshot"
VERSION: Final = 1
_HEADER: Final = "header.json"
_COLUMNS: Final[Sequence[str]] = ("ids", "max_entries", "counts", "keys", "values")
_DAMAGED: Final = (
    *(ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, OSError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a file raises that is no snapshot."""

_TAKE_ANEW: Final = "take the snapshot anew, with this spec"


class Header(msgspec.Struct, frozen=True):
    """Where and when it was taken (UTC, ISO 8601), and all that is not in columns.

    `interfaces` and `cgroups` are all that the host has, by name and by path below the mount. `inner_pins`, `access`
    and `groups` are there where the spec asks for them, as a `Source` gives them.
    """

    host: str
    kernel: str
    taken: str
    byteorder: str
    possible_cpus: int
    project: str
    pin_root: str
    exists: bool
    pins: tuple[str, ...]
    meta: str | None
    programs: Mapping[str, ObservedProgram]
    links: Mapping[str, ObservedLink]
    interfaces: Mapping[str, int]
    cgroups: Mapping[str, int]
    inner_pins: Mapping[str, tuple[str, ...]] = {}
    access: Mapping[str, Access] = {}
    groups: Mapping[str, int] = {}
    namespaces: Mapping[str, int] = {}


class Held(msgspec.Struct, frozen=True):
    """Maps that hold entries, all of one shape but for their capacity: k maps with n entries together.

    `ids`, `max_entries` and `counts` have shape (k,); a count of -1 says that nobody looked. `keys` (n, key size) and
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
        found: NDArray[np.int64] = np.cumsum(rows) - rows
        return found


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
        return Host("little" if self.header.byteorder == "little" else "big", self.header.possible_cpus)

    def lookups(self) -> dict[str, Lookup]:
        """How names are looked up on the host."""
        return {
            "ifindex": self.header.interfaces.get,
            "cgroup_id": lambda path: self.header.cgroups.get(path.strip("/")),
        }

    def read_btf(self, path: str) -> bytes:
        """The BTF of the map pinned at `path`, or of the kernel for `vmlinux`.

        Raises InputError where nobody asked for it when this was taken.
        """
        if path not in self.btf:
            whose = "the kernel" if path == VMLINUX else f"the map at {path}"
            raise InputError(Problem(f"the snapshot has no BTF of {whose}", hint=_TAKE_ANEW))
        return self.btf[path]

    # --- as a source ----------------------------------------------------------------------------------------------

    def check(self, root: PurePath) -> None:
        if str(root) != self.header.pin_root:
            what = f"the snapshot is of the pin root {self.header.pin_root}, and the spec's is {root}"
            raise InputError(Problem(what, hint=_TAKE_ANEW))

    def exists(self, root: PurePath) -> bool:  # noqa: ARG002 (it was checked)
        return self.header.exists

    def pins(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002 (it was checked)
        return self.header.pins

    def inner_pins(self, root: PurePath) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG002 (it was checked)
        return self.header.inner_pins

    def access(self, root: PurePath, paths: Iterable[str]) -> Mapping[str, Access]:  # noqa: ARG002 (it was checked)
        return {path: self.header.access[path] for path in paths if path in self.header.access}

    def gid(self, group: str) -> int:
        if group not in self.header.groups:
            raise InputError(Problem(f"the snapshot does not tell the number of group `{group}`", hint=_TAKE_ANEW))
        return self.header.groups[group]

    def meta(self, path: PurePath) -> Meta:
        assert path.name == META_PIN
        return Meta.from_json(self.header.meta or "")

    def map(self, path: PurePath) -> SeenMap | None:
        found = self.maps.get(str(path))
        if found is None and str(path.parent) != self.header.pin_root:
            what = f"the snapshot does not tell whether there is a map at {path}"
            raise InputError(Problem(what, hint=_TAKE_ANEW, address=str(path)))
        return found if found is not None and found.id else None

    def inner_shape(self, path: PurePath, number: int) -> MapShape | None:  # noqa: ARG002 (ids are enough here)
        found = self._held(number)
        if found is None:
            return None
        held, _, at = found
        return held.shape.with_capacity(int(held.max_entries[at]))

    def entries(self, path: PurePath, number: int | None, *, deep: bool) -> SeenEntries | None:
        if number is None:
            seen = self.map(path)
            number = 0 if seen is None else seen.id
        found = self._held(number)
        if found is None:
            return None
        held, starts, at = found
        count = int(held.counts[at])
        if deep and count < 0:
            what = "the snapshot has no entries of it: it was not the spec's to list them"
            raise InputError(Problem(what, hint=_TAKE_ANEW, address=path.name))
        start = int(starts[at])
        rows = slice(start, start + max(count, 0))
        return SeenEntries(int(held.max_entries[at]), held.keys[rows], held.values[rows])

    def inner_maps(
        self, path: PurePath, numbers: Sequence[int], whole: Sequence[bool], template: MapShape, rows: int
    ) -> SeenInnerMaps:
        keys, values = [np.zeros((0, template.key_size), np.uint8)], [np.zeros((0, 0), np.uint8)]
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
        values = values[1:] or values
        sizes = np.array(capacities, np.uint32), np.array(counts, np.int64)
        return SeenInnerMaps(*sizes, np.concatenate(keys), np.concatenate(values))

    def program(self, path: PurePath) -> ObservedProgram:
        return self.header.programs[path.name]

    def link(self, path: PurePath) -> ObservedLink:
        return self.header.links[path.name]

    def number(self, point: AttachPoint) -> int | None:
        match point.kind:
            case "interface":
                return self.header.interfaces.get(point.name)
            case "cgroup":
                return self.header.cgroups.get(point.name)
            case "netns":
                return self.header.namespaces.get(point.name)

    def _held(self, number: int) -> tuple[Held, NDArray[np.int64], int] | None:
        for held, starts in zip(self.held, self.starts, strict=True):
            at = int(np.searchsorted(held.ids, number))
            if at < len(held.ids) and int(held.ids[at]) == number:
                return held, starts, at
        return None


# --- the file ----------------------------------------------------------------------------------------------------


def to_bytes(snapshot: Snapshot) -> bytes:
    """The file of a snapshot."""
    listed = [
        {"path": path, "id": seen.id, "shape": msgspec.to_builtins(seen.shape), "slots": seen.shape.is_outer}
        for path, seen in sorted(snapshot.maps.items())
    ]
    columns: dict[str, NDArray[Any]] = {}
    for number, (_, seen) in enumerate(sorted(snapshot.maps.items())):
        if seen.shape.is_outer:
            columns |= {f"maps/{number}/keys": seen.keys, f"maps/{number}/ids": seen.inner_ids}
    for number, held in enumerate(snapshot.held):
        for name in _COLUMNS:
            columns[f"held/{number}/{name}"] = getattr(held, name)
    header = {"format": FORMAT, "version": VERSION, **msgspec.to_builtins(snapshot.header)}
    header |= {"maps": listed, "held": [msgspec.to_builtins(held.shape) for held in snapshot.held]}
    header["btf"] = sorted(snapshot.btf)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr(_HEADER, json.dumps(header, sort_keys=True))
        for number, path in enumerate(sorted(snapshot.btf)):
            archive.writestr(f"btf/{number}", snapshot.btf[path])
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(column), allow_pickle=False)
    return stream.getvalue()


def from_bytes(data: bytes, file: str) -> Snapshot:
    """Read a snapshot; `file` is its name, for errors. Raises InputError for what is none, or is a newer one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            fields = json.loads(archive.read(_HEADER))
            if fields.pop("format") != FORMAT:
                raise ValueError("of another format")
            version = fields.pop("version")
            if version != VERSION:
                what = f"this snapshot is of version {version}; version {VERSION} is known here"
                raise InputError(Problem(what, Location(file), "use the same provisioner on both sides"))
            return _read(fields, archive)
    except _DAMAGED as error:
        hint = "`export --snapshot` writes snapshots"
        raise InputError(Problem("this is no snapshot", Location(file), hint)) from error


def _read(fields: dict[str, Any], archive: zipfile.ZipFile) -> Snapshot:
    def column(name: str) -> NDArray[Any]:
        with archive.open(f"{name}.npy") as member:
            found: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return found

    maps = {}
    for number, one in enumerate(fields.pop("maps")):
        keys, ids = np.zeros((0, 0), np.uint8), np.zeros(0, np.uint32)
        if one["slots"]:
            keys, ids = column(f"maps/{number}/keys"), column(f"maps/{number}/ids")
        maps[one["path"]] = SeenMap(one["id"], MapShape.from_json(one["shape"]), keys, ids)
    held = tuple(
        Held(MapShape.from_json(shape), *(column(f"held/{number}/{name}") for name in _COLUMNS))
        for number, shape in enumerate(fields.pop("held"))
    )
    btf = {path: archive.read(f"btf/{number}") for number, path in enumerate(fields.pop("btf", ()))}
    programs = {
        pin: ObservedProgram(**one | {"map_ids": tuple(one["map_ids"])}) for pin, one in fields["programs"].items()
    }
    links = {pin: msgspec.convert(one, ObservedLink) for pin, one in fields["links"].items()}
    fields |= {"pins": tuple(fields["pins"]), "programs": programs, "links": links}
    fields["inner_pins"] = {name: tuple(pins) for name, pins in fields.get("inner_pins", {}).items()}
    fields["access"] = {path: Access(**one) for path, one in fields.get("access", {}).items()}
    header = Header(**fields)
    return Snapshot.of(header, maps, held, btf)
