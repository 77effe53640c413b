"""The `_meta` map: what the kernel does not show, in one small frozen map in the same directory."""

from __future__ import annotations

from pathlib import Path

from provisioner.kernel import bpffs, maps
from provisioner.model.access import AS_MADE, Access
from provisioner.model.errors import HostError, Problem
from provisioner.model.map_shape import MapShape
from provisioner.model.record import Meta
from provisioner.model.uapi import MapType

_KEY = bytes(4)


def read(path: Path) -> Meta:
    """The record at `path`. Raises HostError where it is none of ours."""
    with maps.open_pin(path, readonly=True) as fd:
        shape = maps.info(fd).shape
        raw = maps.lookup(fd, _KEY, shape.value_size) or b""
    try:
        return Meta.from_json(raw.rstrip(b"\0").decode())
    except ValueError as error:
        hint = "find its owner; if it is not needed, remove this pin, and take over the maps with --take-over"
        raise HostError(
            Problem("the map is not the record of a project", hint=hint, address=str(path), id="malformed-record")
        ) from error


def write(path: Path, meta: Meta, access: Access = AS_MADE) -> None:
    """Put a new record in the place of the old one by one rename: there is always the one or the other."""
    raw = meta.to_json().encode()
    with maps.create(MapShape(MapType.ARRAY, len(_KEY), len(raw), 1), "_meta") as fd:
        maps.update(fd, _KEY, raw, name=str(path))
        maps.freeze(fd)
        bpffs.pin_replace(fd, path, access)
