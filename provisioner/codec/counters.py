"""The integers of a value that can be added to, for `on_conflict: sum`."""

from __future__ import annotations

from collections.abc import Iterator
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


def others(value: Type, byteorder: ByteOrder) -> Iterator[str]:
    """What keeps a value from having counters alone, for a message: `` `port` is be16``."""
    spots = _spots(value, byteorder)
    unaligned = next(((offset, width) for offset, width in spots if offset % width), None)
    if unaligned is not None:
        offset, width = unaligned
        yield f"the integer of {width} bytes at byte {offset} is not aligned"
    elif spots:
        yield f"it has {len(spots):,} of them, and {_MOST} are possible"
    else:
        words = (f"`{path}` is {other.describe()}" if path else "" for path, other in _others(value, byteorder, ""))
        yield from filter(None, words)


def _others(value: Type, byteorder: ByteOrder, path: str) -> Iterator[tuple[str, Type]]:
    """The members that are no counters, by their dotted names; one with an empty name for a whole value."""
    match value:
        case Sensitive(inner=inner) | Owned(theirs=inner) | PerCpu(element=inner):
            yield from _others(inner, byteorder, path)
        case Array(element=element, count=count) if count <= _MOST and not _spots(element, byteorder):
            inside = list(_others(element, byteorder, path))
            yield from [(path, value)] if inside == [(path, element)] else inside
        case Struct(fields=fields) if fields:
            for field in fields:
                name = ".".join(filter(None, (path, field.name)))
                if not isinstance(field.type, NotOurs) and not _spots(field.type, byteorder):
                    yield from _others(field.type, byteorder, name)
        case _ if not _spots(value, byteorder):
            yield path, value
        case _:
            pass


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
