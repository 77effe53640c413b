"""The file of a snapshot: a zip archive of a JSON header and NumPy arrays, as docs/snapshots.md describes it. Pure.

A snapshot comes from another machine. So nothing in it is believed: the header is decoded by its schema, each array
must have the type and the shape that the header and the other arrays require, and no more is inflated than they need.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from math import prod
from typing import IO, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.model.errors import InputError, Problem
from provisioner.model.location import Location
from provisioner.model.map_shape import MapShape, value_stride
from provisioner.model.record import Meta
from provisioner.model.uapi import U32
from provisioner.observed.snapshot import Header, Held, Snapshot
from provisioner.observed.sources import SeenMap

FORMAT: Final = "provisioner-snapshot"
VERSION: Final = 1
_HEADER: Final = "header.json"
_COLUMNS: Final[Sequence[str]] = ("ids", "max_entries", "counts", "keys", "values")
_MOST_HEADER: Final = 256 << 20
_MOST_BTF: Final = 64 << 20
_MOST_INFLATED: Final = 16 << 30
"""Bytes of the header, of the BTF of one map, and of all members together."""

_NPY: Final = b"\x93NUMPY\x01\x00"
_ARRAY_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|][ui][1248])', 'fortran_order': False, 'shape': \(([0-9, ]{0,60})\), \} *\n"
)
_MOST_ARRAY_HEADER: Final = 1 << 10

_MOST_FLAGS: Final = 0xFFFF_FFFF
_NOT_AN_ARCHIVE: Final = (
    *(ValueError, KeyError, IndexError, EOFError, RuntimeError, OSError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What zipfile raises for damaged archives."""


class _Malformed(Exception):
    """The snapshot is malformed; the text says where in it, and why."""


class _Envelope(msgspec.Struct, frozen=True):
    """What all versions begin with."""

    format: Literal["provisioner-snapshot"]
    version: msgspec.Raw


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A map in the header; its slots are arrays."""

    path: str
    id: U32
    shape: MapShape
    slots: bool


class HeaderDocument(Header, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`header.json`."""

    format: Literal["provisioner-snapshot"]
    version: Literal[1]
    maps: tuple[_Listed, ...]
    held: tuple[MapShape, ...]
    btf: tuple[str, ...] = ()


def to_bytes(snapshot: Snapshot) -> bytes:
    """The file of a snapshot."""
    listed = []
    columns: dict[str, NDArray[Any]] = {}
    for number, (path, seen) in enumerate(sorted(snapshot.maps.items())):
        listed.append(_Listed(path, seen.id, seen.shape, seen.shape.is_outer))
        if seen.shape.is_outer:
            columns |= {f"maps/{number}/keys": seen.keys, f"maps/{number}/ids": seen.inner_ids}
    for number, held in enumerate(snapshot.held):
        columns |= {f"held/{number}/{name}": getattr(held, name) for name in _COLUMNS}
    header = {"format": FORMAT, "version": VERSION, **msgspec.to_builtins(snapshot.header, str_keys=True)}
    header |= {"maps": listed, "held": [held.shape for held in snapshot.held], "btf": sorted(snapshot.btf)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr(_HEADER, msgspec.json.encode(header, order="sorted"))
        for number, path in enumerate(sorted(snapshot.btf)):
            archive.writestr(f"btf/{number}", snapshot.btf[path])
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(column), allow_pickle=False)
    return stream.getvalue()


def from_bytes(data: bytes, file: str) -> Snapshot:
    """Read a snapshot; `file` is its name, for errors. Raises InputError for one that is malformed, or newer."""
    place = Location(file)
    hint = "`export --snapshot` writes snapshots"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _ArchiveMembers(archive)
            text = members.read(_HEADER, _MOST_HEADER)
            version = msgspec.json.decode(text, type=_Envelope).version
            if bytes(version) != b"%d" % VERSION:
                what = f"snapshot version {bytes(version).decode()[:40]} is not supported, only {VERSION} is"
                raise InputError(Problem(what, place, "use the same provisioner on both sides", id="snapshot-version"))
            return _snapshot(msgspec.json.decode(text, type=HeaderDocument), members)
    except (_Malformed, msgspec.DecodeError) as error:
        if "unknown field" in str(error):
            hint = "a later release can write fields that this one does not know: use one release on both sides"
        raise InputError(Problem(f"malformed snapshot: {error}", place, hint, id="malformed-snapshot")) from error
    except RecursionError as error:
        raise InputError(
            Problem("malformed snapshot: header.json is nested too deeply", place, hint, id="malformed-snapshot")
        ) from error
    except _NOT_AN_ARCHIVE as error:
        raise InputError(
            Problem(f"malformed snapshot: not a complete zip archive ({error})", place, hint, id="malformed-snapshot")
        ) from error


