"""The pinned records of filters: small frozen maps, in the place where other attachments have the pin of a link."""

from __future__ import annotations

from pathlib import Path

from provisioner.kernel import filters
from provisioner.kernel.fd import MapFd
from provisioner.kernel.maps import info
from provisioner.model.access import AS_MADE, Access
from provisioner.model.errors import HostError, Problem
from provisioner.model.filter_record import FilterRecord
from provisioner.model.observed import ObservedLink
from provisioner.model.uapi import LinkType
from provisioner.observed import metamap


def read(fd: MapFd, path: Path) -> FilterRecord:
    """The record in an open map. Raises HostError where it is not one."""
    try:
        return FilterRecord.from_json(metamap.read_text(fd))
    except ValueError as error:
        what, hint = "the map is not the record of a filter", "find its owner, or remove this pin"
        raise HostError(Problem(what, hint=hint, address=str(path), id="malformed-record")) from error


def write(path: Path, record: FilterRecord, access: Access = AS_MADE) -> None:
    """Put a new record in the place of the old one by one rename."""
    metamap.write_text(path, record.to_json(), "_filter", access)


def observe(fd: MapFd, path: Path) -> ObservedLink:
    """The filter of a record as it is now: without a target if it was removed, or runs the program of another owner."""
    record = read(fd, path)
    running = filters.program_at(record.ifindex, record.place)
    is_ours = running in record.programs
    return ObservedLink(
        id=info(fd).id,
        program_id=running if is_ours else 0,
        target=record.ifindex if is_ours else 0,
        type=LinkType.UNSPEC,
        attach_type=int(record.place.point),
        filter=record.place,
    )
