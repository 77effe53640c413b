"""BTF of this host: the kernel's own, or what a live map was made with, by its pin."""

from __future__ import annotations

import errno
from pathlib import Path

from provisioner.errors import InputError, Problem
from provisioner.kernel import maps
from provisioner.kernel.reasons import KernelError
from provisioner.typexpr import VMLINUX

_VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")
_ELSEWHERE = "only the host that has the map knows the type: plan there, or against its snapshot (`export --snapshot`)"


def read(path: str) -> bytes:
    """The BTF of the map pinned at `path`, or that of the kernel for `vmlinux`. Changes nothing.

    Raises InputError where there is no such pin, or nothing may be told of it, and HostError where it is of no map.
    """
    if path == VMLINUX:
        return _of_the_kernel()
    try:
        with maps.open_pin(Path(path), readonly=True) as fd:
            info = maps.info(fd)
        if info.shape.is_outer:
            hint = "the kernel keeps none for maps of maps: pin one of its inner maps, or name another map"
            raise InputError(Problem(f"the map at {path} has no BTF", hint=hint))
        if not info.btf_id:
            raise InputError(Problem(f"the map at {path} has no BTF", hint="write the type out, or take it elsewhere"))
        return maps.read_btf(info.btf_id)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise InputError(Problem(f"there is no pin {path} to take BTF from", hint=_ELSEWHERE)) from None
        if error.errno in (errno.EPERM, errno.EACCES):
            what = f"the BTF of the map at {path} can't be read: {error.reason}"
            raise InputError(Problem(what, hint=f"run as root; {_ELSEWHERE}")) from None
        raise


def _of_the_kernel() -> bytes:
    try:
        return _VMLINUX_BTF.read_bytes()
    except OSError as error:
        what = f"this kernel has no BTF: {error.strerror}"
        raise InputError(Problem(what, hint="take the type from an object")) from None
