"""The properties of a host: byte order, CPUs, and available memory."""

from __future__ import annotations

from typing import Literal

import msgspec

ByteOrder = Literal["little", "big"]


class Host(msgspec.Struct, frozen=True):
    """The byte order of the kernel, and the number of possible CPUs, each of which has a per-CPU value."""

    byteorder: ByteOrder
    possible_cpus: int


class Headroom(msgspec.Struct, frozen=True):
    """`left` bytes until the limit `what`; `hint` says how to raise it."""

    what: str
    left: int
    hint: str
