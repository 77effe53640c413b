"""The `_meta` map: what the kernel does not show, in one small frozen map in the same directory."""

from __future__ import annotations

from pathlib import Path

from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import MapFd
from provisioner.model.access import AS_MADE, Access
from provisioner.model.errors import HostError, Problem
from provisioner.model.map_shape import MapShape
from provisioner.model.record import Meta
from provisioner.model.uapi import MapType

_KEY = bytes(4)


def read(path: Path) -> Meta:
    """The record at `path`. Raises HostError where it is none of ours."""
    try:
        with maps.open_pin(path, readonly=True) as fd:
            return Meta.from_json(read_text(fd))
    except ValueError as error:
        hint = "find its owner; if it is not needed, remove this pin, and take over the maps with --take-over"
        raise HostError(
            Problem("the map is not the record of a project", hint=hint, address=str(path), id="malformed-record")
        ) from error


def write(path: Path, meta: Meta, access: Access = AS_MADE) -> None:
    """Put a new record in the place of the old one by one rename: there is always the one or the other."""
    write_text(path, meta.to_json(), "_meta", access)


def read_text(fd: MapFd) -> str:
    """The text in a map with one value. Raises ValueError where it is not text."""
    raw = maps.lookup(fd, _KEY, maps.info(fd).shape.value_size) or b""
    return raw.rstrip(b"\0").decode()


def write_text(path: Path, text: str, name: str, access: Access) -> None:
    """Pin a frozen map that holds a text, in the place of what is pinned there, by one rename."""
    raw = text.encode()
    with maps.create(MapShape(MapType.ARRAY, len(_KEY), len(raw), 1), name) as fd:
        maps.update(fd, _KEY, raw, name=str(path))
        maps.freeze(fd)
        bpffs.pin_replace(fd, path, access)
