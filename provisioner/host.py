"""What the bytes of keys and values depend on."""

from __future__ import annotations

from typing import Literal

import msgspec

ByteOrder = Literal["little", "big"]


class Host(msgspec.Struct, frozen=True):
    """The kernel's byte order, and how many CPUs could ever be plugged in: per-CPU values have one for each."""

    byteorder: ByteOrder
    possible_cpus: int
