"""A project by its pin root or one of its pins, for a host on which the spec is not at hand. Changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from provisioner import attach
from provisioner.adopt.export import free_name, map_name
from provisioner.adopt.reconstruct import reconstruct
from provisioner.adopt.survey import survey
from provisioner.kernel import bpffs
from provisioner.kernel import host as this_host
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import Attachment
from provisioner.model.errors import InputError, Problem
from provisioner.model.observed import ObservedLink
from provisioner.model.pins import META_PIN, owner_of
from provisioner.model.record import Meta
from provisioner.observed import metamap

_NO_LINK: Final = ObservedLink(0, 0, 0, 0)


class Pinned(msgspec.Struct, frozen=True):
    """What is pinned at a path: a `spec` without contents, programs with their attachments, the address of the path.

    `is_project` says that a record tells whose the pins are. `address` is empty for a whole pin root, `revision`
    where none is recorded.
    """

    path: str
    root: str
    spec: str
    programs: Mapping[str, tuple[Attachment, ...]]
    address: str
    is_project: bool
    revision: str


def read(path: Path) -> Pinned:
    """What is pinned at `path`, a pin root or a pin of a map. Raises InputError if there is no map, and HostError."""
    path = path.absolute()
    root, address = (path, "") if path.is_dir() else (path.parent, path.name)
    has_record = META_PIN in bpffs.list_pins(root)
    record = metamap.read(root / META_PIN) if has_record else Meta(map_name(root) or "pins", {}, {}, {}, {})
    if not has_record and address:
        pins = [root / address]
    else:
        names = (name for name in bpffs.list_pins(root) if not name.startswith("_"))
        pins = [root / name for name in names if name in record.pins or not has_record]
        pins += [Path(place) for place in record.places.values() if Path(place).exists()]
    kinds = dict(_kinds(pins))
    maps = [pin for pin, kind in kinds.items() if kind is MapFd]
    if (address and path not in maps) or not (has_record or maps):
        what = "no map is pinned here"
        raise InputError(
            Problem(what, hint="`provisioner list` lists the projects", address=str(path), id="no-such-pin")
        )
    host = this_host.read_host()
    taken: set[str] = set()
    names_of = {place: name for name, place in record.places.items()}
    live_maps = survey(maps, (), (), host, contents=False)
    named = {names_of.get(each.pin) or free_name(each, taken): each for each in live_maps}
    place = str(root) if has_record else str(root / "adopted")
    spec = reconstruct(named, record, place, host.byteorder)
    programs = {pin.name: tuple(_attachments(pin.name, record)) for pin, kind in kinds.items() if kind is ProgramFd}
    address = next((name for name, each in named.items() if each.pin == str(path)), "")
    return Pinned(str(path), str(root), spec, programs, address, has_record, record.revision)


def _attachments(program: str, record: Meta) -> Iterator[Attachment]:
    """The recorded attachments of a program, by its pin."""
    for link, recorded in sorted(record.attachments.items()):
        if owner_of(link) == program and (made := attach.of_record(recorded, _NO_LINK)) is not None:
            yield made


def roots() -> list[Path]:
    """The pin roots of all projects on any mounted bpffs, each once: a bpffs can be mounted in several places."""
    directories = sorted({path.parent for path in bpffs.walk_pins() if path.name == META_PIN})
    return list({bpffs.place(root): root for root in reversed(directories)}.values())[::-1]


def changed(root: Path) -> str | None:
    """When the record of a project was written (UTC, ISO 8601): each record is a new pin. None if it was destroyed."""
    try:
        written = (root / META_PIN).stat().st_mtime
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")


def _kinds(pins: list[Path]) -> Iterator[tuple[Path, type]]:
    """What each pin holds, as the type of its fd; files of the kernel are left out."""
    for pin in pins:
        try:
            with bpffs.open_any(pin, readonly=True) as fd:
                yield pin, type(fd)
        except KernelError as error:
            if error.errno not in (errno.EACCES, errno.ENOENT):
                raise
