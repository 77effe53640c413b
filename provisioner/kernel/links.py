"""Programs and what they are attached to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from provisioner.kernel import libbpf
from provisioner.kernel.bpffs import open_pin
from provisioner.kernel.fd import InnerId, LinkFd, ProgramFd
from provisioner.kernel.maps import ids
from provisioner.kernel.reasons import KernelError
from provisioner.model.uapi import XdpMode

_BPF_XDP: Final = 37
"""`enum bpf_attach_type`."""

LINK_TYPE_XDP: Final = 6
"""`enum bpf_link_type`."""


class ProgramInfo(msgspec.Struct, frozen=True):
    """What the kernel tells about a program; `tag` is its hash of the instructions, in hex.

    `type` is a number of `enum bpf_prog_type`; `map_ids` are those of all maps that the program uses, outer maps
    included, but not the inner ones.
    """

    id: int
    name: str
    tag: str
    type: int
    map_ids: tuple[InnerId, ...]


class LinkInfo(msgspec.Struct, frozen=True):
    """What the kernel tells about a link. `ifindex` is 0 for one that is not XDP, and once its interface is gone."""

    id: int
    prog_id: int
    ifindex: int
    type: int


def attach_xdp(program: ProgramFd, ifindex: int, mode: XdpMode = XdpMode.AUTO, *, name: str = "") -> LinkFd:
    """Attach an XDP program to a network interface. Closing the link's last holder (fd or pin) detaches it.

    Raises `KernelError` (BPF_LINK_CREATE).
    """
    options = libbpf.LinkCreateOptions(flags=int(mode))
    try:
        return LinkFd(libbpf.link_create(program.number, ifindex, _BPF_XDP, options))
    except KernelError as error:
        raise error.about(name or f"interface {ifindex}") from None


def update(link: LinkFd, program: ProgramFd, *, name: str = "") -> None:
    """Swap the program of a link at once: no packet meets neither. Raises `KernelError` (BPF_LINK_UPDATE)."""
    try:
        libbpf.link_update(link.number, program.number, None)
    except KernelError as error:
        raise error.about(name) from None


def detach(link: LinkFd) -> None:
    """Detach now, whoever else holds the link; it stays as a link without a target."""
    libbpf.link_detach(link.number)


def info(link: LinkFd) -> LinkInfo:
    """What the kernel tells about an open link."""
    record = libbpf.get_info(link.number, libbpf.LinkInfoRecord())
    ifindex = record.target if record.type == LINK_TYPE_XDP else 0
    return LinkInfo(id=record.id, prog_id=record.prog_id, ifindex=ifindex, type=record.type)


def program_info(program: ProgramFd) -> ProgramInfo:
    """What the kernel tells about an open program."""
    record, map_ids = libbpf.program_record(program.number)
    return ProgramInfo(
        id=record.id,
        name=record.name.decode(errors="replace"),
        tag=bytes(record.tag).hex(),
        type=record.type,
        map_ids=tuple(InnerId(number) for number in map_ids),
    )


def run(program: ProgramFd, data: bytes, repeat: int = 1) -> tuple[int, bytes]:
    """Run a program on a packet of `data` (XDP: at least 14 bytes): its return value, and the packet as it left it."""
    return libbpf.run_program(program.number, data, repeat)


def open_program_pin(path: Path) -> ProgramFd:
    """Open a pinned program; errors as for `bpffs.open_pin`."""
    return open_pin(path, ProgramFd)


def open_link_pin(path: Path) -> LinkFd:
    """Open a pinned link; errors as for `bpffs.open_pin`."""
    return open_pin(path, LinkFd)


def open_program_id(program_id: int) -> ProgramFd:
    """Open a program by its id. Needs CAP_SYS_ADMIN."""
    return ProgramFd(libbpf.prog_get_fd_by_id(program_id))


def program_ids() -> Iterator[int]:
    """The ids of all programs in the kernel, ascending. Needs CAP_SYS_ADMIN."""
    return ids(libbpf.prog_get_next_id)


def link_ids() -> Iterator[int]:
    """The ids of all links in the kernel, ascending. Needs CAP_SYS_ADMIN."""
    return ids(libbpf.link_get_next_id)