class _ArchiveMembers:
    """The members of an archive. What is read is inflated no further than it says, and than all may."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        if sum(member.file_size for member in archive.infolist()) > _MOST_INFLATED:
            raise _Malformed(f"its members have more than {_MOST_INFLATED:,} bytes")

    def read(self, name: str, most: int) -> bytes:
        """A member of at most so many bytes."""
        with self._archive.open(self._find(name, most)) as member:
            return member.read()

    def array(self, name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
        """An array of this type and shape, where None is any length."""
        name = f"{name}.npy"
        info = self._find(name, _MOST_INFLATED)
        with self._archive.open(info) as member:
            kind, lengths = _array_header(name, member)
            if kind.newbyteorder("=") != dtype:
                raise _Malformed(f"{name} has elements of type {kind}, not {dtype}")
            fits = len(lengths) == len(shape) and all(want in (None, n) for n, want in zip(lengths, shape, strict=True))
            if not fits or member.tell() + prod(lengths) * dtype.itemsize != info.file_size:
                raise _Malformed(f"{name} has shape {lengths}, which does not fit to the other members or to its size")
            data = member.read()
        return np.frombuffer(data, kind).reshape(lengths).astype(dtype, copy=False)

    def _find(self, name: str, most: int) -> zipfile.ZipInfo:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise _Malformed(f"there is no member {name}") from None
        if info.file_size > most:
            raise _Malformed(f"{name} has {info.file_size:,} bytes, more than {most:,}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Malformed(f"{name} is not compressed by deflate")
        return info


def _array_header(name: str, member: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape of a `.npy` file of version 1.0, as NumPy writes it. NumPy's reader evaluates it."""
    size = int.from_bytes(member.read(10).removeprefix(_NPY), "little")
    if size > _MOST_ARRAY_HEADER or (header := _ARRAY_HEADER.fullmatch(member.read(size))) is None:
        raise _Malformed(f"{name} is not an array of integers in .npy format 1.0")
    kind, lengths = header.groups()
    return np.dtype(kind.decode()), tuple(int(length) for length in lengths.replace(b",", b" ").split())


_BYTE: Final = np.dtype(np.uint8)
_ID: Final = np.dtype(np.uint32)
_COUNT: Final = np.dtype(np.int64)


def _snapshot(header: HeaderDocument, members: _ArchiveMembers) -> Snapshot:
    if header.meta is not None:
        try:
            Meta.from_json(header.meta)
        except ValueError as error:
            raise _Malformed(f"the record of the project: {error}") from None
    held = tuple(_held(number, shape, header.possible_cpus, members) for number, shape in enumerate(header.held))
    maps = {listed.path: _map(number, listed, members) for number, listed in enumerate(header.maps)}
    _check_slots(maps, held)
    btf = {path: members.read(f"btf/{number}", _MOST_BTF) for number, path in enumerate(header.btf)}
    own = {name: getattr(header, name) for name in Header.__struct_fields__}
    return Snapshot.of(Header(**own), maps, held, btf)


def _map(number: int, listed: _Listed, members: _ArchiveMembers) -> SeenMap:
    shape = listed.shape
    _check_flags(shape, listed.path)
    if listed.slots is not shape.is_outer:
        raise _Malformed(f"{listed.path} is an outer map, or has slots, but not both")
    if not listed.slots:
        return SeenMap(listed.id, shape, np.zeros((0, 0), np.uint8), np.zeros(0, np.uint32))
    ids = members.array(f"maps/{number}/ids", _ID, (None,))
    keys = members.array(f"maps/{number}/keys", _BYTE, (len(ids), shape.key_size))
    return SeenMap(listed.id, shape, keys, ids)


def _held(number: int, shape: MapShape, possible_cpus: int, members: _ArchiveMembers) -> Held:
    place = f"held/{number}"
    _check_flags(shape, place)
    if shape.is_outer:
        raise _Malformed(f"{place} is an outer map, which has no entries")
    ids = members.array(f"{place}/ids", _ID, (None,))
    capacities = members.array(f"{place}/max_entries", _ID, (len(ids),))
    counts = members.array(f"{place}/counts", _COUNT, (len(ids),))
    if bool((ids[1:] <= ids[:-1]).any()):
        raise _Malformed(f"the ids of {place} do not ascend")
    if bool((counts < -1).any()):
        raise _Malformed(f"the counts of {place} are below -1")
    rows = sum(np.maximum(counts, 0).tolist())
    stride = value_stride(shape, possible_cpus)
    keys = members.array(f"{place}/keys", _BYTE, (rows, shape.key_size))
    values = members.array(f"{place}/values", _BYTE, (rows, stride if rows else None))
    return Held(shape, ids, capacities, counts, keys, values)


def _check_flags(shape: MapShape, place: str) -> None:
    if not 0 <= shape.map_flags.value <= _MOST_FLAGS:
        raise _Malformed(f"the flags of {place} are not a 32-bit number")


def _check_slots(maps: dict[str, SeenMap], held: tuple[Held, ...]) -> None:
    """All inner maps of an outer map have entries of one size, as the kernel requires it."""
    for path, seen in maps.items():
        inner = [group for group in held if len(np.intersect1d(group.ids, seen.inner_ids))]
        sizes = {(group.shape.map_type, group.shape.key_size, group.shape.value_size) for group in inner}
        if len(sizes) > 1:
            raise _Malformed(f"the inner maps of {path} have different shapes")
