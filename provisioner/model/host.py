"""What a host determines: the layout of bytes, and the memory that is left."""

from __future__ import annotations

from typing import Literal

import msgspec

ByteOrder = Literal["little", "big"]


class Host(msgspec.Struct, frozen=True):
    """The kernel's byte order, and how many CPUs could ever be plugged in: per-CPU values have one for each."""

    byteorder: ByteOrder
    possible_cpus: int


class Headroom(msgspec.Struct, frozen=True):
    """`left` bytes until `what` is full; `hint` says what would give more."""

    what: str
    left: int
    hint: str
