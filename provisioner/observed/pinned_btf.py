"""BTF of this host: the kernel's own, or what a live map or its inner maps were made with, by its pin."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from provisioner.kernel import maps, reading, vmlinux
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.maps import MapInfo
from provisioner.kernel.reasons import KernelError
from provisioner.model import entry_table
from provisioner.model.errors import InputError, Problem
from provisioner.model.type_expr import VMLINUX

_ELSEWHERE = "only the host that has the map knows the type: plan there, or against its snapshot (`export --snapshot`)"


def read(path: str) -> bytes:
    """The BTF of the map pinned at `path`, or that of the kernel for `vmlinux`. Changes nothing.

    The kernel keeps none for outer maps: theirs is that of the first of their inner maps, by outer key, that has any.
    Raises InputError if there is no such pin or it may not be read, and HostError if it is not a map.
    """
    if path == VMLINUX:
        return vmlinux.read_btf()
    try:
        with maps.open_pin(Path(path), readonly=True) as fd:
            info = maps.info(fd)
            is_outer = info.shape.is_outer
            types = _of_inner_maps(fd, info) if is_outer else _own(info)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise InputError(
                Problem(f"there is no pin {path} to take BTF from", hint=_ELSEWHERE, id="btf-missing")
            ) from None
        if error.errno in (errno.EPERM, errno.EACCES):
            what = f"the BTF of the map at {path} can't be read: {error.reason}"
            raise InputError(Problem(what, hint=f"run as root; {_ELSEWHERE}", id="missing-capability")) from None
        raise
    if not types:
        what = f"no inner map of {path} has BTF" if is_outer else f"the map at {path} has no BTF"
        why = "the kernel keeps none for outer maps themselves: " if is_outer else ""
        raise InputError(Problem(what, hint=f"{why}write the type out, or take it elsewhere", id="btf-missing"))
    return types


def _own(info: MapInfo) -> bytes:
    return maps.read_btf(info.btf_id) if info.btf_id else b""


def _of_inner_maps(outer: MapFd, info: MapInfo) -> bytes:
    """The BTF of the first inner map that has any; empty where none does, or none is there."""
    keys, ids = reading.read_slots(outer, info.shape)
    for number in ids[entry_table.order_of(keys, sys.byteorder if info.shape.is_array else None)].tolist():
        try:
            with maps.open_id(InnerId(number)) as inner:
                types = _own(maps.info(inner))
        except KernelError as error:
            if error.errno == errno.ENOENT:  # replaced since the slots were read
                continue
            raise
        if types:
            return types
    return b""
