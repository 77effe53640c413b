"""Programs and what they are attached to."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import assert_never

import msgspec

from provisioner.kernel import binding, calls, libbpf, multi_links, perf_events, structures, syscalls
from provisioner.kernel.bpffs import open_pin
from provisioner.kernel.fd import Fd, InnerId, LinkFd, MapFd, ProgramFd
from provisioner.kernel.maps import id_of, ids
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import (
    CreateLink,
    LinkRequest,
    OpenMulti,
    OpenPerfEvent,
    OpenRawTracepoint,
    OpenSampled,
    OpenUsdt,
)
from provisioner.model.uapi import AttachType, LinkType


class ProgramInfo(msgspec.Struct, frozen=True):
    """The kernel's information about a program; `tag` is its hash of the instructions, in hex.

    `type` is a number of `enum bpf_prog_type`; `map_ids` are those of all maps that the program uses, outer maps
    included, but not the inner ones.
    """

    id: int
    name: str
    tag: str
    type: int
    map_ids: tuple[InnerId, ...]


class LinkInfo(msgspec.Struct, frozen=True):
    """What the kernel shows of a link; `map_id` is that of the map that is attached in the place of a program.

    `target` is the ifindex, cgroup id or namespace inode that it is attached to: 0 once that is gone, and for links of
    other types. `attach_type` is 0 where `struct bpf_link_info` has none.
    """

    id: int
    prog_id: int
    target: int
    type: int
    attach_type: int
    map_id: int = 0


def create(program: ProgramFd, request: LinkRequest, target: int = 0, *, name: str = "") -> LinkFd:
    """Attach a program by a link. Closing the last holder of the link (fd or pin) detaches it.

    `target` is an ifindex, or the number of an open fd of a cgroup or namespace; 0 for the kernel's own hooks. Raises
    `KernelError` (BPF_LINK_CREATE, BPF_RAW_TRACEPOINT_OPEN, perf_event_open).
    """
    try:
        match request:
            case CreateLink(attach_type, flags):
                options = structures.LinkCreateOptions(flags=flags) if flags else None
                return LinkFd(libbpf.link_create(program.number, target, attach_type, options))
            case OpenRawTracepoint(tracepoint):
                return LinkFd(libbpf.raw_tracepoint_open(tracepoint.encode() or None, program.number))
            case OpenPerfEvent() | OpenSampled():
                return _at_event(program, request)
            case OpenMulti() | OpenUsdt():
                return multi_links.create(program, request)
            case _:
                assert_never(request)
    except KernelError as error:
        raise error.about(name or f"target {target}") from None


def create_of_map(fd: MapFd, request: CreateLink, *, name: str = "") -> LinkFd:
    """Attach a map by a link, as `create` does a program. Raises `KernelError` (BPF_LINK_CREATE)."""
    try:
        return LinkFd(libbpf.link_create(fd.number, 0, request.attach_type, None))
    except KernelError as error:
        raise error.about(name, "map") from None


def _at_event(program: ProgramFd, request: OpenPerfEvent | OpenSampled) -> LinkFd:
    with ExitStack() as kept:
        with perf_events.opened(request) as event:
            link = kept.enter_context(LinkFd(libbpf.link_create(program.number, event, AttachType.PERF_EVENT, None)))
        kept.pop_all()  # the caller's, once the event is closed
    return link


_BEFORE, _AFTER, _ID, _LINK = 1 << 3, 1 << 4, 1 << 5, 1 << 13
"""BPF_F_BEFORE, BPF_F_AFTER, BPF_F_ID and BPF_F_LINK (053c8e1f235d)."""


class Position(msgspec.Struct, frozen=True):
    """A place among the programs at a tcx hook: beside an open link or program, or the program with an id.

    Without either, it is the first or the last.
    """

    is_before: bool
    beside: Fd | int = 0


def create_at(program: ProgramFd, request: CreateLink, ifindex: int, at: Position, *, name: str = "") -> LinkFd:
    """Attach a program by a tcx link at a place in the order. Raises `KernelError` (BPF_LINK_CREATE)."""
    flags = request.flags | (_BEFORE if at.is_before else _AFTER)
    match at.beside:
        case LinkFd():
            flags, relative = flags | _LINK, at.beside.number
        case Fd():
            relative = at.beside.number
        case number:
            flags, relative = flags | (_ID if number else 0), number
    try:
        return LinkFd(syscalls.tcx_link_create(program.number, ifindex, request.attach_type, flags, relative))
    except KernelError as error:
        raise error.about(name) from None


def order(ifindex: int, attach_type: int) -> tuple[int, ...]:
    """The ids of the programs at a tcx hook, the first to run first; none where this process may not know."""
    try:
        return calls.query_programs(ifindex, attach_type)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV, errno.EPERM):
            raise
        return ()


def xdp_program(ifindex: int) -> int:
    """The id of the XDP program of an interface; 0 if it has none, or has several in different modes."""
    number = structures.Counter(0)
    try:
        with binding.captured_log():
            libbpf.xdp_query_id(ifindex, 0, number)
    except KernelError as error:
        if error.errno not in (errno.ENODEV, errno.EINVAL):
            raise
    return number.value


def update(link: LinkFd, owner: ProgramFd | MapFd, *, name: str = "") -> None:
    """Swap the program or map of a link at once: no packet meets neither. Raises `KernelError` (BPF_LINK_UPDATE).

    Of the map that a link has already, the kernel is not asked: 6.18 adds a congestion control to its list a second
    time, and dies of it (tcp_update_congestion_control).
    """
    if isinstance(owner, MapFd) and info(link).map_id == id_of(owner):
        return
    try:
        libbpf.link_update(link.number, owner.number, None)
    except KernelError as error:
        raise error.about(name) from None


def detach(link: LinkFd) -> None:
    """Detach now, also if others hold the link; it stays as a link without a target.

    Tracing, raw tracepoint and perf event links have no such operation: they are detached with their last holder.
    """
    try:
        libbpf.link_detach(link.number)
    except KernelError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise


def info(link: LinkFd) -> LinkInfo:
    """What the kernel shows of an open link."""
    record = calls.get_info(link.number, structures.LinkInfoRecord())
    match record.type:
        case LinkType.XDP:
            target, attach_type = record.words[0], int(AttachType.XDP)
        case LinkType.TCX | LinkType.NETNS:
            target, attach_type = record.words[0], record.words[1]
        case LinkType.CGROUP:
            target, attach_type = record.words[0] | record.words[1] << 32, record.words[2]
        case LinkType.TRACING:
            target, attach_type = 0, record.words[0]
        case _:
            target, attach_type = 0, 0
    return LinkInfo(
        id=record.id,
        prog_id=record.prog_id,
        target=target,
        type=record.type,
        attach_type=attach_type,
        map_id=record.words[0] if record.type == LinkType.STRUCT_OPS else 0,
    )


def program_info(program: ProgramFd) -> ProgramInfo:
    """The kernel's information about an open program."""
    record, map_ids = calls.program_record(program.number)
    return ProgramInfo(
        id=record.id,
        name=record.name.decode(errors="replace"),
        tag=bytes(record.tag).hex(),
        type=record.type,
        map_ids=tuple(InnerId(number) for number in map_ids),
    )


def run(program: ProgramFd, data: bytes, repeat: int = 1) -> tuple[int, bytes]:
    """Run a program on a packet of `data` (XDP: at least 14 bytes): its return value, and the packet as it left it."""
    return calls.run_program(program.number, data, repeat)


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
