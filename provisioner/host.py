"""What the bytes of keys and values depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Host:
    """The kernel's byte order, and how many CPUs could ever be plugged in: per-CPU values have one for each."""

    byteorder: ByteOrder
    possible_cpus: int
