"""The types of the running kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from provisioner.model.errors import InputError, Problem

_FILE: Final = Path("/sys/kernel/btf/vmlinux")


def read_btf() -> bytes:
    """The BTF of the kernel. Raises InputError for a kernel that was built without."""
    try:
        return _FILE.read_bytes()
    except OSError as error:
        what = f"this kernel has no BTF: {error.strerror}"
        raise InputError(Problem(what, hint="take the type from an object", id="btf-missing")) from None
