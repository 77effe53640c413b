"""cls_bpf filters at the clsact qdisc of an interface: attachments of kernels before tcx, without a link or a pin."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

from provisioner.kernel import binding, libbpf, structures
from provisioner.kernel.fd import ProgramFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import NOT_BPF, FilterPlace
from provisioner.model.uapi import TcPoint

_REPLACE: Final = 1
"""BPF_TC_F_REPLACE."""

_GETTFILTER: Final = 46
_NEWTFILTER: Final = 44
_DONE: Final = 3
_ERROR: Final = 2
_DUMP: Final = 0x301
"""NLM_F_REQUEST | NLM_F_DUMP."""

_PARENTS: Final = (0xFFFFFFF2, 0xFFFFFFF3)
"""TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), and the same of egress."""


def program_at(ifindex: int, place: FilterPlace) -> int:
    """The id of the program of a filter; 0 if there is no filter, `NOT_BPF` for one that is not of BPF."""
    options = structures.TcOptions(handle=place.handle, priority=place.priority)
    try:
        with binding.captured_log():
            libbpf.tc_query(_hook(ifindex, place.point), options)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            return NOT_BPF if _is_taken(ifindex, place) else 0
        raise
    return int(options.prog_id)


def attach(ifindex: int, place: FilterPlace, program: ProgramFd, *, over: bool, name: str) -> None:
    """Create a filter, or with `over` replace its program: every packet meets the one or the other.

    Raises `KernelError`, with EEXIST where there is a filter.
    """
    options = structures.TcOptions(
        prog_fd=program.number, handle=place.handle, priority=place.priority, flags=_REPLACE if over else 0
    )
    try:
        with binding.captured_log():
            libbpf.tc_attach(_hook(ifindex, place.point), options)
    except KernelError as error:
        raise error.about(name) from None


def detach(ifindex: int, place: FilterPlace) -> None:
    """Delete a filter; one that is gone already is not an error."""
    options = structures.TcOptions(handle=place.handle, priority=place.priority)
    try:
        with binding.captured_log():
            libbpf.tc_detach(_hook(ifindex, place.point), options)
    except KernelError:
        if program_at(ifindex, place):
            raise


def create_qdisc(ifindex: int, name: str) -> bool:
    """Make the clsact qdisc of an interface; False if it has one."""
    try:
        with binding.captured_log():
            libbpf.tc_hook_create(_hook(ifindex, TcPoint.INGRESS | TcPoint.EGRESS))
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise error.about(name) from None
        return False
    return True


def remove_qdisc(ifindex: int) -> None:
    """Remove the clsact qdisc of an interface, with all that is in it; one that is gone already is no error."""
    try:
        with binding.captured_log():
            libbpf.tc_hook_destroy(_hook(ifindex, TcPoint.INGRESS | TcPoint.EGRESS))
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise


def is_empty(ifindex: int) -> bool:
    """Whether the clsact qdisc of an interface has no filter, of whatever kind."""
    return not any(True for parent in _PARENTS for _ in _filters(ifindex, parent))


def _is_taken(ifindex: int, place: FilterPlace) -> bool:
    """Whether a filter of another kind has the priority: then a BPF filter cannot have it."""
    parent = _PARENTS[place.point == TcPoint.EGRESS]
    return any(priority == place.priority and kind != b"bpf" for priority, kind in _filters(ifindex, parent))


def _filters(ifindex: int, parent: int) -> Iterator[tuple[int, bytes]]:
    """The priority and the kind of each filter of a hook. Needs no privilege."""
    request = struct.pack("=IHHIIBxxxiIII", 36, _GETTFILTER, _DUMP, 1, 0, 0, ifindex, 0, parent, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as connection:
        connection.send(request)
        while True:
            data = connection.recv(1 << 16)
            at = 0
            while at < len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                if kind in (_DONE, _ERROR):
                    return
                if kind == _NEWTFILTER:
                    (info,) = struct.unpack_from("=I", data, at + 32)
                    yield info >> 16, _kind(data[at + 36 : at + size])
                at += (size + 3) & ~3


def _kind(attributes: bytes) -> bytes:
    """TCA_KIND of a filter."""
    at = 0
    while at + 4 <= len(attributes):
        size, number = struct.unpack_from("=HH", attributes, at)
        if number == 1:
            return attributes[at + 4 : at + size].rstrip(b"\0")
        at += (max(size, 4) + 3) & ~3
    return b""


def _hook(ifindex: int, point: int) -> structures.TcHook:
    return structures.TcHook(ifindex=ifindex, attach_point=int(point))
