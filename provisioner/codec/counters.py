"""The integers of a value that can be added to, for `on_conflict: sum`."""

from __future__ import annotations

from typing import Final

from provisioner.codec.array import Array
from provisioner.codec.integer import Integer
from provisioner.codec.layout import Struct
from provisioner.codec.members import NotOurs
from provisioner.codec.owned import Owned
from provisioner.codec.percpu import PerCpu
from provisioner.codec.sensitive import Sensitive
from provisioner.codec.units import Quantity
from provisioner.model.types import ByteOrder, Type

Counters = tuple[tuple[int, int], ...]
"""The offset and width in bytes of each counter."""

_MOST: Final = 256
"""Counters of one value: each takes two instructions."""


def counters(value: Type, byteorder: ByteOrder) -> Counters | None:
    """The counters of a value, of a per-CPU value those of one CPU; None if it has other members.

    A counter is an integer of 4 or 8 bytes in the byte order of the host, aligned: the kernel adds to no other. Of a
    value with `owned_members`, the other members are counters.
    """
    spots = _spots(value, byteorder)
    if not spots or len(spots) > _MOST or any(offset % width for offset, width in spots):
        return None
    return tuple(spots)


def _spots(value: Type, byteorder: ByteOrder) -> list[tuple[int, int]]:
    """The same for a part of a value; empty if it has other members."""
    match value:
        case Integer():
            whole = value.size in (4, 8) and value.bits == 8 * value.size and value.byteorder == byteorder
            return [(0, value.size)] if whole else []
        case Quantity(base=base):
            return _spots(base, byteorder)
        case Sensitive(inner=inner) | Owned(theirs=inner) | PerCpu(element=inner):
            return _spots(inner, byteorder)
        case Array(element=element, count=count):
            each = _spots(element, byteorder) if count <= _MOST else []
            return [(at * element.size + offset, width) for at in range(count) for offset, width in each]
        case Struct(fields=fields):
            parts = [
                (field.offset, _spots(field.type, byteorder)) for field in fields if not isinstance(field.type, NotOurs)
            ]
            if not all(spots for _, spots in parts):
                return []
            return [(start + offset, width) for start, spots in parts for offset, width in spots]
        case _:
            return []
